package main

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"

	"kvd/kv"
)

// scriptSizeMax is the size of the largest script, in bytes.
const scriptSizeMax = kv.MaxTxnSize

// txnScript is a transaction as text, a step a line.
type txnScript struct {
	name     string // of the file, for errors
	txn      kv.Txn
	ifLines  []int // the lines of txn.If
	branches [2]scriptBranch
}

// scriptBranch is the steps of a branch, in order.
type scriptBranch struct {
	name  string
	steps []scriptStep
}

// scriptStep is a write or a read of a branch, with its index among these.
type scriptStep struct {
	line  int
	reads bool
	index int
}

// entry returns what the step wrote or read. Its operation is 0 where there is no value to show.
func (s scriptStep) entry(writes []kv.Mutation, entries []kv.Entry) kv.Entry {
	if s.reads {
		e := entries[s.index]
		if e.Revision == 0 {
			e.Operation = 0
		}
		return e
	}
	m := &writes[s.index]
	return kv.Entry{Bucket: m.Bucket, Key: m.Key, Revision: m.Revision}
}

// branch returns the steps of then or of else.
func (s *txnScript) branch(then bool) *scriptBranch {
	if then {
		return &s.branches[0]
	}
	return &s.branches[1]
}

// lineOf returns the line of the script that an error is about.
func (s *txnScript) lineOf(e *kv.TxnError) int {
	if e.Part == kv.TxnIf {
		return s.ifLines[e.Op]
	}
	reads := e.Part == kv.ThenRead || e.Part == kv.ElseRead
	for _, step := range s.branch(e.Part == kv.ThenWrite || e.Part == kv.ThenRead).steps {
		if step.reads == reads && step.index == e.Op {
			return step.line
		}
	}
	return 1
}

// parseScript reads a script. Its errors name the line.
func parseScript(name, text string) (*txnScript, error) {
	s := &txnScript{name: name, branches: [2]scriptBranch{{name: "then"}, {name: "else"}}}
	var branch *scriptBranch
	n := 0
	for line := range strings.Lines(text) {
		n++
		words, err := splitWords(line)
		if err == nil && len(words) > 0 {
			branch, err = s.addLine(n, branch, words)
		}
		if err != nil {
			return nil, fmt.Errorf("%w: %s: line %d: %w", kv.ErrInvalidTxn, name, n, err)
		}
	}
	if branch == nil {
		return nil, fmt.Errorf("%w: %s has no line \"then\"", kv.ErrInvalidTxn, name)
	}
	return s, nil
}

// addLine adds a line. It returns the branch of the lines that follow.
func (s *txnScript) addLine(n int, branch *scriptBranch, words []scriptWord) (*scriptBranch, error) {
	switch word := words[0].text; {
	case word == "then" && branch == nil && len(words) == 1:
		return &s.branches[0], nil
	case word == "else" && branch == &s.branches[0] && len(words) == 1:
		return &s.branches[1], nil
	case word == "then" || word == "else":
		return nil, fmt.Errorf("%q stands alone on its line, once; then comes before else", word)
	case branch == nil && word == "if" && len(words) > 1:
		c, err := condition(words[1].text, words[2:])
		s.txn.If, s.ifLines = append(s.txn.If, c), append(s.ifLines, n)
		return nil, err
	case branch == nil:
		return nil, fmt.Errorf("%q is no condition, and commands come behind \"then\"", word)
	}
	return branch, s.addStep(n, branch, words)
}

// conditions are the kinds of conditions, with the words that follow.
var conditions = map[string]struct {
	is   kv.CondKind
	then string // v: a value, n: a number, behind bucket and key
}{
	"exists": {kv.Exists, ""}, "absent": {kv.Absent, ""},
	"value": {kv.ValueIs, "v"}, "not-value": {kv.ValueIsNot, "v"},
	"revision": {kv.AtRevision, "n"}, "not-revision": {kv.NotAtRevision, "n"},
	"newest": {kv.BucketAtRevision, "n"},
}

// condition returns the condition of a line "if".
func condition(kind string, args []scriptWord) (c kv.Cond, err error) {
	k, ok := conditions[kind]
	if !ok {
		return c, fmt.Errorf("%q is no condition: exists, absent, value, not-value, revision, not-revision and newest are", kind)
	}
	names := 2
	if c.Is = k.is; k.is == kv.BucketAtRevision {
		names = 1
	}
	if len(args) != names+len(k.then) {
		return c, fmt.Errorf("\"if %s\" has %d words behind it, needs %d", kind, len(args), names+len(k.then))
	}
	if err := checkNames(args[:names]); err != nil {
		return c, err
	}
	c.Bucket = args[0].text
	if names > 1 {
		c.Key = args[1].text
	}
	switch k.then {
	case "v":
		c.Value, err = scriptValue(args[names])
	case "n":
		c.Revision, err = scriptRevision(args[names])
	}
	return c, err
}

// scriptOps are the commands that write, with the number of their words behind bucket and key.
var scriptOps = map[string]struct {
	op          kv.MutationOp
	least, most int
}{
	"put": {kv.MutatePut, 1, 1}, "create": {kv.MutateCreate, 1, 1}, "update": {kv.MutateUpdate, 2, 2},
	"delete": {kv.MutateDelete, 0, 1}, "del": {kv.MutateDelete, 0, 1}, "purge": {kv.MutatePurge, 0, 1},
	"get": {0, 0, 0},
}

// addStep adds a command to a branch.
func (s *txnScript) addStep(n int, branch *scriptBranch, words []scriptWord) error {
	name := words[0].text
	o, ok := scriptOps[name]
	if !ok {
		return fmt.Errorf("%q is no command of a transaction: put, create, update, delete, purge and get are", name)
	}
	args := words[1:]
	if len(args) < 2+o.least || len(args) > 2+o.most {
		return fmt.Errorf("%q has %d words behind it, needs %s", name, len(args), wordCount(2+o.least, 2+o.most))
	}
	if err := checkNames(args[:2]); err != nil {
		return err
	}
	to := s.txn.Branch(branch == &s.branches[0])
	if o.op == 0 {
		branch.steps = append(branch.steps, scriptStep{n, true, len(to.Reads)})
		to.Reads = append(to.Reads, kv.KeyRef{Bucket: args[0].text, Key: args[1].text})
		return nil
	}
	m, err := scriptMutation(o.op, args)
	branch.steps = append(branch.steps, scriptStep{n, false, len(to.Writes)})
	to.Writes = append(to.Writes, m)
	return err
}

// wordCount returns how many words are needed, for an error.
func wordCount(least, most int) string {
	if least == most {
		return strconv.Itoa(least)
	}
	return fmt.Sprintf("%d or %d", least, most)
}

// scriptMutation returns a write: bucket, key, its value if it has one, and a revision.
func scriptMutation(op kv.MutationOp, args []scriptWord) (m kv.Mutation, err error) {
	m = kv.Mutation{Op: op, Bucket: args[0].text, Key: args[1].text}
	rest := args[2:]
	if op != kv.MutateDelete && op != kv.MutatePurge {
		if m.Value, err = scriptValue(rest[0]); err != nil {
			return m, err
		}
		rest = rest[1:]
	}
	if len(rest) > 0 {
		m.IfLast = op != kv.MutateUpdate
		m.Last, err = scriptRevision(rest[0])
	}
	return m, err
}

// checkNames checks the name of a bucket, and a key if there is one.
func checkNames(names []scriptWord) error {
	if err := kv.CheckBucketName(names[0].text); err != nil || len(names) == 1 {
		return err
	}
	return kv.CheckKey(names[1].text)
}

func scriptRevision(w scriptWord) (kv.Revision, error) {
	n, err := strconv.ParseUint(w.text, 10, 64)
	if err != nil {
		return 0, fmt.Errorf("%q is no revision, which is a number from 0 on", w.text)
	}
	return kv.Revision(n), nil
}

// scriptValue returns the value of a word: of a file, of base64, or the word itself.
func scriptValue(w scriptWord) ([]byte, error) {
	if text, ok := strings.CutPrefix(w.text, "base64:"); ok && !w.quoted {
		return base64.StdEncoding.DecodeString(text)
	}
	path, ok := strings.CutPrefix(w.text, "@")
	if !ok || w.quoted {
		return []byte(w.text), nil
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, kv.MaxValueSizeLimit+1))
	if err == nil && len(b) > kv.MaxValueSizeLimit {
		err = &kv.LimitError{What: "size of " + path, Got: int64(len(b)), Max: kv.MaxValueSizeLimit, Err: kv.ErrValueTooLarge}
	}
	return b, err
}

// scriptWord is a word of a line.
type scriptWord struct {
	text   string
	quoted bool // it was a JSON string
}

// splitWords splits a line at blanks. A word that begins with a quote is a JSON string. A comment
// has no words.
func splitWords(line string) (words []scriptWord, err error) {
	for rest := strings.TrimSpace(line); rest != ""; rest = strings.TrimLeft(rest, " \t") {
		if rest[0] == '#' && len(words) == 0 {
			return nil, nil
		}
		if rest[0] != '"' {
			end := strings.IndexAny(rest+" ", " \t")
			words, rest = append(words, scriptWord{rest[:end], false}), rest[end:]
			continue
		}
		d := json.NewDecoder(strings.NewReader(rest))
		var text string
		if err := d.Decode(&text); err != nil {
			return nil, errors.New("a word that begins with a quote is not a JSON string")
		}
		if rest = rest[d.InputOffset():]; rest != "" && rest[0] != ' ' && rest[0] != '\t' {
			return nil, errors.New("a blank is missing behind a JSON string")
		}
		words = append(words, scriptWord{text, true})
	}
	return words, nil
}
