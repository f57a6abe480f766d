package manifest

import (
	"path"
	"slices"
	"strings"
	"testing"

	"kvd/kv"
)

// inspect returns the records that Inspect finds in the bytes of a copy.
func inspect(t *testing.T, b []byte) (records []Record, in Inspection, err error) {
	t.Helper()
	in, err = Inspect(writeCopies(t, b), path.Join(testDir, Names[0]), func(r *Record) error {
		records = append(records, *r)
		return nil
	})
	return records, in, err
}

// counted returns which of the records count.
func counted(records []Record) (counts []bool) {
	for _, r := range records {
		counts = append(counts, r.Counts && r.Edit != nil && r.Err == nil && r.Stored == r.Computed)
	}
	return counts
}

func TestInspectTellsEveryRecord(t *testing.T) {
	b, ends, _ := sampleManifest(4)
	records, in, err := inspect(t, append(slices.Clone(b), make([]byte, 100)...))
	if err != nil || in.Err != nil || in.Header.Identity != testIdentity || in.Header.Generation != 4 || !in.Zeros {
		t.Errorf("%+v, %v", in, err)
	}
	if got := counted(records); !slices.Equal(got, []bool{true, true, true}) || in.End != int64(ends[2]) {
		t.Errorf("records that count are %v, the last ends at %d", got, in.End)
	}
	if len(records) == 3 && (records[2].Offset != int64(ends[1]) || records[2].Edit.LogLow != 500) {
		t.Errorf("the third is %+v", records[2])
	}
}

// A damaged record hides none of those behind it, and none of them counts.
func TestInspectGoesOnBehindADamagedRecord(t *testing.T) {
	b, ends, _ := sampleManifest(4)
	for i := ends[0] + 8 + 8; i < ends[1] && !isPadding(b, ends, i); i++ {
		damaged := slices.Clone(b)
		damaged[i] ^= 4
		records, in, err := inspect(t, damaged)
		if err != nil || in.Err != nil {
			t.Fatal(in.Err, err)
		}
		if got := counted(records); !slices.Equal(got, []bool{true, false, false}) {
			t.Fatalf("byte %d: records that count are %v", i, got)
		}
		if records[1].Err == nil || records[2].Err != nil || records[2].Edit.LogLow != 500 {
			t.Fatalf("byte %d: %+v", i, records[1:])
		}
	}
}

// The chain begins with the checksum that the header has, so a flipped bit elsewhere in the
// header hides no record.
func TestInspectGoesOnBehindADamagedHeader(t *testing.T) {
	b, _, _ := sampleManifest(4)
	b[20] ^= 1
	records, in, err := inspect(t, b)
	if err != nil {
		t.Fatal(err)
	}
	wantError(t, in.Err, kv.ErrCorrupt, Names[0])
	if got := counted(records); !slices.Equal(got, []bool{false, false, false}) || records[2].Edit.LogLow != 500 {
		t.Errorf("records that count are %v", got)
	}
}

func TestInspectOfAnythingElse(t *testing.T) {
	_, _, err := inspect(t, []byte(strings.Repeat("no manifest", 10)))
	wantError(t, err, kv.ErrCorrupt, "not a manifest")
	_, _, err = inspect(t, []byte{})
	wantError(t, err, kv.ErrCorrupt, "not a manifest")
	_, _, err = inspect(t, newerManifest())
	wantError(t, err, kv.ErrVersion)
	b, ends, _ := sampleManifest(4)
	for n := range len(b) {
		records, in, err := inspect(t, b[:n])
		if n < headerSize {
			wantError(t, err, kv.ErrCorrupt)
			continue
		}
		if err != nil || in.End > int64(n) || len(records) > len(ends) {
			t.Fatalf("cut at %d: %d records, the last ends at %d, %v", n, len(records), in.End, err)
		}
	}
}
