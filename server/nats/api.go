package nats

import (
	"strconv"
	"strings"
	"time"

	"kvd/server"
	"kvd/server/nats/jsapi"
	"kvd/server/nats/streamconfig"
	"kvd/server/nats/wire"
)

// request is a call of JetStream's API.
type request struct {
	tokens []string // Of the subject after the operation's name
	body   []byte
}

// ExpectedStream returns the name of the stream, the first token.
func (r *request) stream() string { return r.tokens[0] }

// Bucket returns the name of the stream's bucket.
func (r *request) bucket() (string, bool) { return streamconfig.BucketOf(r.stream()) }

// call is an operation of the API.
type call struct {
	prefix string // Of the subject after $JS.API.; a dot at its end asks for tokens
	tokens int    // how many; anyTokens: one or more
	op     string // Of the answer's type
	do     func(*conn, *request) (any, *jsapi.Error)
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
func (c *conn) api(o *wire.Operation) bool {
	subject := string(o.Subject[len(wire.APIPrefix):])
	for i := range calls {
		call := &calls[i]
		tokens, ok := call.takes(subject)
		if !ok {
			continue
		}
		r := &request{tokens: tokens, body: o.Payload}
		do := call.do
		if overLevel(o.Header) {
			do = (*conn).levelTooLow
		}
		c.respond(o.Reply, call.op, r, do)
		clear(c.streams) // it may have changed one
		return true
	}
	return false
}

// respond carries out a call and answers it.
func (c *conn) respond(reply []byte, op string, r *request, do func(*conn, *request) (any, *jsapi.Error)) {
	var result any
	var failure *jsapi.Error
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
			Error *jsapi.Error `json:"error"`
		}{failure}
	}
	c.answer(reply, nil, jsapi.EncodeResponse(op, result))
}

// accountInfo answers INFO: what there is, and that nothing is limited.
func (c *conn) accountInfo(*request) (any, *jsapi.Error) {
	var info accountInfo
	for st, err := range c.front.store.Buckets(c.ctx) {
		if err != nil {
			return nil, jsapi.ErrorOf(err)
		}
		if !c.May(server.MayAny, st.Config.Bucket) {
			continue
		}
		info.Streams++
		info.Consumers += c.front.consumers.count(st.Config.Bucket)
		cfg, _ := c.front.configs.Of(&st.Config)
		info.add(cfg, st.Bytes)
	}
	info.Limits = unlimitedAccount
	info.API.Level, info.API.Total, info.API.Errors = apiLevel, c.front.api.total.Load(), c.front.api.errors.Load()
	return info, nil
}

// overLevel reports whether a request asks for more of the API than there is.
func overLevel(header []byte) bool {
	required := wire.HeaderField(header, "Nats-Required-Api-Level")
	if len(required) == 0 {
		return false
	}
	level, err := strconv.Atoi(string(required))
	return err != nil || level > apiLevel
}

// levelTooLow refuses such a request.
func (c *conn) levelTooLow(*request) (any, *jsapi.Error) { return nil, jsapi.ErrRequiredLevel }

// noBackup refuses what the CLI's backups need.
func (c *conn) noBackup(*request) (any, *jsapi.Error) {
	return nil, jsapi.NewError(501, 10052, "stream backups are not supported: a backup of kvd is a copy of its data directory, made while it is stopped")
}

// now is the time of an answer.
func now() time.Time { return time.Now().UTC() }
