// Package s3 keeps objects in a bucket of an S3 service: it implements [blob.Store]. Only programs
// import it, because it brings the client of the service with it.
//
// # Credentials
//
// They come from the first of: the environment (AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY,
// AWS_SESSION_TOKEN), the AWS files (AWS_PROFILE, AWS_SHARED_CREDENTIALS_FILE, AWS_CONFIG_FILE; SSO and
// credential_process too), and the role of the machine, the container or the pod. Region and endpoint
// come from the environment (AWS_REGION, AWS_DEFAULT_REGION, AWS_ENDPOINT_URL_S3, AWS_ENDPOINT_URL) or
// the same files. No URL takes a secret, and no error shows one: errors have the status of an answer and
// its code, not its text, since a service may repeat in it what it was sent.
//
// # What the service has to do
//
// A put with "If-None-Match: *" has to fail where an object exists. AWS, MinIO, Ceph, Cloudflare R2 and
// others do. A service that ignores the header would let two writers overwrite each other: package
// backup/repo finds that out before it writes, and refuses the service.
//
// The payload of a put is signed with its SHA-256, so the service refuses bytes that changed on the
// way.
package s3

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"regexp"
	"strconv"
	"strings"

	"github.com/minio/minio-go/v7"

	"kvd/backup/blob"
)

// Options says how a service is reached. The zero value asks environment and AWS files.
type Options struct {
	// Endpoint is the service's URL without a path, say "https://s3.example.com:9000". Empty: by the
	// environment or the AWS files, and otherwise AWS.
	Endpoint string

	// Insecure allows http for an endpoint that is not on this machine: bytes and signatures then travel
	// unencrypted.
	Insecure bool

	// Backoff says how often a call is tried.
	Backoff blob.Backoff
}

// Open returns the store at a URL of the form s3://bucket/prefix. It finds credentials, and asks the
// service nothing.
func Open(ctx context.Context, rawURL string, o Options) (blob.Store, error) {
	l, err := ParseURL(rawURL)
	if err != nil {
		return nil, err
	}
	profile := readProfile()
	e, err := parseEndpoint(profile.endpoint(o.Endpoint), o.Insecure)
	if err != nil {
		return nil, err
	}
	creds, err := findCredentials(ctx)
	if err != nil {
		return nil, err
	}
	region, tries := profile.region(), 1 // blob.Retry makes all others
	if region == "" {
		tries = 2 // the first answer may name the region
	}
	client, err := minio.NewCore(e.Host, &minio.Options{Creds: creds, Secure: e.Scheme == "https", Region: region, MaxRetries: tries})
	if err != nil {
		return nil, fmt.Errorf("%w: %s", ErrURL, e.Host)
	}
	return blob.Retry(&store{client, l}, o.Backoff), nil
}

// store is a blob.Store that tries each call once.
type store struct {
	client   *minio.Core
	location Location
}

func (s *store) String() string { return s.location.String() }

// Put implements [blob.Store].
func (s *store) Put(ctx context.Context, name string, data []byte) error {
	if err := blob.CheckPut(name, data); err != nil {
		return s.error("put", name, err)
	}
	sum := sha256.Sum256(data)
	o := minio.PutObjectOptions{ContentType: "application/octet-stream", DisableContentSha256: true} // sum is of the whole, not of parts
	o.SetMatchETagExcept("*")
	_, err := s.client.PutObject(ctx, s.location.Bucket, s.location.key(name), bytes.NewReader(data), int64(len(data)), "", hex.EncodeToString(sum[:]), o)
	err = cause(err)
	if errors.Is(err, blob.ErrExists) {
		return s.compare(ctx, name, data)
	}
	return s.error("put", name, err)
}

// compare returns ErrExists if the object has other bytes.
func (s *store) compare(ctx context.Context, name string, data []byte) error {
	info, err := s.Stat(ctx, name)
	if err != nil {
		return err
	}
	if info.Size != int64(len(data)) {
		return s.error("put", name, blob.ErrExists)
	}
	old, err := s.GetRange(ctx, name, 0, info.Size)
	if err == nil && !bytes.Equal(old, data) {
		err = s.error("put", name, blob.ErrExists)
	}
	return err
}

// GetRange implements [blob.Store].
func (s *store) GetRange(ctx context.Context, name string, offset, length int64) ([]byte, error) {
	err := blob.CheckRange(name, offset, length)
	if err != nil {
		return nil, s.error("get", name, err)
	}
	if length == 0 { // no header says that
		return s.nothing(ctx, name, offset)
	}
	data, err := s.get(ctx, name, offset, length)
	return data, s.error("get", name, err)
}

// nothing returns no bytes of an object that has at least offset bytes.
func (s *store) nothing(ctx context.Context, name string, offset int64) ([]byte, error) {
	info, err := s.Stat(ctx, name)
	if err == nil && info.Size < offset {
		err = s.error("get", name, blob.ErrRange)
	}
	return nil, err
}

func (s *store) get(ctx context.Context, name string, offset, length int64) ([]byte, error) {
	var o minio.GetObjectOptions
	if err := o.SetRange(offset, offset+length-1); err != nil {
		return nil, err
	}
	body, _, header, err := s.client.GetObject(ctx, s.location.Bucket, s.location.key(name), o)
	if err != nil {
		return nil, cause(err)
	}
	defer body.Close()
	if err := checkRange(header.Get("Content-Range"), offset, length); err != nil {
		return nil, err
	}
	data, err := io.ReadAll(io.LimitReader(body, length))
	if err == nil && int64(len(data)) < length {
		err = io.ErrUnexpectedEOF
	}
	if err != nil {
		return nil, fmt.Errorf("%w: the answer ends after %d of %d bytes", blob.ErrUnavailable, len(data), length)
	}
	return data, nil
}

// contentRange is the header that says which bytes of an object an answer has: from, to, size.
var contentRange = regexp.MustCompile(`^bytes (\d{1,18})-(\d{1,18})/(\d{1,18})$`)

// checkRange returns an error if an answer does not have the bytes that were asked for.
func checkRange(header string, offset, length int64) error {
	m := contentRange.FindStringSubmatch(header)
	if m == nil {
		return fmt.Errorf("%w: the service does not say which bytes its answer has", blob.ErrUnavailable)
	}
	var n [3]int64
	for i := range n {
		n[i], _ = strconv.ParseInt(m[i+1], 10, 64) // 18 digits always fit
	}
	switch {
	case n[2] < offset+length:
		return fmt.Errorf("%w: it has %d bytes, not %d", blob.ErrRange, n[2], offset+length)
	case n[0] != offset || n[1] != offset+length-1:
		return fmt.Errorf("%w: the answer has bytes %d to %d, not %d to %d", blob.ErrUnavailable, n[0], n[1], offset, offset+length-1)
	}
	return nil
}

// List implements [blob.Store].
func (s *store) List(ctx context.Context, prefix string) ([]blob.Info, error) {
	if err := blob.CheckPrefix(prefix); err != nil {
		return nil, s.error("list", prefix, err)
	}
	var infos []blob.Info
	o := minio.ListObjectsOptions{Prefix: s.location.key(prefix), Recursive: true}
	for object := range s.client.ListObjectsIter(ctx, s.location.Bucket, o) {
		if object.Err != nil {
			return nil, s.error("list", prefix, cause(object.Err))
		}
		if len(infos) == blob.ListMax {
			return nil, s.error("list", prefix, fmt.Errorf("%w: there are more than %d objects", blob.ErrTooLarge, blob.ListMax))
		}
		name, ok := s.location.name(object.Key)
		if ok && strings.HasPrefix(name, prefix) && blob.ValidName(name) && object.Size >= 0 {
			infos = append(infos, blob.Info{Name: name, Size: object.Size, Modified: object.LastModified.UTC()})
		}
	}
	if err := ctx.Err(); err != nil {
		return nil, s.error("list", prefix, err)
	}
	return sorted(infos), nil
}

// Delete implements [blob.Store].
func (s *store) Delete(ctx context.Context, name string) error {
	err := blob.CheckName(name)
	if err == nil {
		err = cause(s.client.RemoveObject(ctx, s.location.Bucket, s.location.key(name), minio.RemoveObjectOptions{}))
	}
	if errors.Is(err, errNoKey) { // some services say so
		return nil
	}
	return s.error("delete", name, err)
}

// Stat implements [blob.Store].
func (s *store) Stat(ctx context.Context, name string) (blob.Info, error) {
	err := blob.CheckName(name)
	if err != nil {
		return blob.Info{}, s.error("stat", name, err)
	}
	info, err := s.client.StatObject(ctx, s.location.Bucket, s.location.key(name), minio.StatObjectOptions{})
	if err == nil && info.Size < 0 {
		err = fmt.Errorf("%w: the service does not say how large the object is", blob.ErrUnavailable)
	}
	if err != nil {
		return blob.Info{}, s.error("stat", name, cause(err))
	}
	return blob.Info{Name: name, Size: info.Size, Modified: info.LastModified.UTC()}, nil
}

// error returns the error of a call, in the form of package blob.
func (s *store) error(op, name string, err error) error {
	var done *blob.Error
	if err == nil || errors.As(err, &done) {
		return err
	}
	return &blob.Error{Op: op, Place: s.location.String(), Name: name, Err: err}
}

var (
	errNoKey    = fmt.Errorf("%w", blob.ErrNotFound)
	errNoBucket = fmt.Errorf("the bucket does not exist: %w", blob.ErrNotFound)
)

// cause returns what an error of the client means, without anything that may hold a secret: neither
// the text of an answer nor the URL of a request.
func cause(err error) error {
	if err == nil || errors.Is(err, context.Canceled) || errors.Is(err, blob.ErrUnavailable) {
		return err
	}
	var answer minio.ErrorResponse
	if !errors.As(err, &answer) || answer.StatusCode == 0 {
		return transportCause(err)
	}
	status := fmt.Sprintf("status %d", answer.StatusCode)
	if code.MatchString(answer.Code) {
		status += " " + answer.Code
	}
	switch {
	case answer.Code == "NoSuchBucket":
		return errNoBucket
	case answer.StatusCode == http.StatusNotFound:
		return errNoKey
	case answer.StatusCode == http.StatusPreconditionFailed:
		return blob.ErrExists
	case answer.StatusCode == http.StatusRequestedRangeNotSatisfiable:
		return blob.ErrRange
	case passing[answer.Code], answer.StatusCode >= 500 && answer.StatusCode != http.StatusNotImplemented,
		answer.StatusCode == http.StatusTooManyRequests, answer.StatusCode == http.StatusRequestTimeout,
		answer.StatusCode == http.StatusConflict: // of two puts at once: one succeeds
		return fmt.Errorf("%w: %s", blob.ErrUnavailable, status)
	case answer.StatusCode == http.StatusForbidden, answer.StatusCode == http.StatusUnauthorized:
		return fmt.Errorf("%w: %s", blob.ErrDenied, status)
	}
	return fmt.Errorf("the service refused: %s", status)
}

// code is a code of S3, as opposed to text that a service may have made of the request.
var code = regexp.MustCompile(`^[A-Z][A-Za-z]{2,39}$`)

// passing are the codes of answers that a later attempt may not get, whatever their status.
var passing = map[string]bool{
	"SlowDown": true, "SlowDownRead": true, "SlowDownWrite": true, "RequestTimeout": true, "InternalError": true,
	"Throttling": true, "ThrottlingException": true, "RequestLimitExceeded": true, "ServiceUnavailable": true,
	"IncompleteBody": true, "XAmzContentSHA256Mismatch": true, "BadDigest": true, // the way changed the bytes
}

// transportCause is cause for an error without an answer.
func transportCause(err error) error {
	var request *url.Error
	for errors.As(err, &request) && request.Err != nil {
		err = request.Err // without the URL
		request = nil
	}
	var unknown x509.UnknownAuthorityError
	var host x509.HostnameError
	var invalid x509.CertificateInvalidError
	if errors.As(err, &unknown) || errors.As(err, &host) || errors.As(err, &invalid) {
		return err
	}
	return fmt.Errorf("%w: %w", blob.ErrUnavailable, err)
}
