package s3

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"regexp"
	"slices"
	"strings"

	"kvd/backup/blob"
)

// Errors of a URL. Neither repeats it: it may hold a secret.
var (
	ErrURL       = errors.New("not a URL of the form s3://bucket/prefix")
	ErrSecretURL = errors.New("the URL holds credentials: they come from AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, the AWS files, or the machine's role")
	ErrEndpoint  = errors.New("not an endpoint of the form https://host:port")
	ErrPlainHTTP = errors.New("the endpoint is http on another machine: use https, or allow it with --insecure")
)

// Scheme begins the URLs of this package.
const Scheme = "s3://"

// Location is where objects are: a bucket, and a prefix of their keys that is empty or ends with a
// slash.
type Location struct{ Bucket, Prefix string }

// bucketName is the rule that all services share.
var bucketName = regexp.MustCompile(`^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$`)

// ParseURL reads a URL of the form s3://bucket/prefix. The error matches ErrSecretURL or ErrURL.
func ParseURL(raw string) (Location, error) {
	rest, ok := strings.CutPrefix(raw, Scheme)
	if !ok {
		return Location{}, ErrURL
	}
	if strings.Contains(rest, "@") {
		return Location{}, ErrSecretURL
	}
	bucket, prefix, _ := strings.Cut(rest, "/")
	if !bucketName.MatchString(bucket) {
		return Location{}, fmt.Errorf("%w: a bucket has 3 to 63 lower-case letters, digits, dots and hyphens", ErrURL)
	}
	prefix = strings.Trim(prefix, "/")
	if prefix == "" {
		return Location{Bucket: bucket}, nil
	}
	if blob.CheckName(prefix) != nil {
		return Location{}, fmt.Errorf("%w: a prefix has letters, digits, dots, underscores, hyphens and slashes", ErrURL)
	}
	return Location{bucket, prefix + "/"}, nil
}

func (l Location) String() string { return Scheme + l.Bucket + "/" + l.Prefix }

// key returns the key of an object, or of a prefix.
func (l Location) key(name string) string { return l.Prefix + name }

// name returns the name of the object with a key.
func (l Location) name(key string) (string, bool) { return strings.CutPrefix(key, l.Prefix) }

// endpointAWS is the service that is asked if none is named.
const endpointAWS = "https://s3.amazonaws.com"

// CheckEndpoint returns an error that matches ErrEndpoint, ErrSecretURL or ErrPlainHTTP if no service is
// reached at a URL. Empty is right: environment, AWS files or AWS.
func CheckEndpoint(raw string, insecure bool) error {
	_, err := parseEndpoint(raw, insecure)
	return err
}

// parseEndpoint reads an endpoint. insecure allows http to other machines.
func parseEndpoint(raw string, insecure bool) (*url.URL, error) {
	if raw == "" {
		raw = endpointAWS
	}
	u, err := url.Parse(raw)
	switch {
	case err != nil:
		return nil, ErrEndpoint // the error repeats what may be a secret
	case u.User != nil || strings.Contains(raw, "@"):
		return nil, ErrSecretURL
	case u.Scheme != "https" && u.Scheme != "http", u.Host == "", u.RawQuery != "", u.Fragment != "", strings.Trim(u.Path, "/") != "":
		return nil, ErrEndpoint
	case u.Scheme == "http" && !insecure && !loopback(u.Hostname()):
		return nil, ErrPlainHTTP
	}
	return u, nil
}

// loopback reports whether a host is this machine.
func loopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// sorted returns objects ascending by name.
func sorted(infos []blob.Info) []blob.Info {
	slices.SortFunc(infos, func(a, b blob.Info) int { return strings.Compare(a.Name, b.Name) })
	return infos
}
