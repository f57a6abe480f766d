// Package segment stores records in append-only files: the codec of records and
// index blocks, the active and sealed [Segment], and reads through a mapping.
package segment
