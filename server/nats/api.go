package nats

import (
	"strconv"
	"strings"
	"time"

	"kvd/server/nats/jsapi"
	"kvd/server/nats/streamconfig"
	"kvd/server/nats/wire"
)

// request is a request to JetStream's API.
type request struct {
	tokens []string // of the subject, after the name of the operation
	body   []byte
}

// stream returns the name of the stream, the first token.
func (r *request) stream() string { return r.tokens[0] }

// grants returns the name of the bucket that grants on the stream are about. It reports
// false if kvd can have no such stream.
func (r *request) grants() (string, bool) { return streamconfig.GrantsOf(r.stream()) }

// call is an operation of the API.
type call struct {
	prefix string // of the subject after $JS.API.; a dot at its end means that tokens follow
	tokens int    // how many follow; anyTokens for one or more
	op     string // in the type of the answer
	handle func(*conn, *request) (any, *jsapi.Error)
}

const anyTokens = -1

// match reports whether a subject is one of the call's, and returns its tokens.
func (k *call) match(subject string) (tokens []string, ok bool) {
	rest, ok := strings.CutPrefix(subject, k.prefix)
	if !ok || k.tokens == 0 {
		return nil, ok && rest == ""
	}
	tokens = strings.Split(rest, ".")
	return tokens, rest != "" && (k.tokens == anyTokens || k.tokens == len(tokens))
}

// calls are the operations of the API.
var calls []call

func init() { // not in the declaration, which would be an initialization cycle
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
		{"STREAM.SNAPSHOT.", 1, "stream_snapshot", (*conn).streamSnapshot},
		{"STREAM.RESTORE.", 1, "stream_restore", (*conn).streamRestore},
		{"CONSUMER.CREATE.", anyTokens, "consumer_create", (*conn).consumerCreate},
		{"CONSUMER.DURABLE.CREATE.", 2, "consumer_create", (*conn).durableCreate},
		{"CONSUMER.INFO.", 2, "consumer_info", (*conn).consumerInfo},
		{"CONSUMER.DELETE.", 2, "consumer_delete", (*conn).consumerDelete},
		{"CONSUMER.NAMES.", 1, "consumer_names", (*conn).consumerNames},
		{"CONSUMER.LIST.", 1, "consumer_list", (*conn).consumerList},
	}
}

// api answers a request to the API, and reports whether the API has an operation of that
// subject.
func (c *conn) api(o *wire.Operation) bool {
	subject := string(o.Subject[len(wire.APIPrefix):])
	if names, ok := strings.CutPrefix(subject, messageNext); ok {
		return c.messageNext(o, names)
	}
	for i := range calls {
		call := &calls[i]
		tokens, ok := call.match(subject)
		if !ok {
			continue
		}
		r := &request{tokens: tokens, body: o.Payload}
		do := call.handle
		if requiresHigherLevel(o.Header, call.level()) {
			do = (*conn).refuseLevel
		}
		c.respond(o.Reply, call.op, r, do)
		c.transfers.wake() // a backup begins behind the answer
		clear(c.streams)   // the call may have changed one
		return true
	}
	return false
}

// respond carries out a request and answers it.
func (c *conn) respond(reply []byte, op string, r *request, do func(*conn, *request) (any, *jsapi.Error)) {
	var result any
	var refused *jsapi.Error
	c.InStore(func() { result, refused = do(c, r) })
	c.front.api.total.Add(1)
	if refused != nil {
		c.front.api.errors.Add(1)
	}
	c.answerCall(reply, op, result, refused)
}

// answerCall answers a request with its result, or why it was refused.
func (c *conn) answerCall(reply []byte, op string, result any, refused *jsapi.Error) {
	if len(reply) == 0 {
		return
	}
	if refused != nil {
		result = struct {
			Error *jsapi.Error `json:"error"`
		}{refused}
	}
	c.answer(reply, nil, jsapi.EncodeResponse(op, result))
}

// accountInfo answers INFO. No account has limits.
func (c *conn) accountInfo(*request) (any, *jsapi.Error) {
	var info accountInfo
	for st, err := range c.front.store.Buckets(c.ctx) {
		if err != nil {
			return nil, jsapi.ErrorOf(err)
		}
		if _, visible := c.visibleStream(st.Config.Bucket); !visible {
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

// level returns the level of the API that the operation has.
func (k *call) level() int {
	if k.op == "stream_snapshot" {
		return snapshotLevel
	}
	return apiLevel
}

// requiresHigherLevel reports whether a request needs a higher level of the API than have.
func requiresHigherLevel(header []byte, have int) bool {
	required := wire.HeaderField(header, "Nats-Required-Api-Level")
	if len(required) == 0 {
		return false
	}
	level, err := strconv.Atoi(string(required))
	return err != nil || level > have
}

// refuseLevel refuses a request that needs a higher level of the API.
func (c *conn) refuseLevel(*request) (any, *jsapi.Error) { return nil, jsapi.ErrRequiredLevel }

// now returns the time for an answer.
func now() time.Time { return time.Now().UTC() }
