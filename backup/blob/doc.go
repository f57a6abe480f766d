// Package blob keeps objects: bytes under a name, written once and never changed. A [Store] is a place
// for them. There are two: a directory ([OpenDir]) and a bucket of an S3 service (package
// backup/blob/s3). Package blobtest has the test that both pass.
//
// # Names
//
// A name is one or more elements with slashes between them: "gen/0000000000000007/owner.json". An
// element has 1 to 128 letters, digits, ".", "_" and "-", and does not begin with a dot. A name has at
// most 512 bytes. So no name leads out of a directory, and every S3 service accepts it.
//
// # Why
//
// Objects are never overwritten. So two writers cannot destroy each other's work, and the loser learns
// of it: [ErrExists].
//
// An object is put in one call with all its bytes, and has at most [SizeMax]. So a call can be repeated
// as a whole, a half-written object does not exist, and a caller that has more bytes divides them
// anyway.
//
// A put of bytes that the object has already succeeds. A service may have done what a lost answer does
// not say: the repetition has to succeed then.
package blob
