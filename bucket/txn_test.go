package bucket

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"reflect"
	"strconv"
	"sync"
	"testing"
	"time"

	"kvd/internal/vfs/simdisk"
	"kvd/kv"
)

func putOf(bucket, key, value string) kv.Mutation {
	return kv.Mutation{Bucket: bucket, Op: kv.MutatePut, Key: key, Value: []byte(value)}
}

func mustTxn(t testing.TB, s *Store, x *kv.Txn) kv.TxnResult {
	t.Helper()
	r, err := s.Txn(ctx, x)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// goTxn carries out a transaction in a goroutine of its own.
func goTxn(s *Store, x *kv.Txn) <-chan error {
	done := make(chan error, 1)
	go func() {
		_, err := s.Txn(ctx, x)
		done <- err
	}()
	return done
}

func TestATransactionIsOneFrame(t *testing.T) {
	h := newHarness(t)
	a := h.bucket("a", withHistory(5))
	h.bucket("b")
	mustPut(t, a, "k", "0")
	before := h.s.log.Last()
	x := kv.Txn{
		If:   []kv.Cond{{Bucket: "a", Key: "k", Is: kv.AtRevision, Revision: 1}, {Bucket: "b", Key: "new", Is: kv.Absent}},
		Then: kv.Branch{Writes: []kv.Mutation{putOf("a", "k", "1"), putOf("b", "k", "2"), putOf("a", "k", "3"), putOf("a", "l", "4")}, Reads: []kv.KeyRef{{Bucket: "a", Key: "k"}, {Bucket: "b", Key: "none"}, {Bucket: "b", Key: "k"}}},
		Else: kv.Branch{Writes: []kv.Mutation{putOf("a", "else", "x")}},
	}
	r := mustTxn(t, h.s, &x)
	if n := h.s.log.Last() - before; n != 1 {
		t.Errorf("%d frames", n)
	}
	var revisions []kv.Revision
	for _, m := range x.Then.Writes {
		revisions = append(revisions, m.Revision)
	}
	if want := []kv.Revision{2, 1, 3, 4}; !r.Then || !reflect.DeepEqual(revisions, want) || x.Else.Writes[0].Revision != 0 {
		t.Errorf("then %v, revisions %v, want %v", r.Then, revisions, want)
	}
	if want := map[string]kv.Revision{"a": 4, "b": 1}; !reflect.DeepEqual(r.At, want) {
		t.Errorf("at %v, want %v", r.At, want)
	}
	var read []string
	for _, e := range r.Entries {
		read = append(read, fmt.Sprintf("%s/%s=%s@%d", e.Bucket, e.Key, e.Value, e.Revision))
	}
	if want := []string{"a/k=3@3", "b/none=@0", "b/k=2@1"}; !reflect.DeepEqual(read, want) {
		t.Errorf("read %q, want %q", read, want)
	}
	wantShown(t, a, map[string][]kv.Revision{"k": {1, 2, 3}, "l": {4}})
	h.powerCut()
	h.open()
	wantShown(t, h.find("a"), map[string][]kv.Revision{"k": {1, 2, 3}, "l": {4}})
	wantShown(t, h.find("b"), map[string][]kv.Revision{"k": {1}})

	mustTxn(t, h.s, &x)
	mustGet(t, h.find("a"), "else", "x")
	if x.Then.Writes[0].Revision != 0 || x.Else.Writes[0].Revision != 5 {
		t.Errorf("revisions of the branch that was not carried out: %+v", x)
	}
}

func TestConditionsOfATransaction(t *testing.T) {
	clock := &testClock{now: time.Unix(1000, 0)}
	h := newHarness(t, func(o *Options) { o.env.Now = clock.Now })
	b := h.bucket("b")
	mustPut(t, b, "there", "v")                                          // 1
	h.submit(kv.Mutation{Bucket: "b", Op: kv.MutateDelete, Key: "gone"}) // 2
	if _, err := b.Put(ctx, "expired", []byte("v"), kv.KeyTTL(time.Second)); err != nil {
		t.Fatal(err) // 3
	}
	clock.advance(time.Second) // its very instant
	cond := func(key string, is kv.CondKind, revision kv.Revision, value string) kv.Cond {
		return kv.Cond{Bucket: "b", Key: key, Is: is, Revision: revision, Value: []byte(value)}
	}
	for _, c := range []struct {
		cond kv.Cond
		want bool
	}{
		{cond("there", kv.Exists, 0, ""), true},
		{cond("gone", kv.Exists, 0, ""), false},
		{cond("none", kv.Exists, 0, ""), false},
		{cond("expired", kv.Exists, 0, ""), false},
		{cond("there", kv.Absent, 0, ""), false},
		{cond("gone", kv.Absent, 0, ""), true},
		{cond("none", kv.Absent, 0, ""), true},
		{cond("expired", kv.Absent, 0, ""), true},
		{cond("there", kv.AtRevision, 1, ""), true},
		{cond("there", kv.AtRevision, 2, ""), false},
		{cond("gone", kv.AtRevision, 2, ""), true},
		{cond("none", kv.AtRevision, 0, ""), true},
		{cond("none", kv.AtRevision, 3, ""), false},
		{cond("expired", kv.AtRevision, 3, ""), false},
		{cond("expired", kv.AtRevision, 0, ""), false},
		{cond("there", kv.NotAtRevision, 1, ""), false},
		{cond("none", kv.NotAtRevision, 1, ""), true},
		{cond("none", kv.NotAtRevision, 0, ""), false},
		{cond("expired", kv.NotAtRevision, 3, ""), true},
		{cond("", kv.BucketAtRevision, 3, ""), true},
		{cond("", kv.BucketAtRevision, 2, ""), false},
		{cond("there", kv.ValueIs, 0, "v"), true},
		{cond("there", kv.ValueIs, 0, ""), false},
		{cond("gone", kv.ValueIs, 0, ""), false},
		{cond("expired", kv.ValueIs, 0, "v"), false},
		{cond("there", kv.ValueIsNot, 0, "w"), true},
		{cond("there", kv.ValueIsNot, 0, "v"), false},
		{cond("none", kv.ValueIsNot, 0, ""), true},
	} {
		if r := mustTxn(t, h.s, &kv.Txn{If: []kv.Cond{c.cond}}); r.Then != c.want {
			t.Errorf("%v %+v is %v", c.cond.Is, c.cond, r.Then)
		}
	}
	// All of several have to hold, and the ones of a bucket's id name one life of it.
	both := []kv.Cond{cond("there", kv.Exists, 0, ""), cond("there", kv.AtRevision, 9, "")}
	if r := mustTxn(t, h.s, &kv.Txn{If: both}); r.Then {
		t.Error("one condition of two is enough")
	}
	other := both[0]
	other.BucketID = b.ID() + 1
	_, err := h.s.Txn(ctx, &kv.Txn{If: []kv.Cond{other}})
	wantError(t, err, kv.ErrBucketNotFound)
	other.BucketID = b.ID()
	mustTxn(t, h.s, &kv.Txn{If: []kv.Cond{other}})
	// A write to the expired key writes its marker first, in the same transaction.
	x := kv.Txn{Then: kv.Branch{Writes: []kv.Mutation{{Bucket: "b", Op: kv.MutateCreate, Key: "expired"}}}}
	if mustTxn(t, h.s, &x); x.Then.Writes[0].Revision != 5 {
		t.Errorf("created at %d, want 5", x.Then.Writes[0].Revision)
	}
}

// A refused write takes everything of its transaction back: revisions, floors, the room it took, and
// what other mutations of the group find.
func TestARefusedTransactionLeavesItsGroupAsItWas(t *testing.T) {
	h := newHarness(t)
	a := h.bucket("a", withHistory(2), withMaxBytes(600))
	b := h.bucket("b", withHistory(2))
	for i := range 3 {
		mustPut(t, a, "k", strconv.Itoa(i))
		mustPut(t, b, "k", strconv.Itoa(i))
	}
	g, open := h.gateLog()
	defer open()
	first := goPut(ctx, b, "first", "v")
	<-g.reached
	queue := func(n int64, start func() <-chan error) <-chan error {
		done := start()
		h.waitQueued(n)
		return done
	}
	put := func(name, key string) func() <-chan error {
		return func() <-chan error {
			done := make(chan error, 1)
			go func() {
				_, err := h.find(name).PutString(ctx, key, "v")
				done <- err
			}()
			return done
		}
	}
	txn := func(writes ...kv.Mutation) func() <-chan error {
		return func() <-chan error { return goTxn(h.s, &kv.Txn{Then: kv.Branch{Writes: writes}}) }
	}
	done := []<-chan error{
		queue(1, put("a", "k")),
		queue(2, txn(putOf("b", "k", "x"), putOf("b", "new", "x"), putOf("a", "k", "x"), putOf("a", "k", string(make([]byte, 700))))),
		queue(3, put("b", "k")),
		queue(4, txn(putOf("b", "k", "y"), kv.Mutation{Bucket: "b", Op: kv.MutateUpdate, Key: "new", Last: 6}, putOf("a", "l", "y"))),
		queue(5, txn(putOf("a", "k", "z"), putOf("b", "new", "z"), putOf("b", "k", "z"))),
		queue(6, put("a", "l")),
	}
	open()
	if o := <-first; o.err != nil {
		t.Fatal(o.err)
	}
	for i, want := range []error{nil, kv.ErrBucketFull, nil, kv.ErrKeyRevisionMismatch, nil, nil} {
		err := <-done[i]
		if want == nil && err != nil || !errors.Is(err, want) {
			t.Errorf("request %d: %v, want %v", i, err, want)
		}
		var refused *kv.TxnError
		if want != nil && (!errors.As(err, &refused) || refused.Part != kv.ThenWrite || refused.Op != map[error]int{kv.ErrBucketFull: 3, kv.ErrKeyRevisionMismatch: 1}[want]) {
			t.Errorf("request %d: %+v", i, refused)
		}
	}
	check := func(when string) {
		t.Helper()
		a, b := h.find("a"), h.find("b")
		wantShown(t, a, map[string][]kv.Revision{"k": {4, 5}, "l": {6}})
		wantShown(t, b, map[string][]kv.Revision{"k": {5, 7}, "first": {4}, "new": {6}})
		for key, want := range map[string][][2]kv.Revision{"k": {{1, 1}, {2, 1}, {3, 2}, {5, 3}, {7, 5}}, "new": {{6, 6}}} {
			if got := recordFloors(t, b)[key]; !reflect.DeepEqual(got, want) {
				t.Errorf("%s: revisions and floors of %q: %v, want %v", when, key, got, want)
			}
		}
		mustGet(t, b, "k", "z")
	}
	check("afterwards")
	h.powerCut()
	h.open()
	check("after a power cut")
	if next := h.find("a").next; next != 7 {
		t.Errorf("the next revision of a is %d", next)
	}
}

// What a refused transaction took and freed of a bucket's room counts no more.
func TestARefusedTransactionGivesItsRoomBack(t *testing.T) {
	h := newHarness(t)
	a := h.bucket("a", withMaxBytes(1000))
	b := h.bucket("b")
	mustPut(t, a, "k", string(make([]byte, 700)))
	g, open := h.gateLog()
	defer open()
	first := goPut(ctx, b, "first", "v")
	<-g.reached
	small := goPut(ctx, a, "s", "")
	h.waitQueued(1)
	refused := goTxn(h.s, &kv.Txn{Then: kv.Branch{Writes: []kv.Mutation{putOf("a", "k", ""), {Bucket: "a", Op: kv.MutateCreate, Key: "k"}}}})
	h.waitQueued(2)
	large := make(chan error, 1)
	go func() {
		_, err := a.Put(ctx, "l", make([]byte, 700))
		large <- err
	}()
	h.waitQueued(3)
	open()
	<-first
	if o := <-small; o.err != nil {
		t.Error(o.err)
	}
	wantError(t, <-refused, kv.ErrKeyExists)
	wantError(t, <-large, kv.ErrBucketFull)
}

func TestTransactionsThatAreRefusedAtOnce(t *testing.T) {
	h := newHarness(t)
	h.bucket("b")
	h.bucket("m", func(c *kv.Config) { c.Storage = kv.MemoryStorage })
	many := func(n int) []kv.Mutation {
		writes := make([]kv.Mutation, n)
		for i := range writes {
			writes[i] = putOf("b", "k", "")
		}
		return writes
	}
	large := make([]byte, kv.MaxTxnSize/64)
	var sized []kv.Mutation
	for range 65 {
		sized = append(sized, kv.Mutation{Bucket: "b", Op: kv.MutatePut, Key: "k", Value: large})
	}
	touch := kv.Mutation{Bucket: "b", Op: kv.MutateTouch, Key: "k"}
	for name, c := range map[string]struct {
		txn  kv.Txn
		want error
	}{
		"too many writes":       {kv.Txn{Else: kv.Branch{Writes: many(kv.MaxTxnOps + 1)}}, kv.ErrTxnTooLarge},
		"too many reads":        {kv.Txn{Then: kv.Branch{Reads: make([]kv.KeyRef, kv.MaxTxnOps+1)}}, kv.ErrTxnTooLarge},
		"too many conditions":   {kv.Txn{If: make([]kv.Cond, kv.MaxTxnOps+1)}, kv.ErrTxnTooLarge},
		"too many bytes":        {kv.Txn{Then: kv.Branch{Writes: sized}}, kv.ErrTxnTooLarge},
		"no kind of condition":  {kv.Txn{If: []kv.Cond{{Bucket: "b", Key: "k"}}}, kv.ErrInvalidTxn},
		"a key of a bucket":     {kv.Txn{If: []kv.Cond{{Bucket: "b", Key: "k", Is: kv.BucketAtRevision}}}, kv.ErrInvalidTxn},
		"a touch":               {kv.Txn{Then: kv.Branch{Writes: []kv.Mutation{touch}}}, kv.ErrNotSupported},
		"memory and file":       {kv.Txn{Then: kv.Branch{Writes: []kv.Mutation{putOf("m", "k", ""), putOf("b", "k", "")}}}, kv.ErrInvalidTxn},
		"a bad key":             {kv.Txn{Then: kv.Branch{Writes: []kv.Mutation{putOf("b", "a b", "")}}}, kv.ErrInvalidKey},
		"a bad key of a read":   {kv.Txn{Then: kv.Branch{Reads: []kv.KeyRef{{Bucket: "b", Key: "a b"}}}}, kv.ErrInvalidKey},
		"a missing bucket":      {kv.Txn{Else: kv.Branch{Writes: []kv.Mutation{putOf("none", "k", "")}}}, kv.ErrBucketNotFound},
		"a condition elsewhere": {kv.Txn{If: []kv.Cond{{Bucket: "none", Key: "k", Is: kv.Exists}}}, kv.ErrBucketNotFound},
	} {
		for _, b := range []*kv.Branch{&c.txn.Then, &c.txn.Else} {
			for i := range b.Writes {
				b.Writes[i].Revision = 7 // of a transaction before
			}
		}
		_, err := h.s.Txn(ctx, &c.txn)
		if !errors.Is(err, c.want) {
			t.Errorf("%s: %v", name, err)
		}
		for _, m := range append(c.txn.Then.Writes, c.txn.Else.Writes...) {
			if m.Revision != 0 {
				t.Fatalf("%s: a write that was not done has revision %d", name, m.Revision)
			}
		}
	}
	mustTxn(t, h.s, &kv.Txn{Then: kv.Branch{Writes: many(kv.MaxTxnOps)}})
	mustTxn(t, h.s, &kv.Txn{Then: kv.Branch{Writes: []kv.Mutation{putOf("m", "k", "")}, Reads: []kv.KeyRef{{Bucket: "b", Key: "k"}}}})
	if r := mustTxn(t, h.s, new(kv.Txn)); !r.Then || len(r.At) != 0 {
		t.Errorf("an empty transaction is %+v", r)
	}
}

// A transaction that is larger than a frame usually is has a frame of its own.
func TestALargeTransaction(t *testing.T) {
	h := newHarness(t)
	h.bucket("b", withHistory(1), func(c *kv.Config) { c.MaxValueSize = kv.MaxValueSizeLimit })
	value := make([]byte, 500<<10)
	x := kv.Txn{Then: kv.Branch{Writes: []kv.Mutation{{Bucket: "b", Op: kv.MutatePut, Key: "file", Value: make([]byte, 1<<20)}}}}
	for i := range 40 {
		x.Then.Writes = append(x.Then.Writes, kv.Mutation{Bucket: "b", Op: kv.MutatePut, Key: strconv.Itoa(i), Value: value})
	}
	x.Else.Writes = []kv.Mutation{{Bucket: "b", Op: kv.MutatePut, Key: "other", Value: make([]byte, 1<<20)}}
	mustTxn(t, h.s, &x)
	h.powerCut()
	h.open()
	if keys := collect(t, h.find("b")); len(keys) != 41 {
		t.Errorf("%d keys", len(keys))
	}
	if e, err := h.find("b").Get(ctx, "file"); err != nil || !bytes.Equal(e.Value, make([]byte, 1<<20)) {
		t.Errorf("%d bytes, %v", len(e.Value), err)
	}
}

// A transaction that only reads what is durable waits for no sync; one that reads what the group
// writes does.
func TestReadsOfATransactionSeeDurableStateAlone(t *testing.T) {
	h := newHarness(t)
	a := h.bucket("a")
	h.bucket("b")
	mustPut(t, a, "k", "old")
	g, open := h.gateLog()
	defer open()
	first := goPut(ctx, h.find("b"), "first", "v")
	<-g.reached
	type answer struct {
		kv.TxnResult
		err error
	}
	read := func(n int64, keys ...kv.KeyRef) <-chan answer {
		done := make(chan answer, 1)
		go func() {
			r, err := h.s.Txn(ctx, &kv.Txn{Then: kv.Branch{Reads: keys}})
			done <- answer{r, err}
		}()
		h.waitQueued(n)
		return done
	}
	second := goPut(ctx, h.find("b"), "k", "new")
	h.waitQueued(1)
	early := read(2, kv.KeyRef{Bucket: "a", Key: "k"})
	late := read(3, kv.KeyRef{Bucket: "a", Key: "k"}, kv.KeyRef{Bucket: "b", Key: "k"})
	g.pass <- struct{}{}
	<-first
	<-g.reached
	if r := <-early; r.err != nil || string(r.Entries[0].Value) != "old" {
		t.Errorf("%+v", r)
	}
	if len(late) > 0 {
		t.Error("a read of what is not durable is answered")
	}
	open()
	<-second
	if r := <-late; r.err != nil || string(r.Entries[1].Value) != "new" || r.At["b"] != 2 {
		t.Errorf("%+v", r)
	}
}

// A reader that has seen a transaction in one bucket sees it in the other.
func TestTransactionsAreSeenWhole(t *testing.T) {
	const rounds, keys = 150, 40 // more than a slice of the index
	h := newHarness(t)
	h.bucket("a", withHistory(1))
	h.bucket("b", withHistory(1))
	number := func(bucket, key string) int {
		e, err := h.find(bucket).Get(ctx, key)
		if errors.Is(err, kv.ErrKeyNotFound) {
			return 0
		}
		n, _ := strconv.Atoi(string(e.Value))
		return n
	}
	stop := make(chan struct{})
	var readers sync.WaitGroup
	for i := range 4 {
		readers.Go(func() {
			random := rand.New(rand.NewPCG(1, uint64(i)))
			for {
				select {
				case <-stop:
					return
				default:
				}
				names := [2]string{"a", "b"}
				from := random.IntN(2)
				k, l := strconv.Itoa(random.IntN(keys)), strconv.Itoa(random.IntN(keys))
				first := number(names[from], k)
				if second := number(names[1-from], l); second < first {
					t.Errorf("%s/%s is %d, and afterwards %s/%s is %d", names[from], k, first, names[1-from], l, second)
				}
				if random.IntN(50) > 0 { // it waits for the commit path
					continue
				}
				r, err := h.s.Txn(ctx, &kv.Txn{Then: kv.Branch{Reads: []kv.KeyRef{{Bucket: "b", Key: k}, {Bucket: "a", Key: l}}}})
				if err != nil {
					t.Error(err)
					return
				}
				if x, y := string(r.Entries[0].Value), string(r.Entries[1].Value); x != y {
					t.Errorf("one transaction reads %q and %q", x, y)
				}
			}
		})
	}
	for n := 1; n <= rounds; n++ {
		var x kv.Txn
		for k := range keys {
			for _, bucket := range []string{"b", "a"} {
				x.Then.Writes = append(x.Then.Writes, putOf(bucket, strconv.Itoa(k), strconv.Itoa(n)))
			}
		}
		mustTxn(t, h.s, &x)
	}
	close(stop)
	readers.Wait()
}

// The power is cut before each call of a transaction of two buckets: all of it is there, or nothing.
func TestATransactionSurvivesACutAtEachOfItsCalls(t *testing.T) {
	for n, ended := int64(1), false; !ended; n++ {
		h := newHarness(t)
		h.bucket("a")
		h.bucket("b")
		mustPut(t, h.find("a"), "k", "old")
		mustPut(t, h.find("b"), "k", "old")
		stop := simdisk.StopAt(h.fs.Calls() + n)
		h.fs.Inject(stop)
		_, err := h.s.Txn(ctx, &kv.Txn{Then: kv.Branch{Writes: []kv.Mutation{putOf("a", "k", "new"), putOf("b", "k", "new"), putOf("a", "l", "new")}}})
		if err == nil {
			err = h.s.Checkpoint(ctx)
			if ended = err == nil; !ended {
				err = nil
			}
		}
		for _, cut := range []simdisk.Choice{simdisk.KeepNone(), simdisk.KeepAll()} {
			image := h.disk.Crash(cut)
			after := &harness{t: t, opts: h.opts}
			after.insert(image)
			after.open()
			got := [2]string{}
			for i, name := range []string{"a", "b"} {
				e, getErr := after.find(name).Get(ctx, "k")
				if getErr != nil {
					t.Fatal(getErr)
				}
				got[i] = string(e.Value)
			}
			_, third := after.find("a").Get(ctx, "l")
			if got[0] != got[1] || (third == nil) != (got[0] == "new") || err == nil && got[0] != "new" {
				t.Errorf("cut at call %d: a has %s, b has %s, %v; the transaction returned %v", n, got[0], got[1], third, err)
			}
			after.close()
		}
		h.close()
	}
}

// Values that conditions compare may be written meanwhile: then they are compared again.
func TestValuesOfConditionsThatChange(t *testing.T) {
	h := newHarness(t)
	b := h.bucket("b")
	mustPut(t, b, "n", "0")
	const each = 25
	var writers sync.WaitGroup
	for range 4 {
		writers.Go(func() {
			for done := 0; done < each; {
				e, err := b.Get(ctx, "n")
				if err != nil {
					t.Error(err)
					return
				}
				n, _ := strconv.Atoi(string(e.Value))
				x := kv.Txn{
					If:   []kv.Cond{{Bucket: "b", Key: "n", Is: kv.ValueIs, Value: e.Value}},
					Then: kv.Branch{Writes: []kv.Mutation{putOf("b", "n", strconv.Itoa(n+1))}},
				}
				switch r, err := h.s.Txn(ctx, &x); {
				case errors.Is(err, kv.ErrContended):
				case err != nil:
					t.Error(err)
					return
				case r.Then:
					done++
				}
			}
		})
	}
	writers.Wait()
	mustGet(t, b, "n", strconv.Itoa(4*each))
}

// A transaction whose condition was compared with a value that is not the newest any more is not
// decided by it.
func TestAValueIsComparedAtTheNewestRevision(t *testing.T) {
	h := newHarness(t)
	b := h.bucket("b")
	rev := mustPut(t, b, "k", "old")
	own := &transaction{}
	if err := own.addConditions(h.s, []kv.Cond{{Bucket: "b", Key: "k", Is: kv.ValueIs, Value: []byte("old")}}); err != nil {
		t.Fatal(err)
	}
	own.at = make([]kv.Revision, len(own.buckets))
	if err := own.compareValues(ctx); err != nil || own.conditions[0].seen != rev || !own.conditions[0].equal {
		t.Fatalf("%+v, %v", own.conditions[0], err)
	}
	mustPut(t, b, "k", "old")
	if err := h.s.carryOutTransaction(ctx, own); !errors.Is(err, errValueMoved) {
		t.Errorf("it was decided by an older value: %v", err)
	}
}
