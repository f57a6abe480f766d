package nats

import (
	"bytes"
	"context"
	"errors"
	"slices"

	"kvd/kv"
	"kvd/kv/msglog"
	"kvd/server"
	"kvd/server/nats/wire"
)

const (
	selectedMax     = 1024     // messages of a request for the last of each subject
	wildcardsMax    = 1024     // of such a request
	getBytesDefault = 64 << 20 // that a request without max_bytes may have
	getCost         = 1 << 10  // bytes that a request costs while it waits, beside its body
	filterCost      = 96       // bytes that one of its subjects costs, beside the text
)

// batchGet is a direct get of many messages. It is a cursor: its messages are read when the
// connection that they go to can take them. getQueue calls its methods, except for
// directGetMany.
type batchGet struct {
	// Immutable.
	asker    *conn // which may be another connection than the one that the answers go to
	stream   *stream
	ask      *getRequest
	reply    []byte
	subjects []string // patterns of what the user must be permitted to read, see streamconfig.Layout.SubjectPattern
	pattern  string   // of keys, unless the request has multi_last; empty if it selects none

	cost     int64           // that the account of the connection was charged; 0 for a get that is not in a queue
	targets  []*subscription // to the reply subject
	source   getSource       // nil before the first message is looked for
	upTo     kv.Revision     // the messages are of the stream as it was at that revision
	pending  uint64          // messages that follow those that were sent
	last     kv.Revision     // of the message sent last
	messages int             // that were sent
	bytes    int             // of those
	ended    bool            // enough were sent
	read     []byte          // messages for the pump's buffer; nil if there are none
	buf      []byte          // scratch: headers
	subject  []byte          // scratch
}

// directGetMany has a direct get of many messages answered. It reports false if that is not
// granted.
func (c *conn) directGetMany(o *wire.Operation, s *stream, ask *getRequest) bool {
	own := *s // the connection's is not for other goroutines
	g := &batchGet{asker: c, stream: &own, ask: ask, reply: bytes.Clone(o.Reply), targets: c.front.subscriptionsTo(c.user, o.Reply)}
	for _, filter := range ask.filters() {
		if pattern, ok := s.layout.SubjectPattern(filter); ok {
			g.subjects = append(g.subjects, pattern)
		}
	}
	switch {
	case len(ask.MultiLast) > 0:
	case len(g.subjects) > 0 && g.subjects[0] == ">":
		g.pattern = ">"
	default:
		if pattern, ok := s.layout.Pattern(ask.NextFor); ok {
			g.pattern = pattern
		}
	}
	if !g.isPermitted() {
		c.sendPublishViolation(o)
		return false
	}
	if len(g.targets) == 0 {
		return true
	}
	to := g.targets[0].conn
	if to == c && c.gets.first() == nil && c.beginGet(g) {
		return true
	}
	if cost := int64(getCost + 2*len(o.Payload) + filterCost*len(ask.MultiLast)); to.memory.charge(cost) {
		g.cost = cost
		to.gets.add(g)
	} else {
		g.end()
		c.answer(o.Reply, statusBusy, nil)
	}
	return true
}

// beginGet reads the first messages of a get. If that is all, it appends them to the output.
// Otherwise the pump writes them, so that this goroutine does not wait for the client.
func (c *conn) beginGet(g *batchGet) (ended bool) {
	buf := wire.NewBuffer()
	c.InStore(func() { buf, ended = g.poll(buf) })
	if ended {
		g.end()
		c.out.AppendBuffer(buf)
	} else {
		g.read = buf
	}
	return ended
}

// isPermitted reports whether the user may read everything that the request can find.
func (g *batchGet) isPermitted() bool {
	for _, pattern := range g.subjects {
		if g.asker.PermitPattern(server.MayGet, g.stream.layout.Grants, pattern) != nil {
			return false
		}
	}
	return true
}

// isWanted reports whether the answers go to a subscription of the connection still.
func (g *batchGet) isWanted() bool {
	if !g.targets[0].closed.Load() {
		return true
	}
	to := g.targets[0].conn
	g.targets = g.asker.front.subscriptionsTo(g.asker.user, g.reply)
	at := slices.IndexFunc(g.targets, func(s *subscription) bool { return s.conn == to })
	if at < 0 {
		return false
	}
	g.targets[0], g.targets[at] = g.targets[at], g.targets[0] // the pump's is the first
	return true
}

// poll appends the next messages to dst, and reports whether that is all.
func (g *batchGet) poll(dst []byte) (out []byte, ended bool) {
	if !g.isWanted() || !g.isPermitted() { // its user may have other grants now
		return dst, true
	}
	if g.read != nil {
		dst, g.read = append(dst, g.read...), nil
		return dst, false
	}
	ctx := g.asker.ctx
	if g.source == nil {
		if err := g.open(ctx); err != nil {
			return g.status(dst, g.refusal(err)), true
		}
	}
	from := len(dst)
	more, err := g.source.read(ctx, func(e *kv.Entry) bool {
		if !g.ended {
			dst = g.message(dst, e)
		}
		return !g.ended && len(dst)-from < pollSize
	})
	switch {
	case err != nil:
		return g.status(dst, g.refusal(err)), true
	case more && !g.ended:
		return dst, false
	case !g.ended:
		g.pending = 0 // also if messages that were counted are gone
	}
	return g.status(dst, g.conclusion(ctx)), true
}

// open looks for the messages.
func (g *batchGet) open(ctx context.Context) (err error) {
	if len(g.ask.MultiLast) > 0 {
		return g.openLast(ctx)
	}
	s, ask := g.stream, g.ask
	from, err := ask.start(ctx, s)
	if err != nil {
		return err
	}
	from = max(from, 1)
	switch g.pattern {
	case "":
		return kv.ErrKeyNotFound
	case ">":
		g.source, g.pending, err = g.asker.front.readAll(ctx, s, from)
	default:
		g.source, g.pending, err = s.readMatching(ctx, g.pattern, from, ask.Batch)
	}
	if err == nil {
		g.upTo, g.ended = g.source.upTo(), ask.Batch < 0
	}
	return err
}

// openLast looks for the last message of each subject.
func (g *batchGet) openLast(ctx context.Context) error {
	s := g.stream
	if s.records == nil {
		return kv.ErrNotSupported
	}
	upTo, err := g.bound(ctx)
	if err != nil {
		return err
	}
	if len(g.subjects) == 0 {
		return errNoResults
	}
	if countWildcards(g.subjects) > wildcardsMax {
		return msglog.ErrTooMany
	}
	found, err := s.records.Select(ctx, msglog.Query{Patterns: g.subjects, UpTo: upTo, Max: selectedMax, Appended: s.layout.OnePerMessage})
	if err != nil {
		return err
	}
	if found.Len() == 0 {
		return errNoResults
	}
	found.Skip(kv.Revision(g.ask.Seq))
	g.source, g.pending, g.upTo = lastSource{found}, uint64(found.Len()), found.At()
	return nil
}

// bound returns the sequence up to which the last messages are looked for; 0 for the newest.
func (g *batchGet) bound(ctx context.Context) (upTo kv.Revision, err error) {
	s, ask := g.stream, g.ask
	if ask.UpToTime == nil {
		st, err := s.bucket.Status(ctx)
		if err == nil && kv.Revision(ask.UpToSeq) > st.Revision { // what it will select is not known yet
			err = errNoResults
		}
		return kv.Revision(ask.UpToSeq), err
	}
	next, err := s.sequenceAt(ctx, *ask.UpToTime)
	if err != nil {
		return 0, err
	}
	if first, _ := g.asker.front.first(ctx, s); next <= max(first.Revision, 1) {
		return 0, errNoResults
	}
	return next - 1, nil
}

func countWildcards(patterns []string) (n int) {
	for _, p := range patterns {
		if len(kv.LiteralPrefix(p)) < len(p) {
			n++
		}
	}
	return n
}

// errNoResults is the error of a request that selects no message.
var errNoResults = errors.New("no results")

// refusal returns the status for an error.
func (g *batchGet) refusal(err error) []byte {
	switch {
	case errors.Is(err, errNoResults):
		return statusNoResults
	case errors.Is(err, msglog.ErrTooMany):
		return statusTooMany
	}
	return statusOf(err)
}

// message appends the message of a record, and decides whether more are sent.
func (g *batchGet) message(dst []byte, e *kv.Entry) []byte {
	if g.pending > 0 {
		g.pending--
	}
	s := g.stream
	b := wire.AppendHeader(g.buf[:0], e, s.status.Config.MarkerTTL)
	stored := 0 // bytes of the message's own header
	if wire.HasHeader(e) {
		stored = len(b) + len(wire.HeaderEnd)
	}
	g.subject = s.layout.AppendSubject(g.subject[:0], e.Key)
	b = s.appendOrigin(b, e)
	b = wire.AppendNumberField(b, "Nats-Num-Pending", g.pending)
	b = wire.AppendNumberField(b, "Nats-Last-Sequence", uint64(g.last))
	g.buf = append(b, wire.HeaderEnd...)
	m := outgoing{subject: g.reply, header: g.buf, payload: e.Value}
	if g.ask.NoHeader && len(g.ask.MultiLast) == 0 {
		m.header = nil
	}
	dst = send(dst, g.targets, m)
	g.last = e.Revision
	g.messages++
	g.bytes += len(g.subject) + stored + len(e.Value)
	limit := g.ask.MaxBytes
	if limit == 0 {
		limit = getBytesDefault
	}
	g.ended = g.bytes >= limit || g.ask.Batch > 0 && g.messages >= g.ask.Batch
	return dst
}

// conclusion returns the status behind the messages.
func (g *batchGet) conclusion(ctx context.Context) []byte {
	multi := len(g.ask.MultiLast) > 0
	if !multi {
		if g.messages == 0 && !g.ended {
			return statusNotFound
		}
		g.recount(ctx)
	}
	b := append(g.buf[:0], "NATS/1.0 204 EOB\r\n"...)
	b = wire.AppendNumberField(b, "Nats-Num-Pending", g.pending)
	b = wire.AppendNumberField(b, "Nats-Last-Sequence", uint64(g.last))
	if multi {
		b = wire.AppendNumberField(b, "Nats-UpTo-Sequence", uint64(g.upTo))
	}
	g.buf = append(b, wire.HeaderEnd...)
	return g.buf
}

// recount counts the messages that follow again, if the stream has new ones.
func (g *batchGet) recount(ctx context.Context) {
	s := g.stream
	st, err := s.bucket.Status(ctx)
	if err != nil || st.Revision <= g.upTo {
		return
	}
	n, err := g.asker.front.countFrom(ctx, s, g.pattern, g.last+1)
	if err == nil {
		g.pending = n
	}
}

// status appends a status.
func (g *batchGet) status(dst, header []byte) []byte {
	return send(dst, g.targets, outgoing{subject: g.reply, header: header})
}

// end releases what the get has.
func (g *batchGet) end() {
	if g.source != nil {
		g.source.close()
	}
}
