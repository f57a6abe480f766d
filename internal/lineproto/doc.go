// Package lineproto turns the lines of kvd's line protocol into values and back:
// commands, replies, errors, configurations. It is shared by the server and the
// client, does no I/O and keeps no state. The protocol itself is specified in
// package kvd/server/line; this is its codec.
//
// # Parsing
//
// [ParseCommand] and [ParseReply] take whatever bytes have arrived and say one
// of three things: a whole command or reply and its size; [ErrIncomplete] and how
// many bytes it takes at least; or a *[SyntaxError], after which nothing that
// follows can be trusted. The answer for a prefix is never at odds with the
// answer for the whole: it is incomplete, or the same syntax error.
//
// What they return refers to the buffer. The strings of a [Command] or [Reply]
// are views that change when the buffer does: clone what outlives it. That is
// what lets a PUT or a GET pass without allocating.
//
// # Refused commands
//
// A line can parse and still ask for what cannot be: an option that its verb does
// not have, a TTL of nothing, a value over every limit. Where it ends is known,
// so the connection goes on. Such a command comes back whole, with [Command.Refused]
// set to the error to answer with.
//
// # Errors
//
// Every error that the contract in package kv names has one code ([CodeOf]), and
// every code one error. What the typed errors carry travels as name=value pairs
// beside the text, so that errors.Is and errors.As work on the far side as they do
// on the near one, and the text reads the same.
//
// # Why
//
// Strings instead of byte slices in [Command]: the contract takes strings, and a
// conversion per key is an allocation per command. The price is stated above.
//
// One parser for all verbs, driven by a table, instead of one for each: a PUT
// takes about as long either way, and the grammar of a verb is one line to read.
//
// One blank between two words and none elsewhere, one spelling of a number and
// one ending of a line: what a command means never depends on who reads it, and
// encoding what was parsed gives the same bytes.
package lineproto
