package client

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"kvd/kv"
)

// TestServersErrors has a server that answers with each code, to a read, a write and a
// listing.
func TestServersErrors(t *testing.T) {
	sentinels := map[string]error{
		"OUTCOME_UNKNOWN : x":                       kv.ErrOutcomeUnknown,
		"READ_ONLY : x":                             kv.ErrReadOnly,
		"NO_SPACE : x":                              kv.ErrNoSpace,
		"TOO_MANY_FILES : x":                        kv.ErrTooManyFiles,
		"BUCKET_NOT_FOUND : b":                      kv.ErrBucketNotFound,
		"BUCKET_EXISTS : b":                         kv.ErrBucketExists,
		"KEY_NOT_FOUND : k":                         kv.ErrKeyNotFound,
		"INVALID_BUCKET_NAME : x":                   kv.ErrInvalidBucketName,
		"INVALID_KEY : x":                           kv.ErrInvalidKey,
		"INVALID_PATTERN : x":                       kv.ErrInvalidPattern,
		"INVALID_CONFIG : x":                        kv.ErrInvalidConfig,
		"INVALID_OPTION : x":                        kv.ErrInvalidOption,
		"HISTORY_TOO_LARGE : x":                     kv.ErrHistoryTooLarge,
		"VALUE_TOO_LARGE : x":                       kv.ErrValueTooLarge,
		"BUCKET_FULL : x":                           kv.ErrBucketFull,
		"INVALID_RECORD : x":                        kv.ErrInvalidRecord,
		"DIGEST_MISMATCH : x":                       kv.ErrDigestMismatch,
		"NOT_SUPPORTED : x":                         kv.ErrNotSupported,
		"CORRUPT : x":                               kv.ErrCorrupt,
		"DENIED : x":                                ErrDenied,
		"TOO_MANY : x":                              ErrTooMany,
		"INTERNAL : x":                              ErrInternal,
		"BRAND_NEW : x":                             ErrInternal,
		"KEY_EXISTS actual=5 : x":                   kv.ErrKeyExists,
		"REVISION_MISMATCH actual=5 expected=4 : x": kv.ErrKeyRevisionMismatch,
	}
	for answer, want := range sentinels {
		t.Run(answer, func(t *testing.T) {
			refusing := answering(func(string) string { return "-ERR " + answer + "\r\n" })
			b := play(t, refusing, refusing).bucket(Options{})
			_, get := b.Get(t.Context(), "k")
			_, remove := b.Delete(t.Context(), "k")
			_, status := b.Status(t.Context())
			for call, err := range map[string]error{
				"Get": get, "Delete": remove, "Status": status,
				"History":      drain(b.History(t.Context(), "k")),
				"Keys":         drain(b.Keys(t.Context())),
				"Buckets":      drain(b.client.Buckets(t.Context())),
				"DeleteBucket": b.client.DeleteBucket(t.Context(), "b"),
			} {
				if !errors.Is(err, want) {
					t.Errorf("%s: error is %v, want one that matches %q", call, err, want)
				}
				if errors.As(err, new(*ConnError)) {
					t.Errorf("%s: error %v is a ConnError, but the connection is good", call, err)
				}
			}
		})
	}
}

func TestServersErrorsKeepTheirDetails(t *testing.T) {
	refuse := func(t *testing.T, line string) error {
		b := play(t, answering(func(string) string { return "-ERR " + line + "\r\n" })).bucket(Options{})
		_, err := b.Update(t.Context(), "k", nil, 4)
		return err
	}
	var mismatch *kv.RevisionMismatchError
	err := refuse(t, "REVISION_MISMATCH actual=5 expected=4 : k is at revision 5, expected 4")
	if !errors.As(err, &mismatch) || *mismatch != (kv.RevisionMismatchError{Bucket: "b", Key: "k", Want: 4, Got: 5}) {
		t.Errorf("error is %#v", err)
	}
	var limit *kv.LimitError
	err = refuse(t, `VALUE_TOO_LARGE what="value of \"k\"" got=9 min=0 max=5 : too large`)
	if !errors.As(err, &limit) || limit.Got != 9 || limit.Max != 5 {
		t.Errorf("error is %#v", err)
	}
	var corrupt *kv.CorruptError
	err = refuse(t, "CORRUPT file=a offset=77 detail=checksum : damaged")
	if !errors.As(err, &corrupt) || corrupt.File != "a" || corrupt.Offset != 77 {
		t.Errorf("error is %#v", err)
	}
}

// TestOutcomeUnknownOfTheServerIsNotRetried checks that an unknown outcome at the server
// counts as an answer.
func TestOutcomeUnknownOfTheServerIsNotRetried(t *testing.T) {
	s := play(t, func(s *session) {
		s.hello()
		s.want("DEL b k id=7")
		s.say("-ERR OUTCOME_UNKNOWN : sync failed")
		s.silence()
	})
	_, err := s.bucket(Options{}).Delete(t.Context(), "k")
	if !errors.Is(err, kv.ErrOutcomeUnknown) || errors.As(err, new(*ConnError)) {
		t.Errorf("error is %v", err)
	}
}

// TestRefusedHere makes calls that every server would refuse. The client sends nothing
// for them.
func TestRefusedHere(t *testing.T) {
	b := play(t, func(s *session) {
		s.hello()
		s.silence()
	}).bucket(Options{})
	ctx := t.Context()
	_, tooLarge := b.Put(ctx, "k", make([]byte, kv.MaxValueSizeLimit+1))
	_, badKey := b.Put(ctx, "a b", nil)
	_, badOption := b.Put(ctx, "k", nil, kv.LastRevision(1))
	_, badConfig := b.client.CreateBucket(ctx, kv.Config{Bucket: "b", Description: "bad \xff"})
	_, badPatterns := b.Count(ctx, "a..b")
	_, badWatch := b.Watch(ctx, []string{"a..b"})
	_, bothModes := b.Watch(ctx, nil, kv.IncludeHistory(), kv.UpdatesOnly())
	_, otherID := b.Watch(ctx, nil, kv.ResumeBucketID(8))
	negative := []kv.Mutation{{Bucket: "b", Op: kv.MutatePut, Key: "k", TTL: -1}, {Bucket: "b", Op: kv.MutateDelete, Key: "k", TTL: 1}}
	if err := b.client.Submit(ctx, negative); err != nil {
		t.Error(err)
	}
	for _, c := range []struct{ err, want error }{
		{tooLarge, kv.ErrValueTooLarge}, {badKey, kv.ErrInvalidKey}, {badOption, kv.ErrInvalidOption},
		{badConfig, kv.ErrInvalidConfig}, {badPatterns, kv.ErrInvalidPattern}, {badWatch, kv.ErrInvalidPattern},
		{bothModes, kv.ErrInvalidOption}, {otherID, kv.ErrBucketNotFound},
		{negative[0].Err, kv.ErrInvalidOption}, {negative[1].Err, kv.ErrInvalidOption},
	} {
		if !errors.Is(c.err, c.want) {
			t.Errorf("error is %v, want one that matches %q", c.err, c.want)
		}
	}
}

func TestDialErrors(t *testing.T) {
	greet := func(lines ...string) func(*session) {
		return func(s *session) {
			s.want("HELLO")
			for _, line := range lines {
				s.raw(line + "\r\n")
				s.line()
			}
		}
	}
	for name, tt := range map[string]struct {
		session func(*session)
		opts    Options
		want    error
	}{
		"refused":              {nil, Options{}, errRefused},
		"hung up":              {func(s *session) { s.want("HELLO") }, Options{}, errHungUp},
		"another protocol":     {greet("220 mail.example ESMTP"), Options{}, nil},
		"another answer":       {greet("+OK"), Options{}, errWrongReply},
		"too many connections": {greet("-ERR TOO_MANY : connections"), Options{}, ErrTooMany},
		"needs a user":         {greet("+HELLO 1 server=test auth=yes"), Options{}, ErrAuthRequired},
		"wrong password":       {greet(helloReply, "-ERR AUTH_FAILED : no"), Options{User: "u", Password: "p"}, ErrAuthFailed},
		"newer protocol":       {greet("+HELLO 2 server=test"), Options{}, kv.ErrVersion},
	} {
		t.Run(name, func(t *testing.T) {
			s := play(t)
			if tt.session != nil {
				s.then(tt.session)
			}
			opts := tt.opts
			opts.Dialer = s
			_, err := Dial(t.Context(), scriptAddress, opts)
			if !errors.As(err, new(*ConnError)) || tt.want != nil && !errors.Is(err, tt.want) {
				t.Errorf("error is %v, want a ConnError that matches %v", err, tt.want)
			}
			if n := s.connections(); n != 1 {
				t.Errorf("%d attempts", n)
			}
		})
	}
}

func TestDialLogsIn(t *testing.T) {
	login := func(s *session) {
		s.want("HELLO")
		s.raw("+HELLO 1 server=test auth=yes\r\n")
		s.want(`AUTH alice "two words"`)
		s.say("+OK")
	}
	b := play(t, func(s *session) {
		login(s)
		s.silence()
	}, func(s *session) {
		login(s)
		s.want("KEYS b > id=7")
		s.say("+KEY k")
		s.say("+END 1")
		s.silence()
	}).bucket(Options{User: "alice", Password: "two words"})
	if keys, err := collect(b.Keys(t.Context())); err != nil || fmt.Sprint(keys) != "[k]" {
		t.Errorf("keys are %q, %v", keys, err)
	}
}

func TestDialHonoursItsContextAndTimeout(t *testing.T) {
	mute := func(s *session) {
		s.line()
		s.line()
	}
	ctx, cancel := context.WithCancel(t.Context())
	_, err := Dial(ctx, scriptAddress, Options{Dialer: play(t, func(s *session) {
		s.want("HELLO")
		cancel()
		s.line()
	})})
	if !errors.Is(err, context.Canceled) || errors.As(err, new(*ConnError)) {
		t.Errorf("error is %v, want a plain %q", err, context.Canceled)
	}
	_, err = Dial(t.Context(), scriptAddress, Options{Dialer: play(t, mute), DialTimeout: 1})
	if !errors.Is(err, context.DeadlineExceeded) || !errors.As(err, new(*ConnError)) {
		t.Errorf("error is %v, want a ConnError that matches %q", err, context.DeadlineExceeded)
	}
}

func TestDialRefusesBadOptions(t *testing.T) {
	for name, opts := range map[string]Options{
		"negative timeout":        {DialTimeout: -1},
		"negative minimum":        {BackoffMin: -1},
		"maximum below minimum":   {BackoffMin: 2, BackoffMax: 1},
		"negative read-ahead":     {ReadAhead: -1},
		"password without a user": {Password: "p"},
	} {
		opts.Dialer = play(t)
		if _, err := Dial(t.Context(), scriptAddress, opts); !errors.Is(err, kv.ErrInvalidConfig) {
			t.Errorf("%s: error is %v", name, err)
		}
	}
	if _, err := Dial(t.Context(), "no port", Options{}); !errors.Is(err, kv.ErrInvalidConfig) {
		t.Errorf("bad address: error is %v", err)
	}
}
