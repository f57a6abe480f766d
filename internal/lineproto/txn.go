package lineproto

import (
	"fmt"
	"strconv"

	"kvd/kv"
)

// TxnLines are the numbers of lines that follow a TXN, in this order.
type TxnLines struct {
	Conditions uint64
	Then       uint64
	Else       uint64
}

// Count returns how many lines they are together.
func (n *TxnLines) Count() uint64 { return n.Conditions + n.Then + n.Else }

// Check returns an error that matches kv.ErrTxnTooLarge if the lines are more than any
// transaction has: the lines of a branch are its writes and its reads.
func (n *TxnLines) Check() error {
	for _, part := range [...]struct {
		what     string
		got, max uint64
	}{
		{"number of conditions", n.Conditions, kv.MaxTxnOps},
		{"number of lines of then", n.Then, 2 * kv.MaxTxnOps},
		{"number of lines of else", n.Else, 2 * kv.MaxTxnOps},
	} {
		if part.got > part.max {
			return &kv.LimitError{What: part.what, Got: int64(min(part.got, 1<<62)), Max: int64(part.max), Err: kv.ErrTxnTooLarge}
		}
	}
	return nil
}

// LineError is why a line of a transaction was refused, and with it the transaction.
type LineError struct {
	Line int // counted from 1, the line after TXN
	Err  error
}

func (e *LineError) Error() string {
	return fmt.Sprintf("line %d of the transaction: %v", e.Line, e.Err)
}

// Unwrap returns Err.
func (e *LineError) Unwrap() error { return e.Err }

// condKinds are the values of the option is of IF.
var condKinds = map[string]kv.CondKind{"exists": kv.Exists, "absent": kv.Absent, "value": kv.ValueIs, "not-value": kv.ValueIsNot}

// appendCondKind appends the option is.
func appendCondKind(dst []byte, is kv.CondKind) []byte {
	for name, kind := range condKinds {
		if kind == is {
			return append(append(dst, " is="...), name...)
		}
	}
	return dst
}

// refuseIf refuses an IF that tests nothing, or whose payload does not belong to its tests.
func (c *Command) refuseIf(s *shape) {
	switch compares := c.Is.ComparesValue(); {
	case c.Is == 0 && !c.HasRevision && !c.HasNotRevision:
		c.refuse(invalidOption("a test is missing: is=exists, is=absent, is=value, is=not-value, rev=N or not-rev=N: %s", s.usage()))
	case compares && c.Length < 0:
		c.refuse(invalidOption("is=value and is=not-value need the length of a value, and the value"))
	case !compares && c.Length >= 0:
		c.refuse(invalidOption("only is=value and is=not-value have a value"))
	}
}

// SetCondition makes the command the IF or IFNEWEST of a condition.
func (c *Command) SetCondition(cond *kv.Cond) {
	*c = Command{Verb: VerbIf, Bucket: cond.Bucket, Key: cond.Key, BucketID: cond.BucketID}
	switch cond.Is {
	case kv.BucketAtRevision:
		c.Verb, c.Revision, c.HasRevision = VerbIfNewest, cond.Revision, true
	case kv.AtRevision:
		c.Revision, c.HasRevision = cond.Revision, true
	case kv.NotAtRevision:
		c.NotRevision, c.HasNotRevision = cond.Revision, true
	case kv.ValueIs, kv.ValueIsNot:
		c.Is, c.Value = cond.Is, append([]byte{}, cond.Value...) // not nil: it has a length
	default:
		c.Is = cond.Is
	}
}

// Conditions appends the conditions of an IF or IFNEWEST to dst: one for each of its tests. They
// refer to the command's buffer.
func (c *Command) Conditions(dst []kv.Cond) []kv.Cond {
	cond := kv.Cond{Bucket: c.Bucket, Key: c.Key, BucketID: c.BucketID}
	if c.Verb == VerbIfNewest {
		cond.Is, cond.Revision = kv.BucketAtRevision, c.Revision
		return append(dst, cond)
	}
	if c.Is != 0 {
		with := cond
		with.Is, with.Value = c.Is, c.Value
		dst = append(dst, with)
	}
	if c.HasRevision {
		with := cond
		with.Is, with.Revision = kv.AtRevision, c.Revision
		dst = append(dst, with)
	}
	if c.HasNotRevision {
		with := cond
		with.Is, with.Revision = kv.NotAtRevision, c.NotRevision
		dst = append(dst, with)
	}
	return dst
}

// The branches of a transaction on the wire.
const (
	branchThen = "then"
	branchElse = "else"
)

// AppendTxn appends +TXN: the branch that was carried out, how many lines of it follow, and how
// many +AT after them.
func AppendTxn(dst []byte, then bool, lines, buckets int) []byte {
	branch := branchElse
	if then {
		branch = branchThen
	}
	dst = append(append(dst, "+TXN "...), branch...)
	dst = strconv.AppendInt(append(dst, ' '), int64(lines), 10)
	return appendLine(dst, " ", uint64(buckets))
}

// AppendAt appends +AT: the newest revision of a bucket after a transaction.
func AppendAt(dst []byte, bucket string, revision kv.Revision) []byte {
	return appendLine(append(append(dst, "+AT "...), bucket...), " ", uint64(revision))
}

// parseTxn reads a +TXN.
func (r *Reply) parseTxn(w *words) bool {
	word, err := w.next()
	if err != nil {
		return false
	}
	switch string(word) {
	case branchThen:
		r.Then = true
	case branchElse:
	default:
		return false
	}
	return r.takeNumber(w, &r.Number) && r.takeNumber(w, &r.Buckets) && !w.more &&
		r.Number <= 2*kv.MaxTxnOps && r.Buckets <= 5*kv.MaxTxnOps
}

// Line returns the number of the line of a transaction that -ERR is about, counted from 1; 0 if it is
// about none.
func (r *Reply) Line() int {
	if !r.failed || len(r.failure.details) == 0 {
		return 0
	}
	return int(min(r.failure.readDetails().number("op"), 5*kv.MaxTxnOps))
}
