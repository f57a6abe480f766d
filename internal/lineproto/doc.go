// Package lineproto is the codec of kvd's line protocol: commands, replies, errors and
// configurations. The server and the client share it. It does no I/O and keeps no
// state. Package kvd/server/line specifies the protocol.
//
// # Parsing
//
// [ParseCommand] and [ParseReply] take the bytes that have arrived. They return a whole
// command or reply and its size; or [ErrIncomplete] and the least number of bytes that
// it needs; or a *[SyntaxError], after which the connection must be closed. The result
// for a prefix agrees with the result for the whole: it is incomplete, or the same
// syntax error.
//
// The strings of a [Command] or [Reply] refer to the buffer and change with it: clone
// those that must outlive it. So a PUT or a GET needs no allocation.
//
// # Refused commands
//
// A line can parse and still be invalid: with an option that its verb does not have, a
// TTL of zero, or a value over every limit. Its end is known, so the connection goes
// on. Such a command is returned whole, with the error for the reply in
// [Command.Refused].
//
// # Errors
//
// Every error of the contract in package kv has one code, and every code one
// error. The fields of typed errors are sent as name=value pairs beside the text, so
// that errors.Is, errors.As and the text are the same for the client as for the server.
//
// # Why
//
// [Command] has strings instead of byte slices: the contract takes strings, and a
// conversion of each key would be an allocation for each command. The price is that
// they refer to the buffer.
//
// One parser driven by a table serves all verbs: a PUT takes about as long as with a
// parser of its own, and the grammar of a verb is one line to read.
//
// There is one blank between two words and none elsewhere, one form of a number and one
// end of a line: so a command has one meaning for every reader, and encoding a parsed
// command gives the same bytes.
package lineproto
