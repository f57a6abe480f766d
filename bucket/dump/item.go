package dump

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"time"
	"unicode/utf8"

	"kvd/kv"
	"kvd/wal"
)

// Item is a part of a file. It has one detail, by its kind, or none.
type Item struct {
	File    string  `json:"file"`
	Offset  int64   `json:"offset"` // bytes from the start of the file; -1: the file as a whole
	Size    int64   `json:"size"`   // bytes
	Kind    Kind    `json:"kind"`
	Sums    []Sum   `json:"sums,omitempty"`
	Verdict Verdict `json:"verdict,omitzero"`
	Text    string  `json:"text,omitempty"` // what is wrong, or a remark

	Header    *Header    `json:"header,omitempty"`
	Edit      *Edit      `json:"edit,omitempty"`
	Frame     *Frame     `json:"frame,omitempty"`
	Operation *Operation `json:"operation,omitempty"`
	Record    *Record    `json:"record,omitempty"`
	Page      *Page      `json:"page,omitempty"`
	Entry     *Entry     `json:"entry,omitempty"`
}

// Kind is the kind of an Item.
type Kind string

// The kinds.
const (
	KindFile      Kind = "file"      // the beginning of a file; what follows is in it
	KindHeader    Kind = "header"    // of a file
	KindEdit      Kind = "edit"      // a record of the manifest
	KindFrame     Kind = "frame"     // of the log; its operations and records follow
	KindOperation Kind = "operation" // of the log
	KindRecord    Kind = "record"    // of the log, or of a segment
	KindPage      Kind = "page"      // of an index block; its entries follow
	KindEntry     Kind = "entry"     // of an index page
	KindMark      Kind = "mark"      // the mark of the log
	KindValue     Kind = "value"     // of a value file
	KindFree      Kind = "free"      // zeros: room that was reserved
	KindUnknown   Kind = "unknown"   // bytes that nothing is valid in: damage, or what an earlier use left
	KindHole      Kind = "hole"      // frames or records that are missing
	KindNote      Kind = "note"      // a remark about the store
)

// Sum is a checksum.
type Sum struct {
	Of       string `json:"of"` // what it covers: "head", "body", "header", "payload", …
	Stored   Hex    `json:"stored"`
	Computed Hex    `json:"computed"`
}

// Matches reports whether the stored checksum is that of the bytes.
func (s Sum) Matches() bool { return s.Stored == s.Computed }

// Hex is a number that is written in hexadecimal, in JSON too.
type Hex uint64

// String returns 16 digits.
func (h Hex) String() string { return fmt.Sprintf("%016x", uint64(h)) }

// MarshalJSON implements json.Marshaler.
func (h Hex) MarshalJSON() ([]byte, error) { return json.Marshal(h.String()) }

// Verdict is what becomes of a record or a frame.
type Verdict struct {
	State State  `json:"state"`
	Rule  string `json:"rule,omitempty"` // why it is dead: floor, expired, cut, forgotten, marker expired or deleted
	By    string `json:"by,omitempty"`   // what decided that, a phrase
}

// State is the state of a record or a frame.
type State string

// The states.
const (
	StateLive     State = "live"     // a record that the store keeps
	StateDead     State = "dead"     // a record that a rule removed; its bytes are still there
	StateDamaged  State = "damaged"  // the store keeps it, and it cannot be read
	StateCovered  State = "covered"  // a frame, or a record of the log, that the segments have
	StateReplayed State = "replayed" // a frame that the next open replays
	StateIgnored  State = "ignored"  // it does not count: nothing names it
)

// Header is the header of a file.
type Header struct {
	Of       string `json:"of"` // manifest, log, segment, value or image
	Version  uint32 `json:"version,omitempty"`
	Features uint32 `json:"features,omitempty"`
	Store    string `json:"store"` // id, hexadecimal
	Seed     Hex    `json:"seed,omitempty"`
	Number   uint64 `json:"number,omitempty"` // of a segment, of a value file, or of this use of a log file
	Bucket   uint64 `json:"bucket,omitempty"` // id

	Generation uint64 `json:"generation,omitempty"` // of a manifest

	FileID   uint64  `json:"file_id,omitempty"` // of a log file; and the rest
	FileSize int64   `json:"file_size,omitempty"`
	Salt     Hex     `json:"salt,omitempty"`
	Previous uint64  `json:"previous,omitempty"`
	After    wal.LSN `json:"after,omitempty"`
	Words    *Words  `json:"words,omitempty"`

	Value uint32 `json:"value,omitempty"` // length of the value of a value file, bytes
}

// Words are the totals of the log before a frame.
type Words struct {
	Records    uint64 `json:"records"`
	Sum        Hex    `json:"sum"`
	Operations uint64 `json:"operations"`
	Before     Hex    `json:"before"`
	Recent     Hex    `json:"recent"`
}

func newWords(w wal.Words) *Words {
	return &Words{w.Records, Hex(w.Sum), w.Operations, Hex(w.Before), Hex(w.Recent)}
}

// Frame is a frame of the log.
type Frame struct {
	LSN     wal.LSN   `json:"lsn"`
	Synced  wal.LSN   `json:"synced"`
	Time    time.Time `json:"time"`
	Payload int       `json:"payload"` // bytes
	Words   *Words    `json:"words"`
}

// Operation is an operation of the log.
type Operation struct {
	LSN    wal.LSN `json:"lsn"`
	Name   string  `json:"name"`   // as package journal names it
	Bucket uint64  `json:"bucket"` // id
	Second bool    `json:"second,omitempty"`

	// What was decided, by the name of the operation.
	Created            int64           `json:"created,omitempty"` // Unix time in ns
	Life               uint64          `json:"life,omitempty"`
	UpTo               kv.Revision     `json:"up_to,omitempty"`
	MarkersUpTo        kv.Revision     `json:"markers_up_to,omitempty"`
	UnmarkedUpTo       kv.Revision     `json:"unmarked_up_to,omitempty"`
	MarkersExpiredUpTo int64           `json:"markers_expired_up_to,omitempty"` // Unix time in ns
	Keep               int             `json:"keep,omitempty"`
	Hidden             bool            `json:"hidden,omitempty"` // an import begins
	Last               kv.Revision     `json:"last,omitempty"`   // of the imported records
	Next               kv.Revision     `json:"next,omitempty"`   // of the first record behind the import
	Config             json.RawMessage `json:"config,omitempty"`
}

// Record is a record of the log or of a segment.
type Record struct {
	LSN        wal.LSN     `json:"lsn,omitempty"` // of the frame; 0: it is in a segment
	Bucket     uint64      `json:"bucket"`        // id
	Name       string      `json:"name,omitempty"`
	Key        string      `json:"key"`
	Revision   kv.Revision `json:"revision"`
	Operation  string      `json:"operation"`
	Reason     string      `json:"reason,omitempty"`
	Created    time.Time   `json:"created"`
	Deadline   *time.Time  `json:"deadline,omitempty"`
	Floor      kv.Revision `json:"floor"`
	First      bool        `json:"first,omitempty"`
	Lost       bool        `json:"lost,omitempty"`
	Compressed bool        `json:"compressed,omitempty"`
	Stored     uint32      `json:"stored"` // length of the value as stored, bytes
	Length     int         `json:"length"` // of the value, bytes
	Headers    int         `json:"headers,omitempty"`
	ValueFile  uint64      `json:"value_file,omitempty"` // number
	Unverified bool        `json:"unverified,omitempty"` // the store's seed is not known: no checksum was compared

	Value    *string `json:"value,omitempty"`    // as Options.Values asks for it
	Encoding string  `json:"encoding,omitempty"` // of Value: none, or base64
	Cut      bool    `json:"cut,omitempty"`      // Value is a prefix
}

// Page is an index page.
type Page struct {
	Block         int64  `json:"block"` // offset of the index block of the page
	Pages         int    `json:"pages"` // of that block
	Previous      int64  `json:"previous"`
	First         int64  `json:"first"` // offset of the first record that it names
	Records       uint64 `json:"records"`
	RecordsBefore uint64 `json:"records_before"`
	RecordsSum    Hex    `json:"records_sum"`
	SumBefore     Hex    `json:"sum_before"`
}

// Entry is an entry of an index page.
type Entry struct {
	Key       string      `json:"key"`
	Revision  kv.Revision `json:"revision"`
	Operation string      `json:"operation"`
	At        int64       `json:"at"`   // offset of the record
	Size      uint32      `json:"size"` // of the record, bytes
}

// setValue sets Value as far as values asks for it.
func (r *Record) setValue(v []byte, values Values) {
	if values == ValuesPrefix && len(v) > prefixMax {
		v, r.Cut = v[:prefixMax], true
		for n := range 3 { // not in the middle of a character
			if utf8.Valid(v[:len(v)-n]) {
				v = v[:len(v)-n]
				break
			}
		}
	}
	text := string(v)
	if !utf8.Valid(v) {
		text, r.Encoding = base64.StdEncoding.EncodeToString(v), "base64"
	}
	r.Value = &text
}

// prefixMax is how much of a value ValuesPrefix tells, bytes.
const prefixMax = 64

func timeOf(ns int64) time.Time { return time.Unix(0, ns).UTC() }
