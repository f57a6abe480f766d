package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"kvd/backup/blob"
	"kvd/backup/blob/s3"
	"kvd/backup/repo"
)

// placeOptions say how the place of a repository is reached.
type placeOptions struct {
	endpoint string // of S3; empty: by the environment or the AWS files
	insecure bool
}

// addFlags adds the flags of verbs that name a repository.
func (o *placeOptions) addFlags(f *pflag.FlagSet) {
	f.StringVar(&o.endpoint, "s3-endpoint", "", "URL of the S3 service, such as https://host:9000; empty: AWS_ENDPOINT_URL, or AWS")
	f.BoolVar(&o.insecure, "insecure", false, "allow an S3 endpoint that is http on another machine")
}

// isPlace reports whether an argument names a place of a repository, as opposed to a file: an S3 URL, or a
// directory that exists or ends with a slash.
func isPlace(arg string) bool {
	if strings.HasPrefix(arg, s3.Scheme) || strings.HasSuffix(arg, "/") {
		return true
	}
	info, err := os.Stat(arg)
	return err == nil && info.IsDir()
}

// takesBackup checks that the arguments of a verb are one file or place.
func takesBackup(c *cobra.Command, args []string) error {
	if err := takes(1, 1)(c, args); err != nil {
		return err
	}
	if _, err := checkPlace(args[0]); err != nil {
		return usageOf(c, err)
	}
	return nil
}

// openPlace opens the place that an argument names, and makes a directory if there is none. The caller calls
// the function that comes with it.
func openPlace(ctx context.Context, arg string, o placeOptions) (blob.Store, func(), error) {
	if strings.HasPrefix(arg, s3.Scheme) {
		place, err := s3.Open(ctx, arg, s3.Options{Endpoint: o.endpoint, Insecure: o.insecure})
		return place, func() {}, err
	}
	dir, err := blob.OpenDir(arg)
	if err != nil {
		return nil, nil, err
	}
	return dir, func() { _ = dir.Close() }, nil // nothing is lost by an error
}

// checkPlace checks an argument that names a place; empty is none. No error repeats a URL: it may hold a
// secret.
func checkPlace(arg string) (string, error) {
	if strings.Contains(arg, "://") && !strings.HasPrefix(arg, s3.Scheme) {
		return "", errors.New("a repository is a directory or s3://bucket/prefix")
	}
	if strings.HasPrefix(arg, s3.Scheme) {
		if _, err := s3.ParseURL(arg); err != nil {
			return "", err
		}
	}
	return arg, nil
}

// withRepository opens the repository that an argument names, and calls fn.
func withRepository(ctx context.Context, arg string, o placeOptions, fn func(*repo.Repository) error) error {
	if info, err := os.Stat(arg); !strings.HasPrefix(arg, s3.Scheme) && (err != nil || !info.IsDir()) {
		return fmt.Errorf("%w in %s", repo.ErrNoRepo, arg)
	}
	place, done, err := openPlace(ctx, arg, o)
	if err != nil {
		return err
	}
	defer done()
	r, err := repo.Open(ctx, place)
	if err != nil {
		return err
	}
	return fn(r)
}

// parseEndpoint returns a check of the URL of an S3 service, whose error does not repeat it.
func parseEndpoint(insecure bool) func(string) (string, error) {
	return func(raw string) (string, error) {
		if err := s3.CheckEndpoint(raw, insecure); err != nil {
			return "", err
		}
		return raw, nil
	}
}
