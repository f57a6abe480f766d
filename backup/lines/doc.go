// Package lines exports a bucket as lines of JSON, and imports it. An export is for other
// programs, for people, and for buckets that move. Package backup copies whole stores.
//
// # Format
//
// An export is a file of lines of JSON in UTF-8. Each ends with a line feed. Its first line is
// the head, its last line the end, and between them each record has a line in the form of package
// kv/records, in the ascending order of revisions, without the field bucket. Lines of blanks do
// not count, except in line numbers. No line has more than records.LineMax bytes.
//
// The head begins with {"kvd": and has these fields:
//
//	field    type    meaning
//	kvd      number  version of the format: 1
//	next     number  a revision above those of all records; the first write after an import has it
//	history  bool    the records are all that the bucket kept; false: the newest of each key
//	config   object  the configuration
//
// The configuration has the fields of "kvd info --json". All but bucket may be left out, and then
// have their defaults. Durations are texts as package time writes them.
//
//	field            type
//	bucket           string
//	description      string
//	history          number
//	ttl              string
//	marker_ttl       string
//	max_value_size   number
//	max_bucket_size  number, -1: no limit
//	storage          string: file, memory
//	compression      bool
//	sync             string: always, interval
//	sync_interval    string
//	metadata         object of strings
//
// The end begins with {"end": and has these fields:
//
//	field    type    meaning
//	end      bool    true
//	records  number  how many lines are records
//	digest   string  the sum of the records by package kv/digest: 32 hexadecimal digits
//	sha256   string  SHA-256 of all bytes before this line, in hexadecimal; may be left out
//
// A file without its end was cut off. A reader refuses it, a file whose number, digest or SHA-256
// are not those of its lines, and one with anything but blanks behind its end. The digest does not
// cover values. A program that edits an export computes records and digest anew and leaves out sha256.
//
// Lines of records without head and end are no export, but can be read too: other programs can
// write them. They are put into a bucket ([Put]), where a record needs key, op and value alone.
//
// # Example
//
//	{"kvd":1,"next":4,"history":true,"config":{"bucket":"my-kv","history":5,"storage":"file","sync":"always"}}
//	{"key":"Key1","rev":1,"op":"put","created":"2026-11-22T18:00:00.123456789Z","value":"Value1"}
//	{"key":"Key1","rev":3,"op":"del","created":"2026-11-22T18:00:02Z"}
//	{"end":true,"records":2,"digest":"bf444be7b7122544d1785d8cc9437b8c","sha256":"4ac4a0068255df9e507fcbff0b62551bd1ad3a301ddf60bf4df141b65c3dec47"}
//
// # One moment
//
// [Export] reads the initial entries of a watch. They are the records at one moment, unless some
// were superseded and removed before they were read. Then the export fails with [ErrChanged], and
// can be tried again: it never has records of two moments. The initial entries of more than two million
// records are selected in several steps, and then each record that is superseded meanwhile counts. The
// way out is a backup by package backup, which holds on to what it copies.
package lines
