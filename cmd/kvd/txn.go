package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"

	"kvd/kv"
)

// errElse is the end of a transaction whose conditions did not all hold.
var errElse = errors.New("a condition does not hold: the branch else was carried out")

func (a *app) txnCommand() *cobra.Command {
	var dry bool
	c := &cobra.Command{
		Use:   "txn [FILE]",
		Short: "Carry out a transaction: all its writes or none",
		Long: `Read a transaction from FILE, or from standard input if FILE is "-" or absent, and
carry it out. If all its conditions hold, the commands behind "then" run, otherwise
those behind "else". The writes of a branch are done all together or not at all, in
any buckets. The script has a line for each step:

  if exists|absent BUCKET KEY          the key has a value, or none
  if value|not-value BUCKET KEY VALUE
  if revision|not-revision BUCKET KEY N    of its newest record; 0: there is none
  if newest BUCKET N                   the newest revision of the bucket
  then                                 and in the same way else
  put|create BUCKET KEY VALUE
  update BUCKET KEY VALUE N            if its newest revision is N
  delete|purge BUCKET KEY [N]
  get BUCKET KEY                       sees the state after all writes of its branch

A word with blanks is a JSON string, and so is a value that begins with a quote, "@" or
"base64:". @PATH is the content of a file, base64:TEXT is bytes. A line that begins
with "#" is a comment.

The output has a line for each command: bucket, key, revision, and the value of a get.
The exit code is 4 if else was carried out, or if a write was refused and nothing was
written.`,
		Example: `  printf '%s\n' 'if absent my-kv lock' then 'put my-kv lock me' | kvd txn
  kvd txn move.txn --dry-run`,
		GroupID: groupVerbs,
		Args:    takes(0, 1),
		RunE: func(c *cobra.Command, args []string) error {
			s, err := a.readScript(c, args)
			if err != nil {
				return err
			}
			if dry {
				return nil
			}
			return a.withStore(c.Context(), mustExist, func(ctx context.Context, store store) error {
				return a.runScript(ctx, store, s)
			})
		},
	}
	c.Flags().BoolVar(&dry, "dry-run", false, "check the script only")
	a.addTarget(c)
	a.addJSON(c)
	return c
}

// readScript reads the transaction of args[0] or of standard input.
func (a *app) readScript(c *cobra.Command, args []string) (*txnScript, error) {
	in, name := a.in, "standard input"
	if len(args) > 0 && args[0] != stdinValue {
		f, err := os.Open(args[0])
		if err != nil {
			return nil, err
		}
		defer f.Close()
		in, name = f, args[0]
	} else if len(args) == 0 && a.inTTY {
		return nil, usageOf(c, errors.New(`FILE is missing ("-" reads the script from the terminal)`))
	}
	text, err := io.ReadAll(io.LimitReader(in, scriptSizeMax+1))
	if err != nil {
		return nil, fmt.Errorf("read the transaction: %w", err)
	}
	if len(text) > scriptSizeMax {
		return nil, &kv.LimitError{What: "size of the script", Got: int64(len(text)), Max: scriptSizeMax, Err: kv.ErrTxnTooLarge}
	}
	s, err := parseScript(name, string(text))
	if err == nil {
		err = s.explain(s.txn.Check())
	}
	return s, err
}

// runScript carries out a transaction and prints the outcome.
func (a *app) runScript(ctx context.Context, store store, s *txnScript) error {
	transactor, ok := kv.As[kv.Transactor](store)
	if !ok {
		return fmt.Errorf("%w: this store has no transactions", kv.ErrNotSupported)
	}
	ctx, cancel := context.WithTimeout(ctx, a.target.wait())
	defer cancel()
	r, err := transactor.Txn(ctx, &s.txn)
	var refused *kv.TxnError
	if err != nil && !(errors.As(err, &refused) && refused.Done) {
		return s.explain(err)
	}
	if printed := a.printTxn(s, &r); printed != nil {
		return printed
	}
	if err == nil && !r.Then {
		return errElse
	}
	return s.explain(err)
}

// txnJSON is the outcome of a transaction in JSON.
type txnJSON struct {
	Branch  string                 `json:"branch"`
	Results []any                  `json:"results"` // of each command: an entryJSON of a get, otherwise a writtenJSON
	Newest  map[string]kv.Revision `json:"newest"`  // the newest revision of each bucket afterwards
}

// writtenJSON is the outcome of a write, or of a get that found no value: revision 0.
type writtenJSON struct {
	Bucket   string      `json:"bucket"`
	Key      string      `json:"key"`
	Revision kv.Revision `json:"revision"`
}

// printTxn prints the outcome of each command, in the order of the script.
func (a *app) printTxn(s *txnScript, r *kv.TxnResult) error {
	part, writes := s.branch(r.Then), s.txn.Branch(r.Then).Writes
	if a.json {
		out := txnJSON{part.name, []any{}, r.At}
		for _, step := range part.steps {
			e := step.entry(writes, r.Entries)
			if e.Operation == 0 {
				out.Results = append(out.Results, writtenJSON{e.Bucket, e.Key, e.Revision})
			} else {
				out.Results = append(out.Results, newEntryJSON(&e))
			}
		}
		return a.printJSON(out)
	}
	rows := a.newList("Transaction: "+part.name, "Bucket", "Key", "Revision", "Value")
	for _, step := range part.steps {
		e := step.entry(writes, r.Entries)
		value := ""
		if e.Operation != 0 {
			value = rows.cell(e.Value)
		}
		rows.add(e.Bucket, a.key(e.Key), e.Revision, value)
	}
	rows.end()
	return nil
}

// explain names the line of the script that an error is about.
func (s *txnScript) explain(err error) error {
	var refused *kv.TxnError
	if !errors.As(err, &refused) {
		return err
	}
	return fmt.Errorf("%s: line %d: %w", s.name, s.lineOf(refused), err)
}
