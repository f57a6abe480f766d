// Package wal is the write-ahead log of a store: frames of opaque bytes, numbered
// without gaps, in a few files of fixed size that are overwritten in turn.
package wal
