// Package records is the text form of a record: a line of JSON. Exports and imports have
// records in it, and so has the command RECORDS of kvd's line protocol.
//
// # Format
//
// A line is a JSON object in UTF-8 and ends with a line feed. Blanks and a carriage return around
// the object do not count. It has these fields:
//
//	field      type    meaning
//	bucket     string  name of the bucket; left out where all lines are of one bucket
//	key        string
//	rev        number  revision, at least 1
//	op         string  put, del, purge or expire: a purge marker that expiry has written
//	created    string  time in RFC 3339 with up to nine digits of a fraction
//	deadline   string  likewise; left out if the record has none
//	value      string  of a put, if it is UTF-8
//	value64    string  in its place: the value in base64 (RFC 4648, with padding)
//	headers64  string  the headers in base64; left out if there are none
//
// A put has exactly one of value and value64, other operations have neither. The fields come in
// any order, each at most once. A writer uses value64 where that is shorter too, so a line has at
// most [LineMax] bytes. A field that a reader does not know is an error: what it says would be
// lost.
//
// # Example
//
//	{"key":"Key1","rev":1,"op":"put","created":"2026-11-22T18:00:00.123456789Z","value":"Value1"}
//	{"key":"Key1","rev":2,"op":"put","created":"2026-11-22T18:00:01Z","deadline":"2026-11-22T19:00:00Z","value64":"AP8="}
//	{"key":"Key1","rev":3,"op":"del","created":"2026-11-22T18:00:02Z"}
//	{"bucket":"my-kv","key":"Key2","rev":9,"op":"expire","created":"2026-11-22T18:00:03Z","deadline":"2026-11-22T18:15:03Z"}
package records
