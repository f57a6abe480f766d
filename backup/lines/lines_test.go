package lines_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"reflect"
	"strings"
	"testing"
	"time"

	"kvd/backup/lines"
	"kvd/bucket"
	"kvd/kv"
	"kvd/kv/records"
)

func memory(t testing.TB) *bucket.Store {
	t.Helper()
	s, err := bucket.OpenMemory(bucket.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func makeBucket(t testing.TB, s kv.Store, cfg kv.Config) kv.Bucket {
	t.Helper()
	b, err := s.CreateBucket(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func find(t testing.TB, s kv.Store, name string) kv.Bucket {
	t.Helper()
	b, err := s.Bucket(t.Context(), name)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func export(t testing.TB, b kv.Bucket, o lines.ExportOptions) []byte {
	t.Helper()
	var out bytes.Buffer
	if _, err := lines.Export(t.Context(), b, &out, o); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func restore(t testing.TB, s kv.BucketImporter, text []byte, o lines.RestoreOptions) error {
	t.Helper()
	r, err := lines.NewReader(bytes.NewReader(text))
	if err != nil {
		return err
	}
	_, err = lines.Restore(t.Context(), s, r, o)
	return err
}

func put(t testing.TB, s kv.Submitter, text string, o lines.PutOptions) (lines.PutReport, error) {
	t.Helper()
	r, err := lines.NewReader(strings.NewReader(text))
	if err != nil {
		return lines.PutReport{}, err
	}
	return lines.Put(t.Context(), s, r, o)
}

// holdsNothing checks that a store has no bucket.
func holdsNothing(t testing.TB, s kv.Store) {
	t.Helper()
	for name, err := range s.BucketNames(t.Context()) {
		t.Errorf("there is a bucket %q, %v", name, err)
	}
}

// The example of the documentation is what Export writes, and what Restore reads.
func TestTheExampleOfTheDocumentation(t *testing.T) {
	doc, err := os.ReadFile("doc.go")
	if err != nil {
		t.Fatal(err)
	}
	var example []byte
	for line := range strings.Lines(string(doc)) {
		if text, ok := strings.CutPrefix(line, "//\t"); ok && strings.HasPrefix(text, "{") {
			example = append(example, text...)
		}
	}
	s := memory(t)
	if err := restore(t, s, example, lines.RestoreOptions{}); err != nil {
		t.Fatal(err)
	}
	b := find(t, s, "my-kv")
	st, err := b.Status(t.Context())
	if err != nil || st.Revision != 3 || st.Config.History != 5 {
		t.Errorf("%+v, %v", st, err)
	}
	if revision, err := b.PutString(t.Context(), "k", "v"); err != nil || revision != 4 {
		t.Errorf("revision %d, %v", revision, err)
	}
	r, err := lines.NewReader(bytes.NewReader(example))
	if err != nil {
		t.Fatal(err)
	}
	var again bytes.Buffer
	w, err := lines.NewWriter(&again, *r.Head())
	if err != nil {
		t.Fatal(err)
	}
	for e, err := r.Next(); !errors.Is(err, io.EOF); e, err = r.Next() {
		if err = errors.Join(err, w.Write(&e)); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.End(); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(again.Bytes(), example) {
		t.Errorf("it is written again as\n%s\nand is\n%s", again.Bytes(), example)
	}
}

// history writes random records of every kind into a bucket.
func history(t testing.TB, s *bucket.Store, name string, random *rand.Rand, n int) {
	t.Helper()
	keys := []string{"a", "b.c", "ключ", `quotes"\<&>`, "a/b=c", strings.Repeat("long.", 200) + "key", "\u00a0-\u2028", "k7", "k8"}
	value := func() []byte {
		size := []int{0, 1, 17, 300, 70_000}[random.IntN(5)]
		if random.IntN(50) == 0 {
			size = 1 << 20
		}
		v := make([]byte, size)
		for i := range v {
			v[i] = byte(random.Uint32())
			if size%2 == 1 {
				v[i] = " abc\n\t\"\\\u007f"[int(v[i])%9]
			}
		}
		return v
	}
	for range n {
		m := kv.Mutation{Bucket: name, Op: kv.MutatePut, Key: keys[random.IntN(len(keys))], Value: value()}
		switch random.IntN(8) {
		case 0:
			m.Op, m.Value = kv.MutateDelete, nil
		case 1:
			m.Op, m.Value = kv.MutatePurge, nil
		case 2:
			m.Op, m.Value, m.TTL = kv.MutatePurge, nil, time.Hour
		case 3:
			m.TTL = time.Duration(1+random.IntN(1000)) * time.Hour
		case 4:
			m.Headers = value()[:0]
			for range random.IntN(100) {
				m.Headers = append(m.Headers, byte(random.Uint32()))
			}
		case 5:
			m.Rollup = true
		}
		list := []kv.Mutation{m}
		if err := s.Submit(t.Context(), list); err != nil || list[0].Err != nil {
			t.Fatal(err, list[0].Err)
		}
	}
}

// A bucket of an export is exported as the same lines, and has the same digest.
func TestABucketComesBack(t *testing.T) {
	seed := rand.Uint64()
	random := rand.New(rand.NewPCG(seed, 0))
	defer func() {
		if t.Failed() {
			t.Logf("seed %d", seed)
		}
	}()
	for round := range 12 {
		s := memory(t)
		cfg := kv.Config{
			Bucket: "b", History: 1 + random.IntN(5), Description: `a "text" <&>`, MaxBytes: 1 << 40, MaxValueSize: 2 << 20, MarkerTTL: time.Hour,
			Compression: round%2 == 0, Metadata: map[string]string{"one": "1", "two\n": "ключ"},
		}
		if round%3 == 0 {
			cfg.TTL, cfg.Sync, cfg.SyncInterval = 1000*time.Hour, kv.SyncInterval, time.Second
		}
		b := makeBucket(t, s, cfg)
		history(t, s, "b", random, random.IntN(200))
		for _, o := range []lines.ExportOptions{{History: true}, {}} {
			text := export(t, b, o)
			to := memory(t)
			if err := restore(t, to, text, lines.RestoreOptions{}); err != nil {
				t.Fatalf("round %d: %v", round, err)
			}
			copied := find(t, to, "b")
			if again := export(t, copied, o); !bytes.Equal(again, text) {
				t.Fatalf("round %d: %d bytes are exported again as %d bytes", round, len(text), len(again))
			}
			want, err := b.Status(t.Context())
			got, err2 := copied.Status(t.Context())
			if err != nil || err2 != nil || !got.Config.Equal(want.Config) || got.Revision > want.Revision {
				t.Fatalf("round %d: %+v, %v, want %+v, %v", round, got, err2, want, err)
			}
			if o.History && !reflect.DeepEqual(got.Digest, want.Digest) {
				t.Fatalf("round %d: digest %v, want %v", round, got.Digest, want.Digest)
			}
			last, err := b.PutString(t.Context(), "next", "v")
			if revision, err2 := copied.PutString(t.Context(), "next", "v"); err != nil || err2 != nil || revision != last {
				t.Fatalf("round %d: goes on with revision %d, %v, and should with %d, %v", round, revision, err2, last, err)
			}
		}
	}
}

// small returns an export of a few records.
func small(t testing.TB) []byte {
	t.Helper()
	s := memory(t)
	b := makeBucket(t, s, kv.Config{Bucket: "b", History: 3})
	for n := range 5 {
		if _, err := b.PutString(t.Context(), fmt.Sprint("k", n%3), fmt.Sprint("secret", n)); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := b.Delete(t.Context(), "k1"); err != nil {
		t.Fatal(err)
	}
	return export(t, b, lines.ExportOptions{History: true})
}

// An export that is cut at any byte, or of which any bit is flipped or any line missing, is refused.
// Nothing is left of it, and the error has no value.
func TestWhatIsNotWholeIsRefused(t *testing.T) {
	text := small(t)
	s := memory(t)
	refused := func(what string, text []byte) {
		t.Helper()
		err := restore(t, s, text, lines.RestoreOptions{})
		if err == nil {
			t.Errorf("%s is imported", what)
			_ = s.DeleteBucket(t.Context(), "b") // the next one needs the name
		} else if strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: the error has a value: %v", what, err)
		}
	}
	for n := range len(text) - 1 {
		refused(fmt.Sprintf("a prefix of %d bytes", n), text[:n])
	}
	for n := range 8 * (len(text) - 1) { // the last line feed may be another blank
		flipped := bytes.Clone(text)
		flipped[n/8] ^= 1 << (n % 8)
		if bytes.EqualFold(flipped, text) && n/8 > bytes.Index(text, []byte(`{"end":`)) {
			continue // a hexadecimal digit, or the name of a field
		}
		refused(fmt.Sprintf("bit %d of byte %d flipped, %q", n%8, n/8, flipped[n/8]), flipped)
	}
	all := bytes.SplitAfter(text, []byte("\n"))
	for n := range all[:len(all)-1] {
		refused(fmt.Sprintf("all but line %d", n+1), bytes.Join(append(append([][]byte{}, all[:n]...), all[n+1:]...), nil))
	}
	refused("more behind the end", append(bytes.Clone(text), all[1]...))
	holdsNothing(t, s)
	if err := restore(t, s, append(bytes.Clone(text), "\n \r\n"...), lines.RestoreOptions{}); err != nil {
		t.Error(err)
	}
}

func TestErrorsNameTheLine(t *testing.T) {
	const head = `{"kvd":1,"next":9,"history":true,"config":{"bucket":"b"}}` + "\n"
	const record = `{"key":"k","rev":1,"op":"put","created":"2026-01-01T00:00:00Z","value":"secret"}` + "\n"
	for text, want := range map[string]string{
		"":                              "line 0: the export is incomplete: it is empty",
		"\n\n":                          "line 2: the export is incomplete: it is empty",
		record:                          "line 1: invalid configuration: there is no head",
		`{"kvd":2}` + "\n":              "line 1: the head of the export: version 2 of the format, this program reads version 1",
		`{"kvd":1,"config":{}}` + "\n":  "line 1: the head of the export: invalid bucket name",
		`{"kvd":1,"colour":"secret"}`:   `line 1: the head of the export: json: unknown field "colour"`,
		head:                            "line 2: the export is incomplete: its last line is missing",
		head + record:                   "line 3: the export is incomplete: its last line is missing",
		head + "\n" + record + "secret": "line 4: the export is incomplete: it is cut off within a line: invalid record: ",
		head + "\n" + record + "{\n":    "line 4: invalid record: ",
		head + strings.Replace(record, "{", `{"bucket":"c",`, 1):                                          `line 2: invalid record: it is of bucket "c", not "b"`,
		head + strings.Replace(record, "put", "get", 1):                                                   "line 2: invalid record: ",
		head + record + `{"end":false,"records":1,"digest":"00000000000000000000000000000000"}` + "\n":    "line 3: end is not true",
		head + record + `{"end":true,"records":2,"digest":"00000000000000000000000000000000"}` + "\n":     "line 3: the export is incomplete: there are 1 records, and should be 2",
		head + record + `{"end":true,"records":1,"digest":"00000000000000000000000000000000"}` + "\n":     "line 3: the export is incomplete: the records have the digest ",
		head + record + `{"end":true,"records":1,"digest":"0"}` + "\n":                                    "line 3: invalid option: digest",
		head + `{"end":true,"records":0,"digest":"00000000000000000000000000000000"}` + "\n" + record:     "line 3: the export is incomplete: something follows its end",
		head + `{"end":true,"records":0,"digest":"00000000000000000000000000000000","sha256":"0"}` + "\n": "line 2: the export is incomplete: bytes of the lines before were changed",
		strings.Replace(head, `"b"`, `"b","storage":"tape"`, 1) + record:                                  `line 1: the head of the export: invalid configuration: storage cannot be "tape"`,
		strings.Replace(head, `"b"`, `"b","ttl":"soon"`, 1) + record:                                      "line 1: the head of the export: ",
	} {
		s := memory(t)
		err := restore(t, s, []byte(text), lines.RestoreOptions{})
		if err == nil || !strings.HasPrefix(err.Error(), want) || strings.Contains(err.Error(), "secret") {
			t.Errorf("%q: the error is %v, want %s", text, err, want)
		}
		holdsNothing(t, s)
	}
}

// A line that never ends is refused before it fills the memory.
func TestALineWithoutEnd(t *testing.T) {
	_, err := lines.NewReader(io.LimitReader(endless{}, records.LineMax+1<<20))
	var line *lines.LineError
	if !errors.As(err, &line) || line.Line != 1 {
		t.Error(err)
	}
}

type endless struct{}

func (endless) Read(p []byte) (int, error) {
	for n := range p {
		p[n] = 'a'
	}
	return len(p), nil
}

// An import under a name that is taken is refused at its end, and leaves the bucket alone.
func TestAnImportUnderAnotherName(t *testing.T) {
	text := small(t)
	s := memory(t)
	makeBucket(t, s, kv.Config{Bucket: "b"})
	if err := restore(t, s, text, lines.RestoreOptions{}); !errors.Is(err, kv.ErrBucketExists) {
		t.Error(err)
	}
	if err := restore(t, s, text, lines.RestoreOptions{Bucket: "c"}); err != nil {
		t.Error(err)
	}
	if e, err := find(t, s, "c").Get(t.Context(), "k2"); err != nil || string(e.Value) != "secret2" {
		t.Error(e, err)
	}
	if _, err := find(t, s, "b").Get(t.Context(), "k2"); !errors.Is(err, kv.ErrKeyNotFound) {
		t.Error(err)
	}
}

// While clients write, an export has the records of one moment, or fails.
func TestAnExportIsOfOneMoment(t *testing.T) {
	s := memory(t)
	b := makeBucket(t, s, kv.Config{Bucket: "b"})
	const keys = 3000
	write := func(revision int) error {
		_, err := b.PutString(t.Context(), fmt.Sprint("k", revision%keys), fmt.Sprint(revision))
		return err
	}
	for revision := 1; revision <= keys; revision++ {
		if err := write(revision); err != nil {
			t.Fatal(err)
		}
	}
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 2)
	go func() { // ends with ctx
		var err error
		for revision := keys + 1; err == nil && ctx.Err() == nil; revision++ {
			err = write(revision)
		}
		ended <- err
	}()
	go func() { // ends with ctx
		var err error
		for err == nil && ctx.Err() == nil {
			_, err = s.Reclaim(ctx, nil)
		}
		if errors.Is(err, context.Canceled) {
			err = nil
		}
		ended <- err
	}()
	whole, changed := 0, 0
	for whole+changed < 15 {
		var out bytes.Buffer
		switch _, err := lines.Export(t.Context(), b, &out, lines.ExportOptions{}); {
		case errors.Is(err, lines.ErrChanged):
			changed++
			continue
		case err != nil:
			t.Fatal(err)
		}
		whole++
		checkMoment(t, out.Bytes(), keys)
	}
	stop()
	if err := errors.Join(<-ended, <-ended); err != nil {
		t.Error(err)
	}
	t.Logf("%d exports, %d were refused", whole, changed)
}

// checkMoment checks that an export has the newest records of all keys up to its last: each key was
// written once in so many revisions.
func checkMoment(t *testing.T, text []byte, keys kv.Revision) {
	t.Helper()
	r, err := lines.NewReader(bytes.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	first, last := kv.Revision(0), kv.Revision(0)
	for {
		e, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil || string(e.Value) != fmt.Sprint(e.Revision) || last != 0 && e.Revision != last+1 {
			t.Fatalf("%v behind revision %d, %v", e, last, err)
		}
		if first == 0 {
			first = e.Revision
		}
		last = e.Revision
	}
	if last-first+1 != keys {
		t.Fatalf("revisions %d to %d of %d keys", first, last, keys)
	}
}

// A reader of anything ends, and what it reads whole is written again as it was read.
func FuzzReader(f *testing.F) {
	f.Add(small(f))
	f.Add([]byte("{\"key\":\"k\",\"op\":\"put\",\"value\":\"v\"}\n\n{}"))
	f.Fuzz(func(t *testing.T, text []byte) {
		r, err := lines.NewReader(bytes.NewReader(text))
		if err != nil {
			return
		}
		var list []kv.Entry
		for {
			var e kv.Entry
			if e, err = r.Next(); err != nil {
				break
			}
			list = append(list, e)
		}
		if !errors.Is(err, io.EOF) || r.Head() == nil {
			return
		}
		var again bytes.Buffer
		w, err := lines.NewWriter(&again, *r.Head())
		if err != nil {
			t.Fatal(err)
		}
		for n := range list {
			if err := w.Write(&list[n]); err != nil {
				return // larger than the rules allow
			}
		}
		if err := w.End(); err != nil {
			t.Fatal(err)
		}
		back, err := lines.NewReader(&again)
		if err != nil {
			t.Fatalf("the head comes back as %v", err)
		}
		for n := range list {
			e, err := back.Next()
			list[n].Bucket = ""
			if err != nil || !reflect.DeepEqual(e, list[n]) {
				t.Fatalf("%+v comes back as %+v, %v", list[n], e, err)
			}
		}
		if _, err := back.Next(); !errors.Is(err, io.EOF) || back.Digest() != r.Digest() {
			t.Fatal(err)
		}
	})
}
