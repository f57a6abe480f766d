package repo

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"kvd/backup/blob"
	"kvd/kv"
)

const (
	format = 1

	listMax  = 64 << 20 // bytes of a base
	smallMax = 64 << 10 // bytes of any other sealed object

	sealPrefix = "sha256 "
	sealSize   = len(sealPrefix) + 2*sha256.Size + 1
)

// seal returns a sealed object, and the sum in it.
func seal(v any) (object []byte, sum string, err error) {
	line, err := json.Marshal(v)
	if err != nil {
		return nil, "", err
	}
	sum = sumOf(line)
	object = append(line, '\n')
	object = append(object, sealPrefix...)
	object = append(object, sum...)
	return append(object, '\n'), sum, nil
}

// sumOf returns the SHA-256 of bytes, in hex.
func sumOf(b []byte) string {
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}

// unseal reads a sealed object into v, and returns its sum.
func unseal(object []byte, v any) (sum string, err error) {
	if len(object) < sealSize+1 {
		return "", fmt.Errorf("it has %d bytes, which is less than a seal", len(object))
	}
	line, rest := object[:len(object)-sealSize-1], object[len(object)-sealSize-1:]
	sum = sumOf(line)
	if string(rest) != "\n"+sealPrefix+sum+"\n" {
		return "", errors.New("its SHA-256 does not match")
	}
	var header struct {
		Format int `json:"format"`
	}
	if err := json.Unmarshal(line, &header); err != nil {
		return "", err
	}
	if header.Format > format {
		return "", fmt.Errorf("%w: it has format %d, this program knows %d: use the program that wrote it", kv.ErrVersion, header.Format, format)
	}
	d := json.NewDecoder(bytes.NewReader(line))
	d.DisallowUnknownFields()
	if err := d.Decode(v); err != nil {
		return "", err
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return "", errors.New("something follows the JSON")
	}
	if header.Format != format {
		return "", fmt.Errorf("it has format %d", header.Format)
	}
	return sum, nil
}

// put seals v and puts it.
func put(ctx context.Context, place blob.Store, name string, v any) error {
	object, _, err := seal(v)
	if err != nil {
		return fmt.Errorf("repository: %s: %w", name, err)
	}
	return place.Put(ctx, name, object)
}

// get reads the sealed object of a name, with at most sizeMax bytes, into v. The error matches
// kv.ErrCorrupt if the object is not right, kv.ErrVersion, or blob.ErrNotFound.
func get(ctx context.Context, place blob.Store, name string, sizeMax int64, v any) (sum string, err error) {
	object, err := blob.Get(ctx, place, name, sizeMax)
	if errors.Is(err, blob.ErrTooLarge) {
		return "", corrupt(place, name, "%v", err)
	}
	if err != nil {
		return "", err
	}
	if sum, err = unseal(object, v); errors.Is(err, kv.ErrVersion) {
		return "", fmt.Errorf("%s in %s: %w", name, place, err)
	}
	if err != nil {
		return "", corrupt(place, name, "%.300s", err) // a name in it may be long
	}
	return sum, nil
}

// corrupt returns damage of an object.
func corrupt(place blob.Store, name, detail string, args ...any) error {
	return &kv.CorruptError{File: fmt.Sprintf("%s in %s", name, place), Offset: -1, Detail: fmt.Sprintf(detail, args...)}
}
