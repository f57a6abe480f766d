package s3

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"time"

	"github.com/minio/minio-go/v7/pkg/credentials"
)

// ErrNoCredentials says that there are no credentials, or that they cannot be used.
var ErrNoCredentials = errors.New("no S3 credentials")

// findCredentials returns the first credentials that there are, and makes sure that they can be had.
// They are renewed when they expire.
func findCredentials(ctx context.Context) (*credentials.Credentials, error) {
	id, secret := os.Getenv("AWS_ACCESS_KEY_ID") != "", os.Getenv("AWS_SECRET_ACCESS_KEY") != ""
	switch {
	case id && secret:
		return credentials.NewEnvAWS(), nil
	case id || secret:
		return nil, fmt.Errorf("%w: AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY have to be set together", ErrNoCredentials)
	}
	if found, err := fileCredentials(ctx); found != nil || err != nil {
		return found, err
	}
	return roleCredentials(ctx)
}

// fileCredentials returns those of the AWS files; nil if they have none and nobody has named a profile.
func fileCredentials(ctx context.Context) (*credentials.Credentials, error) {
	c := credentials.New(&credentials.FileAWSCredentials{})
	v, err := c.GetWithContext(&credentials.CredContext{Context: ctx, Client: http.DefaultClient})
	switch {
	case err == nil && v.AccessKeyID != "" && v.SecretAccessKey != "":
		return c, nil
	case os.Getenv("AWS_PROFILE") == "":
		return nil, nil
	}
	// The error is not shown: that of a line which cannot be read repeats the line.
	return nil, fmt.Errorf("%w: the AWS files have no usable credentials for the profile that AWS_PROFILE names", ErrNoCredentials)
}

// roleWait bounds the question for the machine's role: elsewhere than in a cloud nobody answers.
const roleWait = 5 * time.Second

// roleCredentials returns those of the role of machine, container or pod.
func roleCredentials(ctx context.Context) (*credentials.Credentials, error) {
	client := &http.Client{Timeout: roleWait}
	c := credentials.New(&credentials.IAM{Client: client})
	v, err := c.GetWithContext(&credentials.CredContext{Context: ctx, Client: client})
	if err != nil || v.AccessKeyID == "" {
		return nil, fmt.Errorf("%w: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE, or give the machine a role", ErrNoCredentials)
	}
	return c, nil
}
