package client

import (
	"context"
	"errors"
	"fmt"

	"kvd/internal/lineproto"
	"kvd/kv"
)

var _ kv.Transactor = (*Client)(nil)

// Txn carries out a transaction; see [kv.Transactor]. If the connection breaks before the whole
// answer has come, the error matches kv.ErrOutcomeUnknown, and the transaction is not repeated.
//
// Appends, headers, rollups and conditions of writes on the whole bucket are kv.ErrNotSupported;
// kv.BucketAtRevision is the condition that the protocol has for the last.
func (c *Client) Txn(ctx context.Context, t *kv.Txn) (kv.TxnResult, error) {
	if err := ctx.Err(); err != nil {
		return kv.TxnResult{}, err
	}
	if err := checkTxn(t); err != nil {
		return kv.TxnResult{}, err
	}
	if kv.IsStale(ctx) && len(t.Then.Reads)+len(t.Else.Reads) > 0 {
		return kv.TxnResult{}, fmt.Errorf("%w: reads of what is in doubt in a transaction over the line protocol", kv.ErrNotSupported)
	}
	k := c.calls.get(lineproto.VerbTxn)
	k.txn = &sentTxn{txn: t}
	if err := c.do(ctx, k); err != nil {
		return kv.TxnResult{}, err
	}
	sent := k.txn
	k.free()
	for i := range sent.revisions {
		t.Branch(sent.result.Then).Writes[i].Revision = sent.revisions[i]
	}
	return sent.result, errors.Join(sent.damaged...)
}

// checkTxn returns why a transaction cannot be sent. It sets the revisions of all writes to 0.
func checkTxn(t *kv.Txn) error {
	if err := t.Check(); err != nil {
		return err
	}
	for i := range t.If {
		if err := checkCondition(&t.If[i]); err != nil {
			return &kv.TxnError{Part: kv.TxnIf, Op: i, Err: err}
		}
	}
	for _, b := range [...]struct {
		branch      *kv.Branch
		write, read kv.TxnPart
	}{{&t.Then, kv.ThenWrite, kv.ThenRead}, {&t.Else, kv.ElseWrite, kv.ElseRead}} {
		for i := range b.branch.Writes {
			m := &b.branch.Writes[i]
			m.Revision = 0
			if err := checkMutation(m); err != nil {
				return &kv.TxnError{Part: b.write, Op: i, Err: kv.NameKey(m.Bucket, m.Key, err)}
			}
		}
		for i, r := range b.branch.Reads {
			if err := checkNames(r.Bucket, r.Key); err != nil {
				return &kv.TxnError{Part: b.read, Op: i, Err: err}
			}
		}
	}
	return nil
}

func checkCondition(c *kv.Cond) error {
	if len(c.Value) > kv.MaxValueSizeLimit {
		return &kv.LimitError{What: "value size", Got: int64(len(c.Value)), Max: kv.MaxValueSizeLimit, Err: kv.ErrValueTooLarge}
	}
	if c.Is == kv.BucketAtRevision {
		return kv.CheckBucketName(c.Bucket)
	}
	return checkNames(c.Bucket, c.Key)
}

// checkNames checks the names of a bucket and of a key.
func checkNames(bucket, key string) error {
	err := kv.CheckBucketName(bucket)
	if err == nil {
		err = kv.CheckKey(key)
	}
	return kv.NameKey(bucket, key, err)
}

// sentTxn is a transaction that is sent, with what has come of its answer. Its lines are the
// conditions, then the writes and the reads of each branch.
type sentTxn struct {
	txn       *kv.Txn
	lines     int // of the branch, still to come
	buckets   int // +AT still to come
	result    kv.TxnResult
	revisions []kv.Revision // of the writes of the branch
	damaged   []error       // of its reads
}

// appendCommands appends the encoded lines.
func (s *sentTxn) appendCommands(dst []byte, command *lineproto.Command) ([]byte, error) {
	t := s.txn
	*command = lineproto.Command{Verb: lineproto.VerbTxn, Txn: lineproto.TxnLines{
		Conditions: uint64(len(t.If)),
		Then:       uint64(len(t.Then.Writes) + len(t.Then.Reads)),
		Else:       uint64(len(t.Else.Writes) + len(t.Else.Reads)),
	}}
	dst, err := lineproto.AppendCommand(dst, command)
	for i := 0; err == nil && i < len(t.If); i++ {
		command.SetCondition(&t.If[i])
		dst, err = lineproto.AppendCommand(dst, command)
	}
	for _, b := range [...]*kv.Branch{&t.Then, &t.Else} {
		for i := 0; err == nil && i < len(b.Writes); i++ {
			setMutation(command, &b.Writes[i])
			dst, err = lineproto.AppendCommand(dst, command)
		}
		for i := 0; err == nil && i < len(b.Reads); i++ {
			*command = lineproto.Command{Verb: lineproto.VerbGet, Bucket: b.Reads[i].Bucket, Key: b.Reads[i].Key}
			dst, err = lineproto.AppendCommand(dst, command)
		}
	}
	*command = lineproto.Command{Verb: lineproto.VerbTxn}
	return dst, err
}

// take stores a line of the answer.
func (s *sentTxn) take(r *lineproto.Reply) error {
	if s.result.At == nil {
		return s.begin(r)
	}
	if s.lines == 0 {
		if r.Kind != lineproto.ReplyAt || s.buckets == 0 {
			return errWrongReply
		}
		s.buckets--
		s.result.At[string([]byte(r.Name))] = kv.Revision(r.Number)
		return nil
	}
	s.lines--
	branch := s.txn.Branch(s.result.Then)
	if len(s.revisions) < len(branch.Writes) {
		if r.Kind != lineproto.ReplyOK {
			return errWrongReply
		}
		s.revisions = append(s.revisions, kv.Revision(r.Number))
		return nil
	}
	return s.takeRead(r, branch.Reads[len(s.result.Entries)])
}

// begin takes the first line.
func (s *sentTxn) begin(r *lineproto.Reply) error {
	if r.Kind == lineproto.ReplyError {
		return s.refusal(r)
	}
	branch := s.txn.Branch(r.Then)
	if s.lines, s.buckets = int(r.Number), int(r.Buckets); r.Kind != lineproto.ReplyTxn || s.lines != len(branch.Writes)+len(branch.Reads) {
		return errWrongReply
	}
	s.result = kv.TxnResult{Then: r.Then, At: map[string]kv.Revision{}, Entries: []kv.Entry{}}
	return nil
}

// takeRead takes the answer to a read.
func (s *sentTxn) takeRead(r *lineproto.Reply, want kv.KeyRef) error {
	e := kv.Entry{Bucket: want.Bucket, Key: want.Key}
	switch {
	case r.Kind == lineproto.ReplyNone && r.Name == want.Key:
	case (r.Kind == lineproto.ReplyEntry || r.Kind == lineproto.ReplyLost) && r.Entry.Key == want.Key:
		value := append([]byte(nil), r.Entry.Value...)
		e = r.Entry
		e.Bucket, e.Key, e.Value = want.Bucket, want.Key, value
		if err := r.Err(want.Bucket, want.Key); err != nil {
			part := kv.ThenRead
			if !s.result.Then {
				part = kv.ElseRead
			}
			s.damaged = append(s.damaged, &kv.TxnError{Part: part, Op: len(s.result.Entries), Done: true, Err: kv.NameKey(want.Bucket, want.Key, err)})
		}
	default:
		return errWrongReply
	}
	s.result.Entries = append(s.result.Entries, e)
	return nil
}

// refusal returns the error of -ERR, in terms of the transaction.
func (s *sentTxn) refusal(r *lineproto.Reply) error {
	at := r.Line() - 1
	if at < 0 {
		return r.Err("", "")
	}
	t := s.txn
	for _, part := range [...]struct {
		part  kv.TxnPart
		count int
		names func(i int) (bucket, key string)
	}{
		{kv.TxnIf, len(t.If), func(i int) (string, string) { return t.If[i].Bucket, t.If[i].Key }},
		{kv.ThenWrite, len(t.Then.Writes), func(i int) (string, string) { return t.Then.Writes[i].Bucket, t.Then.Writes[i].Key }},
		{kv.ThenRead, len(t.Then.Reads), func(i int) (string, string) { return t.Then.Reads[i].Bucket, t.Then.Reads[i].Key }},
		{kv.ElseWrite, len(t.Else.Writes), func(i int) (string, string) { return t.Else.Writes[i].Bucket, t.Else.Writes[i].Key }},
		{kv.ElseRead, len(t.Else.Reads), func(i int) (string, string) { return t.Else.Reads[i].Bucket, t.Else.Reads[i].Key }},
	} {
		if at < part.count {
			bucket, key := part.names(at)
			return &kv.TxnError{Part: part.part, Op: at, Err: kv.NameKey(bucket, key, r.Err(bucket, key))}
		}
		at -= part.count
	}
	return r.Err("", "")
}
