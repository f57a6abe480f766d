package nats

import (
	"errors"
	"maps"
	"slices"
	"time"

	"kvd/kv"
	"kvd/server"
)

const (
	namesLimit    = 1024    // of a page of names
	listLimit     = 256     // of a page of descriptions
	subjectsLimit = 100000  // of the subjects of one description
	deletedLimit  = 1 << 20 // of the sequences that are gone, in one description
)

// streamDescription is what INFO and LIST say of a stream.
type streamDescription struct {
	Config  *streamConfig `json:"config"`
	Created time.Time     `json:"created"`
	State   streamState   `json:"state"`
	Cluster *clusterInfo  `json:"cluster,omitempty"` // of INFO alone
	Time    time.Time     `json:"ts"`
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
func (c *conn) find(r *request, p server.Permission, what string) (*stream, *apiError) {
	name, ok := r.bucket()
	if !ok {
		return nil, errStreamNotFound
	}
	if err := c.may(p, what, name); err != nil {
		return nil, err
	}
	s, err := c.front.stream(c.ctx, name)
	if errors.Is(err, kv.ErrInvalidBucketName) {
		return nil, errStreamNotFound
	}
	if err != nil {
		return nil, refusal(err)
	}
	return s, nil
}

// streamInfo answers STREAM.INFO.
func (c *conn) streamInfo(r *request) (any, *apiError) {
	var ask struct {
		Subjects string `json:"subjects_filter"`
		Deleted  bool   `json:"deleted_details"`
		Offset   int    `json:"offset"`
	}
	if err := decodeBody(r.body, &ask); err != nil {
		return nil, err
	}
	s, failure := c.find(r, server.MayAny, "permission")
	if failure != nil {
		return nil, failure
	}
	var info struct {
		page
		streamDescription
	}
	info.streamDescription = c.front.describe(c, s)
	info.Cluster = &clusterInfo{Leader: c.front.id}
	if ask.Deleted && info.State.NumDeleted > 0 {
		if info.State.NumDeleted > deletedLimit {
			return nil, badRequest("%d sequences are gone: more than %d are not listed", info.State.NumDeleted, deletedLimit)
		}
		var err error
		if info.State.Deleted, err = c.deleted(s, &info.State); err != nil {
			return nil, refusal(err)
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
		return nil, refusal(err)
	}
	if len(subjects) == 0 {
		return info, nil
	}
	names, p := pageOf(slices.Sorted(maps.Keys(subjects)), ask.Offset, subjectsLimit)
	info.page = p
	info.State.Subjects = make(map[string]uint64, len(names))
	for _, name := range names {
		info.State.Subjects[name] = subjects[name]
	}
	return info, nil
}

// countSubjects returns how many messages each subject has that the filter selects.
func (c *conn) countSubjects(s *stream, filter string) (map[string]uint64, error) {
	counts := make(map[string]uint64)
	pattern, ok := keyPattern(filter, s.name)
	if !ok {
		return counts, nil
	}
	return counts, s.scan(c.ctx, pattern, 1, s.status.Revision, func(e *kv.Entry) bool {
		counts[string(appendKeySubject(nil, s.name, e.Key))]++
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
func (c *conn) streamCreate(r *request) (any, *apiError) {
	cfg, failure := parseStreamConfig(r.body, r.stream(), c.front.maxPayload)
	if failure != nil {
		return nil, failure
	}
	name, _ := r.bucket() // parseStreamConfig has seen it
	if err := c.may(server.MayAdmin, "admin", name); err != nil {
		return nil, err
	}
	s, err := c.front.stream(c.ctx, name)
	switch {
	case errors.Is(err, kv.ErrBucketNotFound):
		if _, err = c.front.store.CreateBucket(c.ctx, cfg.bucketConfig(c.front.maxPayload)); err != nil {
			return nil, refusal(err)
		}
		s, err = c.front.stream(c.ctx, name)
	case err == nil:
		if cfg.adopt(s); !s.config.equal(cfg) {
			return nil, errNameInUse
		}
	}
	if err != nil {
		return nil, refusal(err)
	}
	return streamAnswer{c.front.describe(c, s), true}, nil
}

// streamUpdate answers STREAM.UPDATE. What kvd has beside NATS' configuration stays.
func (c *conn) streamUpdate(r *request) (any, *apiError) {
	cfg, failure := parseStreamConfig(r.body, r.stream(), c.front.maxPayload)
	if failure != nil {
		return nil, failure
	}
	s, failure := c.find(r, server.MayAdmin, "admin")
	if failure != nil {
		return nil, failure
	}
	cfg.adopt(s)
	if failure := cfg.checkUpdate(s.config); failure != nil {
		return nil, failure
	}
	to := cfg.bucketConfig(c.front.maxPayload)
	to.Sync, to.SyncInterval = s.status.Config.Sync, s.status.Config.SyncInterval
	if _, err := c.front.store.UpdateBucket(c.ctx, to); err != nil {
		return nil, refusal(err)
	}
	s, err := c.front.stream(c.ctx, s.name)
	if err != nil {
		return nil, refusal(err)
	}
	return streamAnswer{c.front.describe(c, s), false}, nil
}

// success is the answer of a call that has nothing to say.
type success struct {
	Success bool    `json:"success"`
	Purged  *uint64 `json:"purged,omitempty"`
}

// streamDelete answers STREAM.DELETE. Its consumers end without a word.
func (c *conn) streamDelete(r *request) (any, *apiError) {
	s, failure := c.find(r, server.MayAdmin, "admin")
	if failure != nil {
		return nil, failure
	}
	if err := c.front.store.DeleteBucket(c.ctx, s.name); err != nil {
		return nil, refusal(err)
	}
	c.front.consumers.dropStream(s.name)
	c.front.ids.drop(s.name)
	c.front.configs.drop(s.name)
	c.front.firsts.drop(s.name)
	return success{Success: true}, nil
}

// streamPurge answers STREAM.PURGE.
func (c *conn) streamPurge(r *request) (any, *apiError) {
	var ask struct {
		Filter string `json:"filter"`
		Seq    uint64 `json:"seq"`
		Keep   uint64 `json:"keep"`
	}
	if err := decodeBody(r.body, &ask); err != nil {
		return nil, err
	}
	if ask.Seq > 0 && ask.Keep > 0 {
		return nil, errBadRequest
	}
	s, failure := c.find(r, server.MayAdmin, "admin")
	if failure != nil {
		return nil, failure
	}
	if s.config.DenyPurge {
		return nil, errNoPurge
	}
	pattern, ok := ">", true
	if ask.Filter != "" {
		pattern, ok = keyPattern(ask.Filter, s.name)
	}
	var purged uint64
	if ok {
		eraser, can := s.bucket.(kv.Eraser)
		if !can {
			return nil, invalidConfig("purging a stream is not supported by this store")
		}
		var err error
		if purged, err = eraser.Erase(c.ctx, pattern, kv.Revision(ask.Seq), ask.Keep); err != nil {
			return nil, refusal(err)
		}
	}
	return success{Success: true, Purged: &purged}, nil
}

// listRequest is the body of a request for a list.
type listRequest struct {
	Offset  int    `json:"offset"`
	Subject string `json:"subject"`
}

// streamNames answers STREAM.NAMES.
func (c *conn) streamNames(r *request) (any, *apiError) {
	var ask listRequest
	if err := decodeBody(r.body, &ask); err != nil {
		return nil, err
	}
	names := []string{}
	for bucket, err := range c.front.store.BucketNames(c.ctx) {
		if err != nil {
			return nil, refusal(err)
		}
		if c.lists(bucket, ask.Subject) {
			names = append(names, streamPrefix+bucket)
		}
	}
	var answer struct {
		page
		Streams []string `json:"streams"`
	}
	answer.Streams, answer.page = pageOf(names, ask.Offset, namesLimit)
	return answer, nil
}

// lists reports whether a list of the streams with such a subject has the bucket in
// it.
func (c *conn) lists(bucket, subject string) bool {
	return c.May(server.MayAny, bucket) && (subject == "" || overlap(subject, subjectsOf(bucket)))
}

// streamList answers STREAM.LIST. A bucket that is deleted meanwhile is left out.
func (c *conn) streamList(r *request) (any, *apiError) {
	var ask listRequest
	if err := decodeBody(r.body, &ask); err != nil {
		return nil, err
	}
	var names []string
	for bucket, err := range c.front.store.BucketNames(c.ctx) {
		if err != nil {
			return nil, refusal(err)
		}
		if c.lists(bucket, ask.Subject) {
			names = append(names, bucket)
		}
	}
	var answer struct {
		page
		Streams []streamDescription `json:"streams"`
	}
	answer.Streams = []streamDescription{}
	names, answer.page = pageOf(names, ask.Offset, listLimit)
	for _, name := range names {
		s, err := c.front.stream(c.ctx, name)
		if errors.Is(err, kv.ErrBucketNotFound) {
			continue
		}
		if err != nil {
			return nil, refusal(err)
		}
		answer.Streams = append(answer.Streams, c.front.describe(c, s))
	}
	return answer, nil
}
