package dump

import (
	"errors"
	"fmt"
	"io"
	"path"

	"kvd/bucket/manifest"
	"kvd/internal/vfs"
	"kvd/kv"
	"kvd/wal"
)

// File tells what one file of a store holds, without its store: a copy of a manifest, a file of
// the log, its mark, a segment or a value file, whatever its name. There are no verdicts. The
// records of a log file are not verified unless [Options].Seed is set. Other options are as for
// [Store], whose errors it returns.
func File(file string, opts Options, tell func(*Item) error) error {
	r, err := newReader(path.Dir(file), opts, tell)
	if err != nil {
		return err
	}
	kind, err := r.kindOf(file)
	if err == nil {
		err = kind(file)
	}
	if err != nil {
		return fmt.Errorf("dump file %s: %w", file, err)
	}
	return nil
}

// kindOf returns what tells a file: its magic number decides, and otherwise its name.
func (r *reader) kindOf(file string) (tell func(string) error, err error) {
	f, err := r.fs.Open(file, vfs.ReadOnly)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	var magic [8]byte
	if _, err := f.ReadAt(magic[:], 0); err != nil && !errors.Is(err, io.EOF) {
		magic = [8]byte{} // a page that cannot be read: the name decides
	}
	switch string(magic[:]) {
	case "kvdMANIF":
		return r.tellManifest, nil
	case "kvd.wal\n":
		return r.tellLogFile, nil
	case "kvd.syn\n":
		return r.tellMark, nil
	case "kvdSEGM\n":
		return r.tellSegment, nil
	case "kvdVALU\n":
		return r.tellValue, nil
	}
	switch base := path.Base(file); {
	case base == manifest.Names[0], base == manifest.Names[1]:
		return r.tellManifest, nil
	case base == wal.MarkFile:
		return r.tellMark, nil
	case path.Ext(base) == ".wal":
		return r.tellLogFile, nil
	case path.Ext(base) == ".seg":
		return r.tellSegment, nil
	case path.Ext(base) == ".val":
		return r.tellValue, nil
	}
	return nil, fmt.Errorf("%w: neither its first bytes nor its name are those of a manifest, log, segment or value file", kv.ErrNotStore)
}

// tellManifest tells one copy of a manifest.
func (r *reader) tellManifest(file string) error {
	var held []*Item
	in, err := manifest.Inspect(r.fs, file, func(rec *manifest.Record) error {
		held = append(held, r.editItem(file, rec))
		return nil
	})
	if err != nil {
		return r.unreadable(file, err)
	}
	if err := r.begin(file, "manifest"); err != nil {
		return err
	}
	h := in.Header
	head := Item{
		File: file, Size: manifest.HeaderSize, Kind: KindHeader, Sums: []Sum{{"header", Hex(h.Stored), Hex(h.Computed)}},
		Header: &Header{Of: "manifest", Version: h.Version, Features: h.Features, Store: storeText(h.StoreID), Seed: Hex(h.Seed), Generation: h.Generation},
		Text:   errorText(in.Err),
	}
	if err := r.tellPlain(&head); err != nil {
		return err
	}
	for _, item := range held {
		if r.opts.filtered() && (item.Edit == nil || len(item.Edit.Buckets) == 0) {
			continue
		}
		if err := r.tell(item); err != nil {
			return err
		}
	}
	return r.tellRest(file, in.End, in.Size, in.Zeros, "no valid record")
}

func (r *reader) editItem(file string, rec *manifest.Record) *Item {
	item := &Item{
		File: file, Offset: rec.Offset, Size: rec.Size, Kind: KindEdit, Sums: []Sum{{"record", Hex(rec.Stored), Hex(rec.Computed)}},
		Text: errorText(rec.Err),
	}
	if rec.Edit != nil {
		item.Edit = newEdit(rec.Edit, r.opts.wantsBucket)
	}
	if !rec.Counts {
		item.Verdict = Verdict{State: StateIgnored, By: "a part before it is damaged"}
		if rec.Err != nil {
			item.Verdict = Verdict{State: StateDamaged}
		}
	}
	return item
}

// tellRest tells the bytes at the end of a file in which nothing is valid.
func (r *reader) tellRest(file string, from, to int64, zeros bool, text string) error {
	if from >= to {
		return nil
	}
	item := Item{File: file, Offset: from, Size: to - from, Kind: KindUnknown, Text: text}
	if zeros {
		item.Kind, item.Text = KindFree, ""
	}
	return r.tellPlain(&item)
}

// tellMark tells the mark of the log.
func (r *reader) tellMark(file string) error {
	m, err := wal.InspectMark(r.fs, file)
	if err != nil {
		return r.unreadable(file, err)
	}
	if err := r.begin(file, "mark of the log"); err != nil {
		return err
	}
	item := Item{File: file, Size: wal.MarkSize, Kind: KindMark, Text: errorText(m.Err)}
	switch {
	case m.Err != nil:
		item.Verdict = Verdict{State: StateDamaged}
	case m.LSN == 0:
		item.Text = "nothing was synced yet"
	default:
		item.Text = fmt.Sprintf("frames up to LSN %d are durable", m.LSN)
		item.Header = &Header{Of: "mark", Store: storeText(m.StoreID), Words: newWords(m.Words)}
	}
	if m.Stored != 0 || m.Computed != 0 {
		item.Sums = []Sum{{"mark", Hex(m.Stored), Hex(m.Computed)}}
	}
	return r.tellPlain(&item)
}

func errorText(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

func storeText(id [16]byte) string { return fmt.Sprintf("%x", id) }
