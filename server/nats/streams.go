package nats

import (
	"context"
	"errors"
	"maps"
	"slices"
	"strings"
	"time"

	"kvd/kv"
	"kvd/server"
	"kvd/server/nats/jsapi"
	"kvd/server/nats/streamconfig"
)

const (
	namesLimit    = 1024    // names on a page
	listLimit     = 256     // descriptions on a page
	subjectsLimit = 100000  // subjects in a description
	deletedLimit  = 1 << 20 // deleted sequences in a description
)

// streamDescription describes a stream in answers of the API.
type streamDescription struct {
	Config  *streamconfig.Config `json:"config"`
	Created time.Time            `json:"created"`
	State   streamState          `json:"state"`
	Cluster *clusterInfo         `json:"cluster,omitempty"` // for INFO alone
	Time    time.Time            `json:"ts"`
}

// clusterInfo names the only server as the leader.
type clusterInfo struct {
	Leader string `json:"leader"`
}

// describe describes a stream.
func (f *Front) describe(c *conn, s *stream) streamDescription {
	return streamDescription{Config: s.config, Created: s.status.Created, State: f.state(c.ctx, s), Time: now()}
}

// findStream returns the stream that a request names, if the user has any of the
// permissions p in it, be it on some keys alone.
func (c *conn) findStream(r *request, p server.Permission) (*stream, *jsapi.Error) {
	grants, ok := r.grants()
	if !ok {
		return nil, jsapi.ErrStreamNotFound
	}
	if refused := denial(c.PermitAny(p, grants)); refused != nil {
		return nil, refused
	}
	s, err := c.front.streamNamed(c.ctx, r.stream())
	if err != nil {
		return nil, jsapi.ErrorOf(err)
	}
	return s, nil
}

// streamInfo answers STREAM.INFO.
func (c *conn) streamInfo(r *request) (any, *jsapi.Error) {
	var ask struct {
		Subjects string `json:"subjects_filter"`
		Deleted  bool   `json:"deleted_details"`
		Offset   int    `json:"offset"`
	}
	if err := jsapi.DecodeOptional(r.body, &ask); err != nil {
		return nil, err
	}
	s, refused := c.findStream(r, server.MayAny)
	if refused != nil {
		return nil, refused
	}
	var info struct {
		jsapi.Page
		streamDescription
	}
	info.streamDescription = c.front.describe(c, s)
	info.Cluster = &clusterInfo{Leader: c.front.id}
	if ask.Deleted && info.State.NumDeleted > 0 {
		if info.State.NumDeleted > deletedLimit {
			return nil, jsapi.UnsupportedRequest("%d deleted sequences: at most %d are listed", info.State.NumDeleted, deletedLimit)
		}
		var err error
		if info.State.Deleted, err = c.deletedSequences(s, &info.State); err != nil {
			return nil, jsapi.ErrorOf(err)
		}
	}
	if ask.Subjects == "" {
		return info, nil
	}
	if refused := c.permitFilter(server.MayGet, s, ask.Subjects); refused != nil {
		return nil, refused
	}
	subjects, err := c.countSubjects(s, ask.Subjects)
	if err != nil {
		return nil, jsapi.ErrorOf(err)
	}
	if len(subjects) == 0 {
		return info, nil
	}
	names, p := jsapi.PageOf(slices.Sorted(maps.Keys(subjects)), ask.Offset, subjectsLimit)
	info.Page = p
	info.State.Subjects = make(map[string]uint64, len(names))
	for _, name := range names {
		info.State.Subjects[name] = subjects[name]
	}
	return info, nil
}

// countSubjects returns the number of messages of each subject that matches the filter.
func (c *conn) countSubjects(s *stream, filter string) (map[string]uint64, error) {
	counts := make(map[string]uint64)
	pattern, ok := s.layout.Pattern(filter)
	if !ok {
		return counts, nil
	}
	return counts, s.scan(c.ctx, pattern, 1, s.status.Revision, func(e *kv.Entry) bool {
		counts[string(s.layout.AppendSubject(nil, e.Key))]++
		return true
	})
}

// deletedSequences returns the sequences without a message between a stream's first and
// last.
func (c *conn) deletedSequences(s *stream, state *streamState) ([]uint64, error) {
	var gone []uint64
	next := state.FirstSeq
	err := s.scan(c.ctx, ">", kv.Revision(next), s.status.Revision, func(e *kv.Entry) bool {
		for ; next < uint64(e.Revision); next++ {
			gone = append(gone, next)
		}
		next++
		return true
	})
	for ; next <= state.LastSeq; next++ {
		gone = append(gone, next)
	}
	return gone, err
}

// streamAnswer is the answer to STREAM.CREATE and STREAM.UPDATE.
type streamAnswer struct {
	streamDescription
	DidCreate bool `json:"did_create,omitempty"`
}

// streamCreate answers STREAM.CREATE. It succeeds if the stream exists with the same
// configuration.
func (c *conn) streamCreate(r *request) (any, *jsapi.Error) {
	cfg, refused := streamconfig.Parse(r.body, r.stream())
	if refused != nil {
		return nil, refused
	}
	if refused := cfg.CheckCreate(); refused != nil {
		return nil, refused
	}
	grants, _ := r.grants() // Parse has checked it
	if refused := c.permit(server.MayAdmin, grants); refused != nil {
		return nil, refused
	}
	defer c.front.messageStreams.lockChanges(cfg)()
	s, err := c.front.streamNamed(c.ctx, cfg.Name)
	switch {
	case errors.Is(err, kv.ErrBucketNotFound):
		if refused := cfg.CheckKind(nil, c.front.maxPayload); refused != nil {
			return nil, refused
		}
		if refused := c.checkCaptures(cfg); refused != nil {
			return nil, refused
		}
		if refused := c.checkRepublish(cfg); refused != nil {
			return nil, refused
		}
		_, err = c.front.store.CreateBucket(c.ctx, cfg.BucketConfig(c.front.maxPayload))
		c.Audit("bucket created", cfg.Bucket(), err)
		if err != nil {
			return nil, jsapi.ErrorOf(err)
		}
		c.front.messageStreams.set(cfg.Bucket(), cfg.Subjects) // before anything else can fail: it exists
		s, err = c.front.stream(c.ctx, cfg.Bucket())
	case err == nil && cfg.IsMessageStream() && !s.config.IsMessageStream():
		return nil, jsapi.ErrNameInUse
	case err == nil:
		if refused := cfg.CheckKind(s.config, c.front.maxPayload); refused != nil {
			return nil, refused
		}
		cfg.AdoptDefaults(&s.status.Config, s.config)
	}
	if err != nil {
		return nil, jsapi.ErrorOf(err)
	}
	if !s.config.Equal(cfg) { // perhaps another client made it meanwhile, with a configuration that the store finds equal
		return nil, jsapi.ErrNameInUse
	}
	c.front.messageStreams.set(s.name, s.config.Subjects)
	if err := c.front.republishers.set(c.ctx, s); err != nil {
		return nil, jsapi.ErrorOf(err)
	}
	return streamAnswer{c.front.describe(c, s), true}, nil
}

// streamUpdate answers STREAM.UPDATE. The fields of the bucket that a stream does not have
// stay as they are.
func (c *conn) streamUpdate(r *request) (any, *jsapi.Error) {
	cfg, refused := streamconfig.Parse(r.body, r.stream())
	if refused != nil {
		return nil, refused
	}
	defer c.front.messageStreams.lockChanges(cfg)()
	s, refused := c.findStream(r, server.MayAdmin)
	if refused != nil {
		return nil, refused
	}
	if refused := cfg.CheckKind(s.config, c.front.maxPayload); refused != nil {
		return nil, refused
	}
	cfg.AdoptDefaults(&s.status.Config, s.config)
	if refused := cfg.CheckUpdate(s.config); refused != nil {
		return nil, refused
	}
	cfg.Seal()
	if refused := c.checkCaptures(cfg); refused != nil {
		return nil, refused
	}
	if refused := c.checkRepublish(cfg); refused != nil {
		return nil, refused
	}
	to := cfg.BucketConfig(c.front.maxPayload)
	to.Sync, to.SyncInterval = s.status.Config.Sync, s.status.Config.SyncInterval
	streamconfig.ClearExtras(&to, &s.status.Config)
	_, err := c.front.store.UpdateBucket(c.ctx, to)
	c.Audit("bucket edited", s.name, err)
	if err != nil {
		return nil, jsapi.ErrorOf(err)
	}
	c.front.messageStreams.set(s.name, cfg.Subjects)
	s, err = c.front.stream(c.ctx, s.name)
	if err == nil {
		err = errors.Join(s.trim(c.ctx), c.front.republishers.set(c.ctx, s))
	}
	if err != nil {
		return nil, jsapi.ErrorOf(err)
	}
	return streamAnswer{c.front.describe(c, s), false}, nil
}

// success is the answer of an operation without a result.
type success struct {
	Success bool    `json:"success"`
	Purged  *uint64 `json:"purged,omitempty"`
}

// streamDelete answers STREAM.DELETE. Clients get no message for the consumers that are
// removed.
func (c *conn) streamDelete(r *request) (any, *jsapi.Error) {
	s, refused := c.findStream(r, server.MayAdmin)
	if refused != nil {
		return nil, refused
	}
	defer c.front.messageStreams.lockChanges(s.config)()
	err := c.front.store.DeleteBucket(c.ctx, s.name)
	c.Audit("bucket deleted", s.name, err)
	if err != nil {
		return nil, jsapi.ErrorOf(err)
	}
	c.front.messageStreams.remove(s.name)
	c.front.consumers.removeStream(s.name)
	c.front.msgIDs.remove(s.name)
	c.front.configs.Remove(s.name)
	c.front.firstRecords.remove(s.name)
	c.front.subjectCounts.remove(s.name)
	return success{Success: true}, nil
}

// streamPurge answers STREAM.PURGE.
func (c *conn) streamPurge(r *request) (any, *jsapi.Error) {
	var ask struct {
		Filter string `json:"filter"`
		Seq    uint64 `json:"seq"`
		Keep   uint64 `json:"keep"`
	}
	if err := jsapi.DecodeBody(r.body, &ask); err != nil {
		return nil, err
	}
	if ask.Seq > 0 && ask.Keep > 0 {
		return nil, jsapi.ErrBadRequest
	}
	s, refused := c.findStream(r, server.MayAdmin)
	if refused != nil {
		return nil, refused
	}
	switch {
	case s.config.Sealed:
		return nil, jsapi.ErrSealed
	case s.config.DenyPurge:
		return nil, jsapi.ErrNoPurge
	}
	purged, err := s.purge(c.ctx, ask.Filter, kv.Revision(ask.Seq), ask.Keep)
	c.front.consumers.purged(s.name)
	c.Audit("messages erased", s.name, err)
	if err != nil {
		return nil, jsapi.ErrorOf(err)
	}
	return success{Success: true, Purged: &purged}, nil
}

// purge erases the messages that match a filter (empty for all) and have a sequence below
// the given one (0 for all), except for the newest keep of them. It returns the number of
// erased messages.
func (s *stream) purge(ctx context.Context, filter string, below kv.Revision, keep uint64) (uint64, error) {
	if err := s.checkDoubt(ctx); err != nil { // the number would be wrong
		return 0, err
	}
	if filter == "" || filter == ">" {
		return s.erase(ctx, ">", below, keep)
	}
	pattern, ok := s.layout.Pattern(filter)
	if !ok {
		return 0, nil
	}
	return s.erase(ctx, pattern, below, keep)
}

// listRequest is the body of a request for a list.
type listRequest struct {
	Offset  int    `json:"offset"`
	Subject string `json:"subject"`
}

// listedStream is a stream of a list.
type listedStream struct{ stream, bucket string }

// listStreams returns the streams that the user may know of and whose subjects overlap with
// the given one (empty for all), by name.
func (c *conn) listStreams(subject string) (all []listedStream, refused *jsapi.Error) {
	for bucket, err := range c.front.store.BucketNames(c.ctx) {
		if err != nil {
			return nil, jsapi.ErrorOf(err)
		}
		stream, ok := c.visibleStream(bucket)
		if ok && (subject == "" || anyOverlap([]string{subject}, c.front.subjects(bucket))) {
			all = append(all, listedStream{stream, bucket})
		}
	}
	slices.SortFunc(all, func(a, b listedStream) int { return strings.Compare(a.stream, b.stream) })
	return all, nil
}

// streamNames answers STREAM.NAMES.
func (c *conn) streamNames(r *request) (any, *jsapi.Error) {
	var ask listRequest
	if err := jsapi.DecodeOptional(r.body, &ask); err != nil {
		return nil, err
	}
	all, refused := c.listStreams(ask.Subject)
	if refused != nil {
		return nil, refused
	}
	var answer struct {
		jsapi.Page
		Streams []string `json:"streams"`
	}
	answer.Streams = []string{}
	all, answer.Page = jsapi.PageOf(all, ask.Offset, namesLimit)
	for _, l := range all {
		answer.Streams = append(answer.Streams, l.stream)
	}
	return answer, nil
}

// streamList answers STREAM.LIST. Streams that are deleted meanwhile are left out.
func (c *conn) streamList(r *request) (any, *jsapi.Error) {
	var ask listRequest
	if err := jsapi.DecodeOptional(r.body, &ask); err != nil {
		return nil, err
	}
	all, refused := c.listStreams(ask.Subject)
	if refused != nil {
		return nil, refused
	}
	var answer struct {
		jsapi.Page
		Streams []streamDescription `json:"streams"`
	}
	answer.Streams = []streamDescription{}
	all, answer.Page = jsapi.PageOf(all, ask.Offset, listLimit)
	for _, l := range all {
		s, err := c.front.stream(c.ctx, l.bucket)
		if errors.Is(err, kv.ErrBucketNotFound) {
			continue
		}
		if err != nil {
			return nil, jsapi.ErrorOf(err)
		}
		answer.Streams = append(answer.Streams, c.front.describe(c, s))
	}
	return answer, nil
}
