package kvtest

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"iter"
	"maps"
	"runtime"
	"slices"
	"sync"
	"time"

	"kvd/kv"
)

// toy is a store in memory for this test only. It is as simple as possible: one lock, and
// a slice of records per key. Its field bug names its deliberate mistake; see
// bugs_test.go.
type toy struct {
	bug bug

	mu      sync.Mutex
	closed  bool
	lastID  uint64
	buckets map[string]*toyBucket
}

// toyBucket is one bucket and also every handle of it.
type toyBucket struct {
	store *toy

	// Guarded by the store's mu.
	gone      bool
	cfg       kv.Config
	id        uint64
	created   time.Time
	last      kv.Revision
	written   time.Time   // of last
	forgotten kv.Revision // the newest marker that PurgeDeletes has removed
	watches   []*toyWatch
	records   map[string][]kv.Entry // oldest first, never empty
}

func newToy(b bug) *toy { return &toy{bug: b, buckets: map[string]*toyBucket{}} }

func (s *toy) is(b bug) bool { return s.bug == b }

// enter takes the lock, unless the call has to fail at once.
func (s *toy) enter(ctx context.Context) error {
	if err := ctx.Err(); err != nil && !s.is(contextIgnored) {
		return err
	}
	s.mu.Lock()
	if s.closed && !s.is(closedStoreAnswers) {
		s.mu.Unlock()
		return kv.ErrClosed
	}
	return nil
}

func (s *toy) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	if !s.is(watchOutlivesStore) {
		for _, b := range s.buckets {
			b.finishLocked(kv.ErrClosed)
		}
	}
	return nil
}

// reopen returns a store with the same content, as after a restart.
func (s *toy) reopen() *toy {
	_ = s.Close()
	again := &toy{bug: s.bug, lastID: s.lastID, buckets: s.buckets}
	for _, b := range again.buckets {
		b.store = again
		if s.is(restartForgetsCounter) {
			b.last = 0
			for _, records := range b.records {
				b.last = max(b.last, records[len(records)-1].Revision)
			}
		}
	}
	return again
}

func (s *toy) CreateBucket(ctx context.Context, cfg kv.Config) (kv.Bucket, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	if err := s.enter(ctx); err != nil {
		return nil, err
	}
	defer s.mu.Unlock()
	if b := s.buckets[cfg.Bucket]; b != nil {
		if !b.cfg.Equal(cfg) && !s.is(createBucketIgnoresConfig) {
			return nil, kv.ErrBucketExists
		}
		return b, nil
	}
	return s.addLocked(cfg), nil
}

func (s *toy) addLocked(cfg kv.Config) *toyBucket {
	s.lastID++
	b := &toyBucket{store: s, cfg: cfg.WithDefaults(), id: s.lastID, created: time.Now(), records: map[string][]kv.Entry{}}
	s.buckets[cfg.Bucket] = b
	return b
}

func (s *toy) UpdateBucket(ctx context.Context, cfg kv.Config) (kv.Bucket, error) {
	return s.edit(ctx, cfg, false)
}

func (s *toy) CreateOrUpdateBucket(ctx context.Context, cfg kv.Config) (kv.Bucket, error) {
	return s.edit(ctx, cfg, true)
}

func (s *toy) edit(ctx context.Context, cfg kv.Config, create bool) (kv.Bucket, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	if err := s.enter(ctx); err != nil {
		return nil, err
	}
	defer s.mu.Unlock()
	b := s.buckets[cfg.Bucket]
	switch {
	case b == nil && create:
		return s.addLocked(cfg), nil
	case b == nil:
		return nil, kv.ErrBucketNotFound
	case b.cfg.Storage != cfg.Storage:
		return nil, kv.ErrInvalidConfig
	}
	b.cfg = cfg.WithDefaults()
	if !s.is(editSparesHistory) {
		for key := range b.records {
			b.trimLocked(key)
		}
	}
	return b, nil
}

func (s *toy) Bucket(ctx context.Context, name string) (kv.Bucket, error) {
	if err := kv.CheckBucketName(name); err != nil {
		return nil, err
	}
	if err := s.enter(ctx); err != nil {
		return nil, err
	}
	defer s.mu.Unlock()
	if b := s.buckets[name]; b != nil {
		return b, nil
	}
	return nil, kv.ErrBucketNotFound
}

func (s *toy) DeleteBucket(ctx context.Context, name string) error {
	if err := kv.CheckBucketName(name); err != nil {
		return err
	}
	if err := s.enter(ctx); err != nil {
		return err
	}
	defer s.mu.Unlock()
	b := s.buckets[name]
	if b == nil {
		return kv.ErrBucketNotFound
	}
	delete(s.buckets, name)
	b.gone = !s.is(handleOutlivesBucket)
	if !s.is(watchOutlivesBucket) {
		b.finishLocked(kv.ErrBucketNotFound)
	}
	if s.is(idUsedAgain) {
		s.lastID--
	}
	return nil
}

func (s *toy) BucketNames(ctx context.Context) iter.Seq2[string, error] {
	return func(yield func(string, error) bool) {
		for st, err := range s.Buckets(ctx) {
			if !yield(st.Config.Bucket, err) || err != nil {
				return
			}
		}
	}
}

func (s *toy) Buckets(ctx context.Context) iter.Seq2[kv.Status, error] {
	return func(yield func(kv.Status, error) bool) {
		if err := s.enter(ctx); err != nil {
			yield(kv.Status{}, err)
			return
		}
		var all []kv.Status
		for _, name := range slices.Sorted(maps.Keys(s.buckets)) {
			all = append(all, s.buckets[name].statusLocked())
		}
		s.mu.Unlock()
		if s.is(bucketsUnordered) {
			slices.Reverse(all)
		}
		for _, st := range all {
			if !yield(st, nil) {
				return
			}
		}
	}
}

func (s *toy) Submit(ctx context.Context, mutations []kv.Mutation) error {
	for i := range mutations {
		m := &mutations[i]
		b, err := s.Bucket(ctx, m.Bucket)
		if err == nil {
			m.Revision, err = b.(*toyBucket).write(ctx, *m)
		}
		if m.Err = err; err != nil && s.is(submitStopsAtError) {
			return nil
		}
	}
	return ctx.Err()
}

// enter checks the key and takes the store's lock.
func (b *toyBucket) enter(ctx context.Context, key string) error {
	if err := kv.CheckKey(key); err != nil && !(b.store.is(emptyTokensAllowed) && key == "a..b") {
		return err
	}
	if err := b.store.enter(ctx); err != nil {
		return err
	}
	if b.gone {
		b.store.mu.Unlock()
		return fmt.Errorf("%w: %q", kv.ErrBucketNotFound, b.cfg.Bucket)
	}
	b.expireLocked()
	return nil
}

func (b *toyBucket) Name() string { return b.cfg.Bucket }

// name adds the names of the bucket and the key to an error.
func (b *toyBucket) name(key string, err *error) {
	if !b.store.is(errorsNameless) {
		*err = kv.NameKey(b.cfg.Bucket, key, *err)
	}
}

func (b *toyBucket) Get(ctx context.Context, key string) (_ kv.Entry, err error) {
	defer b.name(key, &err)
	if err := b.enter(ctx, key); err != nil {
		return kv.Entry{}, err
	}
	defer b.store.mu.Unlock()
	e, found := b.newestLocked(key)
	if found && kv.IsStale(ctx) && b.store.is(staleReadsAreOld) {
		e = b.records[key][0]
	}
	if !found || e.Operation.IsMarker() || len(e.Value) == 0 && b.store.is(emptyMeansAbsent) {
		return kv.Entry{}, kv.ErrKeyNotFound
	}
	if !b.store.is(valueShared) {
		e.Value = bytes.Clone(e.Value)
	}
	return e, nil
}

func (b *toyBucket) GetAppend(ctx context.Context, dst []byte, key string) ([]byte, kv.Entry, error) {
	e, err := b.Get(ctx, key)
	if errors.Is(err, kv.ErrKeyNotFound) {
		err = kv.ErrKeyNotFound
	}
	if err != nil && b.store.is(appendLosesPrefix) {
		return nil, kv.Entry{}, err
	}
	if err != nil {
		return dst, kv.Entry{}, err
	}
	dst = append(dst, e.Value...)
	e.Value = dst[len(dst)-len(e.Value):]
	return dst, e, nil
}

func (b *toyBucket) GetRevision(ctx context.Context, key string, revision kv.Revision) (_ kv.Entry, err error) {
	defer b.name(key, &err)
	if err := b.enter(ctx, key); err != nil {
		return kv.Entry{}, err
	}
	defer b.store.mu.Unlock()
	records := b.records[key]
	if b.store.is(revisionOfAnyKey) {
		records = slices.Concat(slices.Collect(maps.Values(b.records))...)
	}
	for _, e := range records {
		if e.Revision == revision && !e.Operation.IsMarker() {
			e.Value = bytes.Clone(e.Value)
			return e, nil
		}
	}
	return kv.Entry{}, kv.ErrKeyNotFound
}

func (b *toyBucket) Put(ctx context.Context, key string, value []byte, opts ...kv.WriteOption) (kv.Revision, error) {
	return b.resolve(ctx, kv.Mutation{Op: kv.MutatePut, Key: key, Value: value}, opts)
}

func (b *toyBucket) PutString(ctx context.Context, key, value string, opts ...kv.WriteOption) (kv.Revision, error) {
	return b.Put(ctx, key, []byte(value), opts...)
}

func (b *toyBucket) Create(ctx context.Context, key string, value []byte, opts ...kv.WriteOption) (kv.Revision, error) {
	return b.resolve(ctx, kv.Mutation{Op: kv.MutateCreate, Key: key, Value: value}, opts)
}

func (b *toyBucket) Update(ctx context.Context, key string, value []byte, last kv.Revision, opts ...kv.WriteOption) (kv.Revision, error) {
	return b.resolve(ctx, kv.Mutation{Op: kv.MutateUpdate, Key: key, Value: value, Last: last}, opts)
}

func (b *toyBucket) Touch(ctx context.Context, key string, opts ...kv.WriteOption) (kv.Revision, error) {
	return b.resolve(ctx, kv.Mutation{Op: kv.MutateTouch, Key: key}, opts)
}

func (b *toyBucket) Delete(ctx context.Context, key string, opts ...kv.WriteOption) (kv.Revision, error) {
	return b.resolve(ctx, kv.Mutation{Op: kv.MutateDelete, Key: key}, opts)
}

func (b *toyBucket) Purge(ctx context.Context, key string, opts ...kv.WriteOption) (kv.Revision, error) {
	return b.resolve(ctx, kv.Mutation{Op: kv.MutatePurge, Key: key}, opts)
}

func (b *toyBucket) resolve(ctx context.Context, m kv.Mutation, opts []kv.WriteOption) (_ kv.Revision, err error) {
	defer b.name(m.Key, &err)
	o, err := kv.ResolveWrite(m.Op, opts)
	if err != nil && !b.store.is(optionsIgnored) {
		return 0, err
	}
	if o.IfLast {
		m.Last, m.IfLast = o.Last, true
	}
	m.TTL = o.TTL
	return b.write(ctx, m)
}

// write carries out one mutation.
func (b *toyBucket) write(ctx context.Context, m kv.Mutation) (_ kv.Revision, err error) {
	defer b.name(m.Key, &err)
	if m.Op < kv.MutatePut || m.Op > kv.MutateTouch {
		return 0, kv.ErrInvalidOption
	}
	if err := b.enter(ctx, m.Key); err != nil {
		return 0, err
	}
	defer b.store.mu.Unlock()
	if err := b.checkLocked(&m); err != nil && !(kv.IsStale(ctx) && b.store.is(staleConditions)) {
		return 0, err
	}
	if b.store.is(writeNotAtomic) {
		b.store.mu.Unlock()
		runtime.Gosched()
		b.store.mu.Lock()
	}
	return b.recordLocked(m)
}

// checkLocked checks the condition of m, and fills in the value of a touch.
func (b *toyBucket) checkLocked(m *kv.Mutation) error {
	newest, found := b.newestLocked(m.Key)
	hasValue := found && !newest.Operation.IsMarker()
	refusal := &kv.RevisionMismatchError{Bucket: b.cfg.Bucket, Key: m.Key, Want: m.Last, Got: newest.Revision}
	if b.store.is(refusalSwapsRevisions) {
		refusal.Want, refusal.Got = refusal.Got, refusal.Want
	}
	switch m.Op {
	case kv.MutateCreate:
		refusal.Create = true
		if hasValue || found && b.store.is(createSeesMarkers) {
			return refusal
		}
	case kv.MutateTouch:
		if !hasValue && !b.store.is(touchRevives) {
			return kv.ErrKeyNotFound
		}
		if m.Value = newest.Value; b.store.is(touchKeepsDeadline) && !newest.Deadline.IsZero() {
			m.TTL = time.Until(newest.Deadline)
		}
	default:
		if (m.Op == kv.MutateUpdate || m.IfLast) && newest.Revision != m.Last &&
			!(b.store.is(updateIgnoresMarkers) && !hasValue && m.Last == 0) {
			return refusal
		}
	}
	if m.IfNewest && m.Op == kv.MutateTouch {
		return kv.ErrInvalidOption
	}
	if m.IfNewest && m.Newest != b.last && !b.store.is(bucketConditionIgnored) {
		return &kv.RevisionMismatchError{Bucket: b.cfg.Bucket, Want: m.Newest, Got: b.last}
	}
	return b.checkSizeLocked(m)
}

func (b *toyBucket) checkSizeLocked(m *kv.Mutation) error {
	limit := b.cfg.MaxValueSize
	if b.store.is(sizeLimitOffByOne) {
		limit++
	}
	if int64(len(m.Value)) > limit {
		return &kv.LimitError{What: "value size", Got: int64(len(m.Value)), Max: b.cfg.MaxValueSize, Err: kv.ErrValueTooLarge}
	}
	marker := m.Op == kv.MutateDelete || m.Op == kv.MutatePurge
	if b.cfg.MaxBytes < 0 || marker && !b.store.is(deletesNeedRoom) {
		return nil
	}
	size := int64(b.bytesLocked()) + recordSize(m.Key, m.Value)
	if r := b.records[m.Key]; len(r) >= b.cfg.History {
		size -= recordSize(m.Key, r[0].Value)
	}
	if size > b.cfg.MaxBytes {
		return &kv.LimitError{What: "bucket size", Got: size, Max: b.cfg.MaxBytes, Err: kv.ErrBucketFull}
	}
	return nil
}

// recordLocked appends the record of m and trims the key's history.
func (b *toyBucket) recordLocked(m kv.Mutation) (kv.Revision, error) {
	e := kv.Entry{Bucket: b.cfg.Bucket, Key: m.Key, Created: time.Now(), Operation: kv.Put}
	if m.TTL != 0 {
		e.Deadline = e.Created.Add(m.TTL)
	}
	switch m.Op {
	case kv.MutateDelete, kv.MutatePurge:
		e.Operation, e.Reason = kv.Delete, kv.ReasonClient
		if b.records[m.Key] == nil && b.store.is(deleteOfNothingIsSilent) {
			return b.last, nil
		}
		if m.Op == kv.MutatePurge {
			e.Operation = kv.Purge
			if !b.store.is(purgeKeepsHistory) {
				b.records[m.Key] = nil
			}
		}
	default:
		if e.Value = m.Value; !b.store.is(bufferRetained) {
			e.Value = bytes.Clone(m.Value)
		}
	}
	if !(b.store.is(deleteTakesNoRevision) && e.Operation == kv.Delete && b.last > 0) {
		b.last++
	}
	if e.Revision = b.last; b.store.is(timesFall) {
		e.Created = time.Unix(1<<30-int64(b.last), 0)
	}
	b.appendLocked(e)
	return e.Revision, nil
}

func (b *toyBucket) appendLocked(e kv.Entry) {
	b.records[e.Key], b.written = append(b.records[e.Key], e), e.Created
	b.trimLocked(e.Key)
	for _, w := range b.watches {
		w.change(e)
	}
	if at, ends := b.endOf(e); ends {
		time.AfterFunc(time.Until(at), func() {
			b.store.mu.Lock()
			defer b.store.mu.Unlock()
			b.expireLocked()
		})
	}
}

// endOf returns the time at which a record expires.
func (b *toyBucket) endOf(e kv.Entry) (at time.Time, ends bool) {
	if at = e.Deadline; b.store.is(keyTTLIgnored) && !e.Operation.IsMarker() || b.store.is(purgeTTLIgnored) && e.Operation.IsMarker() {
		at = time.Time{}
	}
	if b.cfg.TTL != 0 && !e.Operation.IsMarker() && !b.store.is(bucketTTLIgnored) {
		if aged := e.Created.Add(b.cfg.TTL); at.IsZero() || aged.Before(at) {
			at = aged
		}
	}
	return at, !at.IsZero()
}

// expireLocked replaces expired values by markers, and removes expired markers.
func (b *toyBucket) expireLocked() {
	for _, key := range slices.Sorted(maps.Keys(b.records)) {
		newest, _ := b.newestLocked(key)
		at, ends := b.endOf(newest)
		switch {
		case !ends || time.Now().Before(at):
		case newest.Operation.IsMarker():
			delete(b.records, key)
		case b.store.is(expiryUncovers) && len(b.records[key]) > 1:
			b.records[key] = b.records[key][:len(b.records[key])-1]
		case b.store.is(expiryIsSilent):
			delete(b.records, key)
		default:
			b.last++
			delete(b.records, key)
			b.appendLocked(kv.Entry{
				Bucket: b.cfg.Bucket, Key: key, Created: time.Now(), Deadline: time.Now().Add(b.cfg.MarkerTTL),
				Revision: b.last, Operation: kv.Purge, Reason: kv.ReasonExpiry,
			})
		}
	}
}

func (b *toyBucket) newestLocked(key string) (kv.Entry, bool) {
	records := b.records[key]
	if len(records) == 0 {
		return kv.Entry{}, false
	}
	return records[len(records)-1], true
}

func (b *toyBucket) trimLocked(key string) {
	keep := b.cfg.History
	if b.store.is(historyOffByOne) {
		keep++
	}
	if r := b.records[key]; len(r) > keep {
		b.records[key] = slices.Clone(r[len(r)-keep:])
	}
}

func (b *toyBucket) History(ctx context.Context, key string) iter.Seq2[kv.Entry, error] {
	return func(yield func(kv.Entry, error) bool) {
		err := b.enter(ctx, key)
		if err != nil {
			b.name(key, &err)
			yield(kv.Entry{}, err)
			return
		}
		records := slices.Clone(b.records[key])
		b.store.mu.Unlock()
		if len(records) == 0 {
			err = kv.ErrKeyNotFound
			b.name(key, &err)
			yield(kv.Entry{}, err)
			return
		}
		for i, e := range records {
			e.Delta = uint64(len(records) - 1 - i)
			if b.store.is(deltaCountsUp) {
				e.Delta = uint64(i)
			}
			e.Value = bytes.Clone(e.Value)
			if !yield(e, nil) {
				return
			}
		}
	}
}

func (b *toyBucket) Keys(ctx context.Context, patterns ...string) iter.Seq2[string, error] {
	return func(yield func(string, error) bool) {
		keys, err := b.list(ctx, patterns)
		if err != nil {
			yield("", err)
			return
		}
		for _, key := range keys {
			if !yield(key, nil) {
				return
			}
		}
	}
}

func (b *toyBucket) All(ctx context.Context, patterns ...string) iter.Seq2[kv.Entry, error] {
	return func(yield func(kv.Entry, error) bool) {
		keys, err := b.list(ctx, patterns)
		if err != nil {
			yield(kv.Entry{}, err)
			return
		}
		b.store.mu.Lock()
		entries := make([]kv.Entry, len(keys))
		for i, key := range keys {
			if entries[i], _ = b.newestLocked(key); b.store.is(allIsStale) {
				entries[i] = b.records[key][0]
			}
			entries[i].Value = bytes.Clone(entries[i].Value)
		}
		b.store.mu.Unlock()
		for _, e := range entries {
			if b.store.is(allDrifts) {
				b.store.mu.Lock()
				e, _ = b.newestLocked(e.Key)
				b.store.mu.Unlock()
			}
			if !yield(e, nil) {
				return
			}
		}
	}
}

func (b *toyBucket) list(ctx context.Context, patterns []string) (keys []string, err error) {
	defer b.name("", &err)
	for _, p := range patterns {
		if err := kv.CheckPattern(p); err != nil {
			return nil, err
		}
	}
	if err := b.enter(ctx, "any.key"); err != nil {
		return nil, err
	}
	defer b.store.mu.Unlock()
	for i, key := range slices.Sorted(maps.Keys(b.records)) {
		if b.store.is(listingDrifts) {
			b.letWritersInLocked(kv.Revision(2 * i))
		}
		if e, _ := b.newestLocked(key); e.Operation.IsMarker() && !b.store.is(listingShowsMarkers) {
			continue
		}
		for n := b.selectedLocked(patterns, key); n > 0; n-- {
			keys = append(keys, key)
		}
	}
	if b.store.is(listingUnordered) {
		slices.Reverse(keys)
	}
	return keys, nil
}

// letWritersInLocked releases the lock until there are n more records, if there are
// writers. A listing waits for more records at each key than at the key before. If it
// were the same number, a writer that visits the keys in the listing's order could hide
// the bug: the listing would find its key exactly once.
func (b *toyBucket) letWritersInLocked(n kv.Revision) {
	until, deadline := b.last+n, time.Now().Add(5*time.Millisecond)
	for b.last < until && time.Now().Before(deadline) {
		b.store.mu.Unlock()
		runtime.Gosched()
		b.store.mu.Lock()
	}
}

// selectedLocked returns the number of times that the listing has key.
func (b *toyBucket) selectedLocked(patterns []string, key string) (n int) {
	if b.store.is(listingRepeatsKeys) {
		for _, p := range patterns {
			if kv.Match(p, key) {
				n++
			}
		}
		return n + max(0, 1-len(patterns))
	}
	if kv.MatchAny(patterns, key) {
		n = 1
	}
	return n
}

func (b *toyBucket) PurgeDeletes(ctx context.Context, olderThan time.Duration) error {
	if err := b.enter(ctx, "any.key"); err != nil {
		return err
	}
	defer b.store.mu.Unlock()
	olderThan = cmp.Or(olderThan, kv.DefaultMarkerAge)
	for key, records := range b.records {
		newest := records[len(records)-1]
		young := olderThan > 0 && time.Since(newest.Created) < olderThan
		switch {
		case !newest.Operation.IsMarker():
		case !young || b.store.is(youngMarkersDropped):
			delete(b.records, key)
			b.forgotten = max(b.forgotten, newest.Revision)
		case !b.store.is(youngMarkersKeepHistory):
			b.records[key] = []kv.Entry{newest}
		}
	}
	return nil
}

func (b *toyBucket) Doubt(ctx context.Context) (d kv.Doubt, err error) {
	if err := b.enter(ctx, "any.key"); err != nil {
		return d, err
	}
	defer b.store.mu.Unlock()
	if b.store.is(soundBucketInDoubt) {
		d.Bound = b.last
	}
	return d, nil
}

func (b *toyBucket) AcceptLoss(ctx context.Context) (kv.Doubt, error) {
	if b.store.is(doubtOutlivesBucket) {
		return kv.Doubt{}, nil
	}
	return b.Doubt(ctx)
}

func (b *toyBucket) Status(ctx context.Context) (kv.Status, error) {
	if err := b.enter(ctx, "any.key"); err != nil {
		return kv.Status{}, err
	}
	defer b.store.mu.Unlock()
	return b.statusLocked(), nil
}

func (b *toyBucket) statusLocked() kv.Status {
	st := kv.Status{
		Config: b.cfg.WithDefaults(), ID: b.id, Created: b.created, Bytes: b.bytesLocked(), Revision: b.last,
		Named: uint64(len(b.records)), Written: b.written,
	}
	for _, records := range b.records {
		st.Values += uint64(len(records))
		if !records[len(records)-1].Operation.IsMarker() || b.store.is(statusCountsMarkers) {
			st.Keys++
		}
	}
	return st
}

func (b *toyBucket) bytesLocked() (n uint64) {
	for key, records := range b.records {
		for _, e := range records {
			n += uint64(recordSize(key, e.Value))
		}
	}
	return n
}

// recordSize is the size of a record by which a bucket's size limit counts.
func recordSize(key string, value []byte) int64 { return int64(len(key) + len(value) + 64) }
