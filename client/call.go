package client

import (
	"errors"
	"sync"

	"kvd/internal/lineproto"
	"kvd/kv"
)

// call is one command on its way to the server and back, or the run of commands
// of a Submit. It belongs to its caller until it is gathered, to the connection
// until its outcome is in, and to the caller again. A caller that leaves early
// leaves it to the connection for good.
type call struct {
	pool *callPool
	done chan struct{} // capacity 1: the outcome is in

	// What is asked. Set by the caller.
	command lineproto.Command
	run     []*kv.Mutation // instead of command
	dst     []byte         // of a GET: what the value is appended to

	size int // bytes of the commands, as gathered

	// The outcome. Set by the connection, before done.
	fate   fate
	err    error
	number uint64    // of +OK
	entry  kv.Entry  // of +ENTRY
	status kv.Status // of +INFO

	mu struct { // guards the fields inside and, until done, the outcome and what run points to
		sync.Mutex
		answered  int  // commands whose reply has come
		finished  bool // the outcome is settled
		abandoned bool // the caller has left
	}
}

// fate says how far a call got.
type fate uint8

const (
	fateAnswered  fate = iota // the server answered every command
	fateUnsent                // the commands without an answer were not carried out
	fateLost                  // the connection broke before every answer had come
	fateAbandoned             // the caller left before every answer had come
)

// callPool keeps calls for the next ones. Every client has its own, because a
// channel made inside a synctest bubble must not be used outside.
type callPool struct{ sync.Pool }

// get returns a call with nothing in it but its verb.
func (p *callPool) get(v lineproto.Verb) *call {
	k, _ := p.Get().(*call)
	if k == nil {
		k = &call{pool: p, done: make(chan struct{}, 1)}
	}
	k.command.Verb = v
	return k
}

// free gives the call back. Nobody else may hold it.
func (k *call) free() {
	k.again()
	k.command, k.run, k.dst = lineproto.Command{}, nil, nil
	k.number, k.entry, k.status = 0, kv.Entry{}, kv.Status{}
	k.pool.Put(k)
}

// again readies the call to be sent once more.
func (k *call) again() {
	k.size, k.fate, k.err = 0, fateAnswered, nil
	k.mu.answered, k.mu.finished, k.mu.abandoned = 0, false, false
}

// appendCommands appends what the server shall read.
func (k *call) appendCommands(dst []byte) ([]byte, error) {
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

// deliver takes one reply and reports whether it was the last that the call waits
// for. An error means that the reply cannot be the one to this call.
func (k *call) deliver(r *lineproto.Reply) (complete bool, err error) {
	k.mu.Lock()
	if !k.mu.abandoned {
		if err = k.take(r); err != nil {
			k.mu.Unlock()
			return false, err
		}
	}
	k.mu.answered++
	complete = k.mu.answered >= max(1, len(k.run))
	k.mu.finished = complete
	abandoned := k.mu.abandoned
	k.mu.Unlock()
	if complete {
		k.settle(abandoned)
	}
	return complete, nil
}

// fail ends a call that gets no further answer.
func (k *call) fail(f fate, err error) {
	k.mu.Lock()
	k.fate, k.err = f, err
	k.mu.finished = true
	abandoned := k.mu.abandoned
	k.mu.Unlock()
	k.settle(abandoned)
}

// settle hands a finished call to its caller, if there still is one.
func (k *call) settle(abandoned bool) {
	if abandoned {
		k.free()
	} else {
		k.done <- struct{}{}
	}
}

// outcome returns how a call ended that is done.
func (k *call) outcome() outcome {
	return outcome{fate: k.fate, answered: k.mu.answered, err: k.err}
}

// abandon leaves the call to the connection and returns how many of its commands
// were answered. It fails if the outcome is settled.
func (k *call) abandon() (answered int, ok bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.mu.finished {
		return 0, false
	}
	k.mu.abandoned = true
	return k.mu.answered, true
}

// take keeps what a reply says. The caller holds mu.
func (k *call) take(r *lineproto.Reply) error {
	if k.run != nil {
		return takeMutation(k.run[k.mu.answered], r)
	}
	switch {
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

// takeMutation keeps the reply to one write of a Submit.
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

// shutdown returns err if it is the word of a server that goes down, or of its
// store. That is not the outcome of one command: none that is unanswered was or
// will be carried out, and another connection may be asked for them.
func shutdown(err error) error {
	if errors.Is(err, lineproto.ErrShutdown) || errors.Is(err, kv.ErrClosed) {
		return err
	}
	return nil
}
