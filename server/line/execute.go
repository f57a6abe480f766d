package line

import (
	"context"
	"fmt"
	"time"

	"kvd/internal/lineproto"
	"kvd/kv"
	"kvd/server"
)

// precheck returns why a command is refused whatever its payload is. It is asked before the
// payload has arrived and afterwards, so that the answer does not depend on how the
// connection cut the command.
func (c *conn) precheck(cmd *lineproto.Command) error {
	if err := c.permit(cmd); err != nil {
		return err
	}
	if cmd.Verb == lineproto.VerbRecords && cmd.Refused == nil {
		_, err := c.imports.find(cmd.Import)
		return err
	}
	if cmd.Refused != nil || cmd.Length <= server.InputSize || !cmd.Verb.Writes() {
		return cmd.Refused
	}
	b, err := c.bucket(cmd)
	if err != nil {
		return err
	}
	var st kv.Status
	c.InStore(func() { st, err = b.Status(c.ctx) })
	if limit := st.Config.MaxValueSize; err == nil && limit > 0 && int64(cmd.Length) > limit {
		err = &kv.LimitError{What: "value size", Got: int64(cmd.Length), Max: limit, Err: kv.ErrValueTooLarge}
	}
	return err
}

// execute executes a command or adds it to the run. An error ends the connection.
func (c *conn) execute(cmd *lineproto.Command) error {
	if c.txn != nil {
		err := c.collect(cmd)
		c.full()
		return err
	}
	err := c.precheck(cmd)
	if err == nil && cmd.Verb.Writes() {
		c.write(cmd)
		return nil
	}
	c.finishRun() // this command must see those writes, and be answered after them
	if c.NeedsLogin() {
		if err := c.beforeLogin(cmd); err != nil {
			return err
		}
	}
	if err != nil && cmd.Verb != lineproto.VerbTxn { // the lines of a refused TXN have to be read too
		c.fail(err, cmd.Key)
		return nil
	}
	err = c.dispatch(cmd)
	c.full()
	return err
}

// lastWords is the room for one more reply and for the error that ends a connection.
const lastWords = 1024

// beforeLogin returns an error for a command that needs a login.
func (c *conn) beforeLogin(cmd *lineproto.Command) error {
	switch cmd.Verb {
	case lineproto.VerbHello, lineproto.VerbAuth, lineproto.VerbPing, lineproto.VerbQuit:
		if c.wrote+len(c.replies.b) < loginBudget-lastWords {
			return nil
		}
	}
	return lineproto.ErrAuthRequired
}

func (c *conn) dispatch(cmd *lineproto.Command) error {
	switch cmd.Verb {
	case lineproto.VerbGet:
		c.get(cmd)
	case lineproto.VerbHistory:
		c.history(cmd)
	case lineproto.VerbKeys:
		c.keys(cmd)
	case lineproto.VerbCount:
		c.count(cmd)
	case lineproto.VerbGetMany:
		c.getMany(cmd)
	case lineproto.VerbRange:
		c.ranges(cmd)
	case lineproto.VerbChildren:
		c.children(cmd)
	case lineproto.VerbWatch:
		c.watch(cmd)
	case lineproto.VerbUnwatch:
		c.watches.stop(cmd.Watch)
		c.ok()
	case lineproto.VerbBuckets:
		c.buckets(cmd)
	case lineproto.VerbInfo:
		c.info(cmd)
	case lineproto.VerbAdd:
		c.answer(c.add(cmd), cmd)
	case lineproto.VerbEdit:
		c.answer(c.edit(cmd), cmd)
	case lineproto.VerbRemove:
		c.answer(c.remove(cmd), cmd)
	case lineproto.VerbPurgeDeletes:
		c.answer(c.purgeDeletes(cmd), cmd)
	case lineproto.VerbReclaim:
		c.reclaim(cmd)
	case lineproto.VerbBackup:
		c.backup(cmd)
	case lineproto.VerbLost, lineproto.VerbAccept:
		c.doubt(cmd)
	case lineproto.VerbImport, lineproto.VerbRecords, lineproto.VerbCommit, lineproto.VerbDiscard:
		c.importing(cmd)
	case lineproto.VerbTxn:
		return c.beginTxn(cmd)
	case lineproto.VerbIf, lineproto.VerbIfNewest:
		return &lineproto.SyntaxError{Reason: fmt.Sprintf("%v belongs to a transaction: TXN comes first", cmd.Verb)}
	case lineproto.VerbHello:
		hello := c.protocol.hello
		hello.Auth = c.HasUsers()
		c.replies.b = lineproto.AppendHello(c.replies.b, &hello)
	case lineproto.VerbAuth:
		return c.login(cmd)
	case lineproto.VerbPing:
		c.ok()
	case lineproto.VerbQuit:
		c.ok()
		return errQuit
	}
	return nil
}

func (c *conn) ok() { c.replies.b = lineproto.AppendOK(c.replies.b) }

// answer logs an administrative act, and answers it with +OK or the error.
func (c *conn) answer(err error, cmd *lineproto.Command) {
	c.audit(cmd, cmd.Bucket, err)
	c.reply(err, cmd)
}

// reply answers with +OK or the error.
func (c *conn) reply(err error, cmd *lineproto.Command) {
	if err != nil {
		c.fail(err, cmd.Bucket)
		return
	}
	c.ok()
}

// login checks a password. A failure ends the connection.
func (c *conn) login(cmd *lineproto.Command) error {
	first := c.NeedsLogin()
	ctx, cancel := context.WithTimeout(c.ctx, server.LoginTime)
	defer cancel()
	if err := c.Login(ctx, cmd.User, cmd.Password); err != nil {
		return fmt.Errorf("%w: %w", lineproto.ErrAuthFailed, err)
	}
	if first {
		c.in.Grow()
		c.in.Expect(time.Time{})
	}
	c.ok()
	return nil
}
