package client

import (
	"errors"
	"sync"

	"kvd/internal/lineproto"
	"kvd/kv"
)

// call is one command and its reply, or the run of commands of a Submit. The caller owns
// it until it is gathered, then the connection until its outcome is set, then the caller
// again. If the caller gives up early, the connection keeps it.
type call struct {
	pool *callPool
	done chan struct{} // capacity 1: the outcome is set

	// The request. Set by the caller.
	command lineproto.Command
	run     []*kv.Mutation // instead of command
	txn     *sentTxn       // of a TXN
	dst     []byte         // of a GET: the value is appended to it

	size int // bytes of the commands, as gathered

	// The outcome. Set by the connection, before done.
	fate   fate
	err    error
	number uint64    // of +OK
	entry  kv.Entry  // of +ENTRY
	status kv.Status // of +INFO

	mu struct { // guards the fields inside and, until done, the outcome and what run points to
		sync.Mutex
		answered  int  // commands whose reply has come; replies, of a TXN
		further   int  // replies that follow the first one of a TXN
		finished  bool // the outcome is final
		abandoned bool // the caller has given up
	}
}

// fate says how a call ended.
type fate uint8

const (
	fateAnswered  fate = iota // the server answered every command
	fateUnsent                // the commands without an answer were not executed
	fateLost                  // the connection broke before every answer had come
	fateAbandoned             // the caller gave up before every answer had come
)

// callPool keeps calls for the next ones. Every client has its own, because a
// channel made inside a synctest bubble must not be used outside.
type callPool struct{ sync.Pool }

// get returns a call that is empty but for its verb.
func (p *callPool) get(v lineproto.Verb) *call {
	k, _ := p.Get().(*call)
	if k == nil {
		k = &call{pool: p, done: make(chan struct{}, 1)}
	}
	k.command.Verb = v
	return k
}

// free returns the call to the pool. Nobody else may use it.
func (k *call) free() {
	k.txn = nil
	k.again()
	k.command, k.run, k.dst = lineproto.Command{}, nil, nil
	k.number, k.entry, k.status = 0, kv.Entry{}, kv.Status{}
	k.pool.Put(k)
}

// again prepares the call to be sent once more.
func (k *call) again() {
	k.size, k.fate, k.err = 0, fateAnswered, nil
	k.mu.answered, k.mu.further, k.mu.finished, k.mu.abandoned = 0, 0, false, false
	if k.txn != nil {
		k.txn = &sentTxn{txn: k.txn.txn}
	}
}

// appendCommands appends the encoded commands.
func (k *call) appendCommands(dst []byte) ([]byte, error) {
	if k.txn != nil {
		return k.txn.appendCommands(dst, &k.command)
	}
	if k.run == nil {
		return lineproto.AppendCommand(dst, &k.command)
	}
	var err error
	for _, m := range k.run {
		setMutation(&k.command, m)
		if dst, err = lineproto.AppendCommand(dst, &k.command); err != nil {
			return dst, err
		}
	}
	return dst, nil
}

// deliver stores one reply and reports whether the call is complete. An error means that
// the reply cannot belong to this call.
func (k *call) deliver(r *lineproto.Reply) (complete bool, err error) {
	k.mu.Lock()
	if !k.mu.abandoned {
		if err = k.take(r); err != nil {
			k.mu.Unlock()
			return false, err
		}
	}
	if k.mu.answered == 0 && r.Kind == lineproto.ReplyTxn {
		k.mu.further = int(r.Number + r.Buckets)
	}
	k.mu.answered++
	complete = k.mu.answered >= max(1, len(k.run))+k.mu.further
	k.mu.finished = complete
	abandoned := k.mu.abandoned
	k.mu.Unlock()
	if complete {
		k.handBack(abandoned)
	}
	return complete, nil
}

// fail ends a call that gets no further reply.
func (k *call) fail(f fate, err error) {
	k.mu.Lock()
	k.fate, k.err = f, err
	k.mu.finished = true
	abandoned := k.mu.abandoned
	k.mu.Unlock()
	k.handBack(abandoned)
}

// handBack returns a finished call to its caller, unless that has given up.
func (k *call) handBack(abandoned bool) {
	if abandoned {
		k.free()
	} else {
		k.done <- struct{}{}
	}
}

// outcome returns the outcome of a finished call.
func (k *call) outcome() outcome {
	return outcome{fate: k.fate, answered: k.mu.answered, err: k.err}
}

// abandon gives the call to the connection for good and returns how many of its
// commands were answered. It fails if the outcome is final.
func (k *call) abandon() (answered int, ok bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.mu.finished {
		return 0, false
	}
	k.mu.abandoned = true
	return k.mu.answered, true
}

// take stores the content of a reply. The caller holds mu.
func (k *call) take(r *lineproto.Reply) error {
	if k.run != nil {
		return takeMutation(k.run[k.mu.answered], r)
	}
	switch {
	case k.txn != nil:
		return k.takeTxn(r)
	case r.Kind == lineproto.ReplyError:
		k.err = r.Err(k.command.Bucket, k.command.Key)
		return shutdown(k.err)
	case k.command.Verb == lineproto.VerbGet:
		return k.takeEntry(r)
	case k.command.Verb == lineproto.VerbInfo:
		return k.takeStatus(r)
	case r.Kind != lineproto.ReplyOK:
		return errWrongReply
	}
	k.number = r.Number
	return nil
}

// takeTxn stores a reply to a TXN.
func (k *call) takeTxn(r *lineproto.Reply) error {
	err := k.txn.take(r)
	if r.Kind != lineproto.ReplyError || k.mu.answered > 0 {
		return err
	}
	k.err = err
	return shutdown(err)
}

func (k *call) takeEntry(r *lineproto.Reply) error {
	if r.Kind != lineproto.ReplyEntry || r.Entry.Key != k.command.Key {
		return errWrongReply
	}
	start := len(k.dst)
	k.dst = append(k.dst, r.Entry.Value...)
	k.entry = r.Entry
	k.entry.Bucket, k.entry.Key = k.command.Bucket, k.command.Key
	k.entry.Value = k.dst[start:len(k.dst):len(k.dst)]
	return nil
}

func (k *call) takeStatus(r *lineproto.Reply) (err error) {
	if r.Kind != lineproto.ReplyInfo || r.Name != k.command.Bucket {
		return errWrongReply
	}
	k.status, err = r.Status()
	return err
}

// takeMutation stores the reply to one write of a Submit.
func takeMutation(m *kv.Mutation, r *lineproto.Reply) error {
	switch r.Kind {
	case lineproto.ReplyOK:
		m.Revision, m.Err = kv.Revision(r.Number), nil
	case lineproto.ReplyError:
		err := r.Err(m.Bucket, m.Key)
		m.Revision, m.Err = 0, kv.NameKey(m.Bucket, m.Key, err)
		return shutdown(err)
	default:
		return errWrongReply
	}
	return nil
}

// shutdown returns err if it says that the server or its store shuts down. That is not
// the outcome of one command: no unanswered command was or will be executed, so all of
// them can be sent on another connection.
func shutdown(err error) error {
	if errors.Is(err, lineproto.ErrShutdown) || errors.Is(err, kv.ErrClosed) {
		return err
	}
	return nil
}
