// Package wire reads and writes the bytes of NATS' client protocol: the operations of a
// client, the headers of messages, subjects, and the output buffer of a connection.
// It knows nothing of streams and consumers.
//
// # Operations
//
// An operation is a line that ends in CRLF, or in LF. PUB and HPUB are followed by a
// payload and another CRLF. Names of operations may have any case; fields are separated
// by blanks or tabs.
//
//	client → server
//	CONNECT {json}                                     options and login
//	PING, PONG
//	SUB subject [queue] sid
//	UNSUB sid [max]                                    at once, or after max deliveries
//	PUB subject [reply] size\r\npayload
//	HPUB subject [reply] headers total\r\nheaders payload   sizes in bytes
//
//	server → client
//	INFO {json}
//	PING, PONG, +OK, -ERR 'text'
//	MSG subject sid [reply] size\r\npayload
//	HMSG subject sid [reply] headers total\r\nheaders payload
//
// A header block is "NATS/1.0", an optional status such as " 503", and CRLF; then lines
// of the form "Name: value", each with CRLF; then an empty line. Names are compared as
// they are written.
//
// # Limits
//
//	line       4,096 bytes
//	payload    the limit given to Parse, headers included
//	a size     nine digits
//
// # Subjects
//
// A subject consists of tokens with dots between them. In a pattern of subjects "*"
// stands for one token, and ">" at the end for one or more. A token such as "a*" is
// literal.
package wire
