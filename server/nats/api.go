package nats

import (
	"bytes"
	"encoding/json"
	"strconv"
	"strings"
	"time"

	"kvd/server"
)

// responseType makes the type of an answer of its operation.
func responseType(op string) string { return "io.nats.jetstream.api.v1." + op + "_response" }

// request is a call of JetStream's API.
type request struct {
	tokens []string // of the subject after the operation's name
	body   []byte
}

// stream returns the name of the stream, the first token.
func (r *request) stream() string { return r.tokens[0] }

// bucket returns the name of the stream's bucket.
func (r *request) bucket() (string, bool) { return bucketOf(r.stream()) }

// call is an operation of the API.
type call struct {
	prefix string // of the subject after $JS.API.; a dot at its end asks for tokens
	tokens int    // how many; anyTokens: one or more
	op     string // of the answer's type
	do     func(*conn, *request) (any, *apiError)
}

const anyTokens = -1

// takes reports whether the call is of a subject, and returns its tokens.
func (k *call) takes(subject string) (tokens []string, ok bool) {
	rest, ok := strings.CutPrefix(subject, k.prefix)
	if !ok || k.tokens == 0 {
		return nil, ok && rest == ""
	}
	tokens = strings.Split(rest, ".")
	return tokens, rest != "" && (k.tokens == anyTokens || k.tokens == len(tokens))
}

// calls are the operations.
var calls []call

func init() { // not at the declaration: the functions refer to each other through it
	calls = []call{
		{"INFO", 0, "account_info", (*conn).accountInfo},
		{"STREAM.INFO.", 1, "stream_info", (*conn).streamInfo},
		{"STREAM.CREATE.", 1, "stream_create", (*conn).streamCreate},
		{"STREAM.UPDATE.", 1, "stream_update", (*conn).streamUpdate},
		{"STREAM.DELETE.", 1, "stream_delete", (*conn).streamDelete},
		{"STREAM.PURGE.", 1, "stream_purge", (*conn).streamPurge},
		{"STREAM.NAMES", 0, "stream_names", (*conn).streamNames},
		{"STREAM.LIST", 0, "stream_list", (*conn).streamList},
		{"STREAM.MSG.GET.", 1, "stream_msg_get", (*conn).messageGet},
		{"STREAM.MSG.DELETE.", 1, "stream_msg_delete", (*conn).messageDelete},
		{"STREAM.SNAPSHOT.", 1, "stream_snapshot", (*conn).noBackup},
		{"STREAM.RESTORE.", 1, "stream_restore", (*conn).noBackup},
		{"CONSUMER.CREATE.", anyTokens, "consumer_create", (*conn).consumerCreate},
		{"CONSUMER.DURABLE.CREATE.", 2, "consumer_create", (*conn).consumerCreate},
		{"CONSUMER.INFO.", 2, "consumer_info", (*conn).consumerInfo},
		{"CONSUMER.DELETE.", 2, "consumer_delete", (*conn).consumerDelete},
		{"CONSUMER.NAMES.", 1, "consumer_names", (*conn).consumerNames},
		{"CONSUMER.LIST.", 1, "consumer_list", (*conn).consumerList},
	}
}

// api answers a call, and reports whether there is one of that subject.
func (c *conn) api(o *op) bool {
	subject := string(o.subject[len(apiPrefix):])
	for i := range calls {
		call := &calls[i]
		tokens, ok := call.takes(subject)
		if !ok {
			continue
		}
		r := &request{tokens: tokens, body: o.payload}
		do := call.do
		if overLevel(o.header) {
			do = (*conn).levelTooLow
		}
		c.respond(o.reply, call.op, r, do)
		clear(c.streams) // it may have changed one
		return true
	}
	return false
}

// respond carries out a call and answers it.
func (c *conn) respond(reply []byte, op string, r *request, do func(*conn, *request) (any, *apiError)) {
	var result any
	var failure *apiError
	c.InStore(func() { result, failure = do(c, r) })
	c.front.api.total.Add(1)
	if failure != nil {
		c.front.api.errors.Add(1)
	}
	if len(reply) == 0 {
		return
	}
	if failure != nil {
		result = struct {
			Error *apiError `json:"error"`
		}{failure}
	}
	c.answer(reply, nil, encodeResponse(op, result))
}

// encodeResponse writes an answer: its type, then the fields of the result.
func encodeResponse(op string, result any) []byte {
	fields := encodeJSON(result)
	head := []byte(`{"type":"` + responseType(op) + `"`)
	if string(fields) != "{}" {
		head = append(head, ',')
	}
	return append(head, fields[1:]...)
}

// encodeJSON writes an answer's fields.
func encodeJSON(fields any) []byte {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	_ = e.Encode(fields) // plain fields always encode
	return bytes.TrimSpace(b.Bytes())
}

// page is the place of a list's page.
type page struct {
	Total  int `json:"total"`
	Offset int `json:"offset"`
	Limit  int `json:"limit"`
}

// pageOf returns the page of all that begins at an offset.
func pageOf[T any](all []T, offset, limit int) ([]T, page) {
	p := page{Total: len(all), Offset: min(max(offset, 0), len(all)), Limit: limit}
	return all[p.Offset:min(p.Offset+limit, len(all))], p
}

// decodeBody reads a request's body, which may be empty.
func decodeBody(body []byte, into any) *apiError {
	if len(bytes.TrimSpace(body)) == 0 {
		return nil
	}
	return decodeJSON(body, into)
}

// decodeJSON reads a request's body. By a decoder, whose errors are nats-server's.
func decodeJSON(body []byte, into any) *apiError {
	if err := json.NewDecoder(bytes.NewReader(body)).Decode(into); err != nil {
		return invalidJSON(err)
	}
	return nil
}

// accountInfo answers INFO: what there is, and that nothing is limited.
func (c *conn) accountInfo(*request) (any, *apiError) {
	var info accountInfo
	for st, err := range c.front.store.Buckets(c.ctx) {
		if err != nil {
			return nil, refusal(err)
		}
		if !c.May(server.MayAny, st.Config.Bucket) {
			continue
		}
		info.Streams++
		info.Consumers += c.front.consumers.count(st.Config.Bucket)
		cfg, _ := c.front.configs.of(&st.Config)
		info.add(cfg, st.Bytes)
	}
	info.Limits = unlimitedAccount
	info.API.Level, info.API.Total, info.API.Errors = apiLevel, c.front.api.total.Load(), c.front.api.errors.Load()
	return info, nil
}

// overLevel reports whether a request asks for more of the API than there is.
func overLevel(header []byte) bool {
	required := headerField(header, "Nats-Required-Api-Level")
	if len(required) == 0 {
		return false
	}
	level, err := strconv.Atoi(string(required))
	return err != nil || level > apiLevel
}

// levelTooLow refuses such a request.
func (c *conn) levelTooLow(*request) (any, *apiError) { return nil, errRequiredLevel }

// noBackup refuses what the CLI's backups need.
func (c *conn) noBackup(*request) (any, *apiError) {
	return nil, &apiError{501, 10052, "stream backups are not supported: a backup of kvd is a copy of its data directory, made while it is stopped"}
}

// now is the time of an answer.
func now() time.Time { return time.Now().UTC() }
