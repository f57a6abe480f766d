package line

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync/atomic"

	"kvd/internal/lineproto"
	"kvd/kv"
	"kvd/kv/msglog"
)

const (
	// txnMemory bounds the bytes that the unfinished transactions of all connections hold.
	txnMemory = 256 << 20
	// txnMax bounds what one of them holds: two branches, and as much in conditions.
	txnMax = 3 * kv.MaxTxnSize
	// txnLineCost is what a line takes besides its key and its value, in bytes, about.
	txnLineCost = 300
)

// openTxn is a transaction of which lines are still to come.
type openTxn struct {
	left     lineproto.TxnLines // lines still to come
	lines    int                // that have come
	txn      kv.Txn
	ifLines  []int      // the lines of txn.If
	branches [2]txnPart // then, else
	ids      []txnID
	refused  error         // why; the other lines are read all the same
	payloads int           // bytes of all payloads that have come
	held     int64         // bytes, of txnMemory
	memory   *atomic.Int64 // bytes that all unfinished transactions hold
}

// txnPart is the lines of a branch, in order.
type txnPart struct {
	ops   []txnOp
	first int // its first line
}

// txnOp is a line of a branch: a write or a read, with its number in the branch.
type txnOp struct {
	reads bool
	index int
}

// txnID is the id that a line of a branch wants its bucket to have.
type txnID struct {
	line   int
	bucket string
	id     uint64
}

// beginTxn reads a TXN. An error ends the connection: nothing bounds what would have to be skipped.
func (c *conn) beginTxn(cmd *lineproto.Command) error {
	if err := cmd.Txn.Check(); err != nil {
		return err
	}
	t := &openTxn{left: cmd.Txn, refused: cmd.Refused, memory: &c.protocol.txnMemory}
	t.branches[0].first = 1 + int(cmd.Txn.Conditions)
	t.branches[1].first = t.branches[0].first + int(cmd.Txn.Then)
	c.txn = t
	if t.left.Count() == 0 {
		c.finishTxn()
	}
	return nil
}

// collect takes a line of the open transaction, and carries the transaction out after the last one.
// An error ends the connection.
func (c *conn) collect(cmd *lineproto.Command) error {
	t := c.txn
	if err := t.next(cmd.Verb); err != nil {
		return err
	}
	t.payloads += max(0, cmd.Length)
	if t.refused == nil {
		if err := c.addLine(cmd); err != nil {
			t.refused = &lineproto.LineError{Line: t.lines, Err: wireError(err)}
			t.release()
		}
	}
	if t.left.Count() == 0 {
		c.finishTxn()
	}
	return nil
}

// next counts a line. It returns an error for a verb that cannot stand there.
func (t *openTxn) next(verb lineproto.Verb) error {
	left, fits := &t.left.Else, verb.Writes() || verb == lineproto.VerbGet
	switch {
	case t.left.Conditions > 0:
		left, fits = &t.left.Conditions, verb == lineproto.VerbIf || verb == lineproto.VerbIfNewest
	case t.left.Then > 0:
		left = &t.left.Then
	}
	t.lines++
	if !fits {
		return &lineproto.SyntaxError{Reason: fmt.Sprintf("line %d of a transaction cannot be %v", t.lines, verb)}
	}
	*left--
	return nil
}

// addLine adds a line that the client may give to the transaction.
func (c *conn) addLine(cmd *lineproto.Command) error {
	err := c.permit(cmd)
	if err == nil {
		err = cmd.Refused
	}
	if err == nil && cmd.Verb.Writes() {
		err = msglog.CheckUnreserved(cmd.Bucket)
	}
	if err == nil && (cmd.Stale || cmd.Verb == lineproto.VerbGet && cmd.HasRevision) {
		err = fmt.Errorf("%w: a GET of a transaction reads the newest record, without rev and stale", kv.ErrInvalidOption)
	}
	if err == nil {
		err = c.txn.hold(len(cmd.Key) + len(cmd.Value))
	}
	if err != nil {
		return err
	}
	c.txn.add(c.name(cmd.Bucket), cmd)
	return nil
}

// hold counts the memory of a line.
func (t *openTxn) hold(size int) error {
	n := int64(size) + txnLineCost
	if t.held+n > txnMax {
		return &kv.LimitError{What: "size of all lines", Got: t.held + n, Max: txnMax, Err: kv.ErrTxnTooLarge}
	}
	if t.memory.Add(n) > txnMemory {
		t.memory.Add(-n)
		return fmt.Errorf("%w bytes in unfinished transactions: at most %d", lineproto.ErrTooMany, txnMemory)
	}
	t.held += n
	return nil
}

// release gives up what the transaction holds.
func (t *openTxn) release() {
	t.memory.Add(-t.held)
	t.txn, t.held = kv.Txn{}, 0
}

// add adds a line in memory of its own.
func (t *openTxn) add(bucket string, cmd *lineproto.Command) {
	own := *cmd
	own.Bucket, own.Key, own.Value = bucket, strings.Clone(cmd.Key), bytes.Clone(cmd.Value)
	if own.Verb == lineproto.VerbIf || own.Verb == lineproto.VerbIfNewest {
		for t.txn.If = own.Conditions(t.txn.If); len(t.ifLines) < len(t.txn.If); {
			t.ifLines = append(t.ifLines, t.lines)
		}
		return
	}
	if own.BucketID != 0 {
		t.ids = append(t.ids, txnID{t.lines, bucket, own.BucketID})
	}
	branch, part := &t.txn.Then, &t.branches[0]
	if t.lines >= t.branches[1].first {
		branch, part = &t.txn.Else, &t.branches[1]
	}
	if own.Verb == lineproto.VerbGet {
		part.ops = append(part.ops, txnOp{true, len(branch.Reads)})
		branch.Reads = append(branch.Reads, kv.KeyRef{Bucket: bucket, Key: own.Key})
		return
	}
	part.ops = append(part.ops, txnOp{false, len(branch.Writes)})
	branch.Writes = append(branch.Writes, mutationOf(bucket, &own))
}

// lineOf returns the line that an error of the store is about.
func (t *openTxn) lineOf(e *kv.TxnError) int {
	if e.Part == kv.TxnIf {
		return t.ifLines[e.Op]
	}
	part := &t.branches[0]
	if e.Part == kv.ElseWrite || e.Part == kv.ElseRead {
		part = &t.branches[1]
	}
	reads := e.Part == kv.ThenRead || e.Part == kv.ElseRead
	for i, op := range part.ops {
		if op.reads == reads && op.index == e.Op {
			return part.first + i
		}
	}
	return 0
}

// finishTxn carries out the open transaction and answers it.
func (c *conn) finishTxn() {
	t := c.txn
	defer c.dropTxn()
	err := t.refused
	if err == nil {
		err = c.checkIDs(t.ids)
	}
	if err != nil {
		c.replies.b = lineproto.AppendError(c.replies.b, err, "")
		return
	}
	store, ok := kv.As[kv.Transactor](c.protocol.store)
	if !ok {
		c.fail(fmt.Errorf("%w: TXN", kv.ErrNotSupported), "")
		return
	}
	var r kv.TxnResult
	c.InStore(func() { r, err = store.Txn(c.ctx, &t.txn) })
	var refused *kv.TxnError
	switch errors.As(err, &refused); {
	case err == nil || refused != nil && refused.Done:
		c.answerTxn(t, &r, damagedReads(err))
	case refused != nil:
		c.replies.b = lineproto.AppendError(c.replies.b, &lineproto.LineError{Line: t.lineOf(refused), Err: wireError(refused.Err)}, "")
	default:
		c.fail(err, "")
	}
}

// dropTxn ends the open transaction, if there is one.
func (c *conn) dropTxn() {
	if c.txn != nil {
		c.txn.release()
		c.txn = nil
	}
}

// checkIDs returns an error if a bucket does not have the id that a line names.
func (c *conn) checkIDs(ids []txnID) error {
	for _, want := range ids {
		err := c.lookup(want.bucket)
		if err == nil {
			err = c.checkID(want.id)
		}
		if err != nil {
			return &lineproto.LineError{Line: want.line, Err: wireError(err)}
		}
	}
	return nil
}

// damagedReads returns the reads whose values are damaged, of the error of a transaction that was
// carried out.
func damagedReads(err error) map[int]error {
	damaged := map[int]error{}
	switch e := err.(type) {
	case *kv.TxnError:
		damaged[e.Op] = e.Err
	case interface{ Unwrap() []error }:
		for _, one := range e.Unwrap() {
			maps.Copy(damaged, damagedReads(one))
		}
	}
	return damaged
}

// answerTxn answers a transaction that was carried out, line by line of its branch.
func (c *conn) answerTxn(t *openTxn, r *kv.TxnResult, damaged map[int]error) {
	part := &t.branches[0]
	if !r.Then {
		part = &t.branches[1]
	}
	c.replies.b = lineproto.AppendTxn(c.replies.b, r.Then, len(part.ops), len(r.At))
	writes := t.txn.Branch(r.Then).Writes
	for _, op := range part.ops {
		switch {
		case !op.reads:
			c.replies.b = lineproto.AppendNumber(c.replies.b, uint64(writes[op.index].Revision))
		case damaged[op.index] != nil:
			c.replies.b = lineproto.AppendLost(c.replies.b, &r.Entries[op.index], damaged[op.index])
		case r.Entries[op.index].Revision == 0:
			c.replies.b = lineproto.AppendNone(c.replies.b, r.Entries[op.index].Key, nil)
		default:
			c.replies.b = lineproto.AppendEntry(c.replies.b, &r.Entries[op.index])
		}
		c.full()
	}
	for _, bucket := range slices.Sorted(maps.Keys(r.At)) {
		c.replies.b = lineproto.AppendAt(c.replies.b, bucket, r.At[bucket])
		c.full()
	}
}
