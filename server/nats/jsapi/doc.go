// Package jsapi holds what all requests and answers of JetStream's API have in common:
// errors with nats-server's codes and texts, the JSON of bodies, and pages of lists.
//
// A request is a message to $JS.API.<operation>; its body is JSON or empty. The answer is
// JSON with a type, and then either the fields of the result or an error:
//
//	{"type":"io.nats.jetstream.api.v1.stream_info_response","error":{"code":404,"err_code":10059,"description":"stream not found"}}
//
// Clients act on err_code, which is nats-server's. A description that nats-server has too
// is the same to the letter. Requests that nats-server accepts and kvd does not are
// refused with descriptions of kvd's own, which say what to do instead.
package jsapi
