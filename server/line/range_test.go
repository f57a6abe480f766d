package line

import (
	"context"
	"fmt"
	"iter"
	"strings"
	"testing"

	"kvd/kv"
	"kvd/server"
)

// readerStore is a fake store whose bucket is a kv.Reader of a fixed sequence.
type readerStore struct {
	*fakeStore
	sequence iter.Seq2[kv.Entry, error]
}

type readerBucket struct {
	*fakeBucket
	sequence iter.Seq2[kv.Entry, error]
}

func (s *readerStore) Bucket(ctx context.Context, name string) (kv.Bucket, error) {
	if _, err := s.fakeStore.Bucket(ctx, name); err != nil {
		return nil, err
	}
	return &readerBucket{&s.fakeStore.bucket, s.sequence}, nil
}

func (b *readerBucket) Get(context.Context, string) (kv.Entry, error) {
	return kv.Entry{}, kv.ErrNotSupported
}

func (b *readerBucket) Range(context.Context, kv.RangeOptions) iter.Seq2[kv.Entry, error] {
	return b.sequence
}

func (b *readerBucket) GetMany(context.Context, []string) iter.Seq2[kv.Entry, error] {
	return b.sequence
}

func (b *readerBucket) Count(context.Context, ...string) (uint64, error) {
	return 0, kv.ErrNotSupported
}

func (b *readerBucket) Children(context.Context, string, string, int) iter.Seq2[kv.Child, error] {
	return func(yield func(kv.Child, error) bool) { yield(kv.Child{}, kv.ErrReadOnly) }
}

// TestADamagedRecordCostsItselfAloneInARange has a record that cannot be read, and a key of which
// nobody knows whether it has a value.
func TestADamagedRecordCostsItselfAloneInARange(t *testing.T) {
	damage := &kv.CorruptError{File: "f", Offset: 7, Detail: "d"}
	entry := func(key string) kv.Entry {
		return kv.Entry{Key: key, Value: []byte("v"), Revision: 1, Created: instant, Operation: kv.Put}
	}
	s := &readerStore{newFakeStore(), func(yield func(kv.Entry, error) bool) {
		_ = yield(entry("a"), nil) && yield(entry("b"), kv.NameKey("b", "b", damage)) &&
			yield(kv.Entry{Key: "c"}, kv.NameKey("b", "c", damage)) && yield(entry("d"), nil)
	}}
	p := servePipes(t, s, server.Options{}).dial()
	lines := []string{
		"+ENTRY a 1 PUT 2026-11-22T18:00:00.123456789Z 1\nv",
		"+LOST b 1 PUT 2026-11-22T18:00:00.123456789Z CORRUPT file=f offset=7 detail=d : f at offset 7: d",
		"+NONE c CORRUPT file=f offset=7 detail=d : f at offset 7: d",
		"+ENTRY d 1 PUT 2026-11-22T18:00:00.123456789Z 1\nv",
		"+END 4",
	}
	p.ask("RANGE b >", lines...)
	p.ask("MGET b 7\na b c d", lines...)
	p.ask("RANGE b > limit=1", lines[0], "+END 1 more=a")
	p.ask("RANGE b > bytes=4", lines[0], lines[1], "+END 2 more=b")
	p.ask("CHILDREN b a.", "-ERR READ_ONLY : b")
	s.sequence = func(yield func(kv.Entry, error) bool) { yield(kv.Entry{}, kv.NameKey("b", "", damage)) }
	p.ask("RANGE b >", "-ERR CORRUPT file=f offset=7 detail=d : f at offset 7: d")
	p = servePipes(t, newFakeStore(), server.Options{}).dial()
	p.ask("MGET b 1\na", "-ERR NOT_SUPPORTED : MGET")
	p.ask("PING", "+OK")
}

// TestARangeEndsWithItsClient has a client that disconnects in the middle of a range without an end.
func TestARangeEndsWithItsClient(t *testing.T) {
	over := make(chan struct{})
	s := &readerStore{newFakeStore(), func(yield func(kv.Entry, error) bool) {
		defer close(over)
		for e := (kv.Entry{Key: "k", Value: make([]byte, 1000), Revision: 1, Operation: kv.Put, Created: instant}); yield(e, nil); {
		}
	}}
	p := servePipes(t, s, server.Options{}).dial()
	p.send("RANGE b >\n")
	p.expectPrefix("+ENTRY k 1 ")
	if err := p.conn.Close(); err != nil {
		t.Fatal(err)
	}
	<-over
}

// TestRefusedReads has commands that a server refuses before it reads anything.
func TestRefusedReads(t *testing.T) {
	p := serveTCP(t, openStore(t), server.Options{}).dial()
	p.ask("ADD b", "+OK")
	for _, tt := range []struct{ command, want string }{
		{"MGET b 4\na..b", `-ERR INVALID_KEY name=a..b at=2 reason="empty token" : invalid key "a..b": empty token at byte 2`},
		{"MGET b 4\na  b", "-ERR INVALID_KEY name="},
		{fmt.Sprintf("MGET b %d\n%s", 2*4097-1, strings.TrimSuffix(strings.Repeat("k ", 4097), " ")), `-ERR INVALID_OPTION what="number of keys" got=4097 min=0 max=4096 : `},
		{fmt.Sprintf("MGET b %d\n%s", 5<<20, strings.Repeat("k", 5<<20)), `-ERR INVALID_OPTION what="size of the keys"`},
		{fmt.Sprintf("RANGE b a %d\n%s", 70_000, strings.Repeat("k", 70_000)), `-ERR INVALID_PATTERN what="size of the patterns"`},
		{"RANGE b a..b", "-ERR INVALID_PATTERN name=a..b "},
		{"RANGE b > limit=0", `-ERR INVALID_OPTION : limit cannot be "0"`},
		{"RANGE b > limit=-1", `-ERR INVALID_OPTION : limit cannot be "-1"`},
		{"RANGE b > order=up", `-ERR INVALID_OPTION : order cannot be "up"`},
		{"RANGE b > changed=x", `-ERR INVALID_OPTION : changed cannot be "x"`},
		{"RANGE b > by=.", `-ERR INVALID_OPTION : RANGE has no option "by"`},
		{"RANGE b > mode=last", `-ERR INVALID_OPTION : RANGE has no option "mode"`},
		{`CHILDREN b "" by=""`, `-ERR INVALID_OPTION : by cannot be `},
		{"CHILDREN b " + strings.Repeat("x", kv.MaxKeySize+1), `-ERR INVALID_OPTION what="size of the prefix" got=1025 min=0 max=1024 : `},
		{"CHILDREN c a.", `-ERR BUCKET_NOT_FOUND : "c"`},
	} {
		p.send(tt.command + "\n")
		p.expectPrefix(tt.want)
	}
	p.ask("PING", "+OK")
}
