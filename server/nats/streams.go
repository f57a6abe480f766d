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
	namesLimit    = 1024    // Of a page of names
	listLimit     = 256     // Of a page of descriptions
	subjectsLimit = 100000  // Of the subjects of one description
	deletedLimit  = 1 << 20 // Of the sequences that are gone, in one description
)

// streamDescription is what INFO and LIST say of a stream.
type streamDescription struct {
	Config  *streamconfig.Config `json:"config"`
	Created time.Time            `json:"created"`
	State   streamState          `json:"state"`
	Cluster *clusterInfo         `json:"cluster,omitempty"` // Of INFO alone
	Time    time.Time            `json:"ts"`
}

// clusterInfo names the only server there is.
type clusterInfo struct {
	Leader string `json:"leader"`
}

func (f *Front) describe(c *conn, s *stream) streamDescription {
	return streamDescription{Config: s.config, Created: s.status.Created, State: f.state(c.ctx, s), Time: now()}
}

// find returns the stream that a request names, if the user has any of the
// permissions in it.
func (c *conn) find(r *request, p server.Permission, what string) (*stream, *jsapi.Error) {
	name, ok := r.bucket()
	if !ok {
		return nil, jsapi.ErrStreamNotFound
	}
	if err := c.may(p, what, name); err != nil {
		return nil, err
	}
	s, err := c.front.stream(c.ctx, name)
	if errors.Is(err, kv.ErrInvalidBucketName) {
		return nil, jsapi.ErrStreamNotFound
	}
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
	if err := jsapi.DecodeBody(r.body, &ask); err != nil {
		return nil, err
	}
	s, failure := c.find(r, server.MayAny, "permission")
	if failure != nil {
		return nil, failure
	}
	var info struct {
		jsapi.Page
		streamDescription
	}
	info.streamDescription = c.front.describe(c, s)
	info.Cluster = &clusterInfo{Leader: c.front.id}
	if ask.Deleted && info.State.NumDeleted > 0 {
		if info.State.NumDeleted > deletedLimit {
			return nil, jsapi.BadRequest("%d sequences are gone: more than %d are not listed", info.State.NumDeleted, deletedLimit)
		}
		var err error
		if info.State.Deleted, err = c.deleted(s, &info.State); err != nil {
			return nil, jsapi.ErrorOf(err)
		}
	}
	if ask.Subjects == "" {
		return info, nil
	}
	if err := c.may(server.MayGet, "get", s.name); err != nil {
		return nil, err
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

// countSubjects returns how many messages each subject has that the filter selects.
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

// deleted returns the sequences between a stream's first and last that are gone.
func (c *conn) deleted(s *stream, state *streamState) ([]uint64, error) {
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

// streamAnswer is the answer to a create or an update.
type streamAnswer struct {
	streamDescription
	DidCreate bool `json:"did_create,omitempty"`
}

// streamCreate answers STREAM.CREATE. A stream that is there with the same
// configuration is success.
func (c *conn) streamCreate(r *request) (any, *jsapi.Error) {
	cfg, failure := streamconfig.Parse(r.body, r.stream(), c.front.maxPayload)
	if failure != nil {
		return nil, failure
	}
	name, _ := r.bucket() // Parse has seen it
	if err := c.may(server.MayAdmin, "admin", name); err != nil {
		return nil, err
	}
	defer c.front.plains.begin(cfg)()
	s, err := c.front.stream(c.ctx, name)
	switch {
	case errors.Is(err, kv.ErrBucketNotFound):
		if failure := c.front.overlaps(c.ctx, cfg, name); failure != nil {
			return nil, failure
		}
		if _, err = c.front.store.CreateBucket(c.ctx, cfg.BucketConfig(c.front.maxPayload)); err != nil {
			return nil, jsapi.ErrorOf(err)
		}
		c.front.plains.set(name, cfg.Subjects) // whatever comes next, it is there
		s, err = c.front.stream(c.ctx, name)
	case err == nil:
		cfg.AdoptDefaults(&s.status.Config, s.config)
	}
	if err != nil {
		return nil, jsapi.ErrorOf(err)
	}
	if !s.config.Equal(cfg) { // also where another made it meanwhile: to the store they may be the same
		return nil, jsapi.ErrNameInUse
	}
	c.front.plains.set(name, s.config.Subjects)
	return streamAnswer{c.front.describe(c, s), true}, nil
}

// streamUpdate answers STREAM.UPDATE. What kvd has beside NATS' configuration stays.
func (c *conn) streamUpdate(r *request) (any, *jsapi.Error) {
	cfg, failure := streamconfig.Parse(r.body, r.stream(), c.front.maxPayload)
	if failure != nil {
		return nil, failure
	}
	defer c.front.plains.begin(cfg)()
	s, failure := c.find(r, server.MayAdmin, "admin")
	if failure != nil {
		return nil, failure
	}
	cfg.AdoptDefaults(&s.status.Config, s.config)
	if failure := cfg.CheckUpdate(s.config); failure != nil {
		return nil, failure
	}
	if failure := c.front.overlaps(c.ctx, cfg, s.name); failure != nil {
		return nil, failure
	}
	to := cfg.BucketConfig(c.front.maxPayload)
	to.Sync, to.SyncInterval = s.status.Config.Sync, s.status.Config.SyncInterval
	streamconfig.ClearExtras(&to, &s.status.Config)
	if _, err := c.front.store.UpdateBucket(c.ctx, to); err != nil {
		return nil, jsapi.ErrorOf(err)
	}
	c.front.plains.set(s.name, cfg.Subjects)
	s, err := c.front.stream(c.ctx, s.name)
	if err == nil {
		err = s.trim(c.ctx)
	}
	if err != nil {
		return nil, jsapi.ErrorOf(err)
	}
	return streamAnswer{c.front.describe(c, s), false}, nil
}

// success is the answer of a call that has nothing to say.
type success struct {
	Success bool    `json:"success"`
	Purged  *uint64 `json:"purged,omitempty"`
}

// streamDelete answers STREAM.DELETE. Its consumers end without a word.
func (c *conn) streamDelete(r *request) (any, *jsapi.Error) {
	s, failure := c.find(r, server.MayAdmin, "admin")
	if failure != nil {
		return nil, failure
	}
	defer c.front.plains.begin(s.config)()
	if err := c.front.store.DeleteBucket(c.ctx, s.name); err != nil {
		return nil, jsapi.ErrorOf(err)
	}
	c.front.plains.drop(s.name)
	c.front.consumers.dropStream(s.name)
	c.front.ids.drop(s.name)
	c.front.configs.Remove(s.name)
	c.front.firsts.drop(s.name)
	c.front.counts.drop(s.name)
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
	s, failure := c.find(r, server.MayAdmin, "admin")
	if failure != nil {
		return nil, failure
	}
	if s.config.DenyPurge {
		return nil, jsapi.ErrNoPurge
	}
	purged, err := s.purge(c.ctx, ask.Filter, kv.Revision(ask.Seq), ask.Keep)
	if err != nil {
		return nil, jsapi.ErrorOf(err)
	}
	return success{Success: true, Purged: &purged}, nil
}

// purge drops the messages that a filter selects (empty: all), those below a sequence
// (0: all) but for the newest keep, and returns how many went.
func (s *stream) purge(ctx context.Context, filter string, below kv.Revision, keep uint64) (uint64, error) {
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

// listed is a stream in a list.
type listed struct{ stream, bucket string }

// list returns the streams that the user sees and that have a subject in common with
// the given one (empty: all), by name.
func (c *conn) list(subject string) (all []listed, failure *jsapi.Error) {
	for bucket, err := range c.front.store.BucketNames(c.ctx) {
		if err != nil {
			return nil, jsapi.ErrorOf(err)
		}
		stream, ok := streamconfig.StreamOf(bucket)
		if ok && c.May(server.MayAny, bucket) && (subject == "" || anyOverlap([]string{subject}, c.front.subjects(bucket))) {
			all = append(all, listed{stream, bucket})
		}
	}
	slices.SortFunc(all, func(a, b listed) int { return strings.Compare(a.stream, b.stream) })
	return all, nil
}

// streamNames answers STREAM.NAMES.
func (c *conn) streamNames(r *request) (any, *jsapi.Error) {
	var ask listRequest
	if err := jsapi.DecodeBody(r.body, &ask); err != nil {
		return nil, err
	}
	all, failure := c.list(ask.Subject)
	if failure != nil {
		return nil, failure
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

// streamList answers STREAM.LIST. A bucket that is deleted meanwhile is left out.
func (c *conn) streamList(r *request) (any, *jsapi.Error) {
	var ask listRequest
	if err := jsapi.DecodeBody(r.body, &ask); err != nil {
		return nil, err
	}
	all, failure := c.list(ask.Subject)
	if failure != nil {
		return nil, failure
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
