package main

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/dustin/go-humanize"
	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/jedib0t/go-pretty/v6/text"
	"github.com/spf13/cobra"

	"kvd/kv"
)

// addJSON gives a command the flag --json.
func (a *app) addJSON(c *cobra.Command) {
	c.Flags().BoolVar(&a.json, "json", false, "print one JSON object per line")
}

// printJSON prints one object on a line of its own.
func (a *app) printJSON(v any) error {
	e := json.NewEncoder(a.out)
	e.SetEscapeHTML(false)
	return e.Encode(v)
}

// entryJSON is an entry in JSON.
type entryJSON struct {
	Bucket    string      `json:"bucket"`
	Key       string      `json:"key"`
	Revision  kv.Revision `json:"revision"`
	Operation string      `json:"operation"`
	Created   time.Time   `json:"created"`
	Delta     *uint64     `json:"delta,omitempty"`
	Value     *string     `json:"value,omitempty"`
	Encoding  string      `json:"encoding,omitempty"`
	Reason    string      `json:"reason,omitempty"`
	Deadline  *time.Time  `json:"deadline,omitempty"`
}

func newEntryJSON(e *kv.Entry) entryJSON {
	j := entryJSON{Bucket: e.Bucket, Key: e.Key, Revision: e.Revision, Operation: operationName(e), Created: e.Created.UTC()}
	if e.Operation.IsMarker() {
		j.Reason = e.Reason.String()
	} else {
		value, encoding := encodeValue(e.Value)
		j.Value, j.Encoding = &value, encoding
	}
	if !e.Deadline.IsZero() {
		deadline := e.Deadline.UTC()
		j.Deadline = &deadline
	}
	return j
}

// encodeValue returns a value as a JSON string, and its encoding: none where it is
// UTF-8, otherwise base64.
func encodeValue(v []byte) (value, encoding string) {
	if utf8.Valid(v) {
		return string(v), ""
	}
	return base64.StdEncoding.EncodeToString(v), "base64"
}

// operationName returns the name of an operation as the nats program prints it. Expiry
// markers, which nats prints as purges, are EXPIRE.
func operationName(e *kv.Entry) string {
	switch {
	case e.Operation == kv.Delete:
		return "DELETE"
	case e.Reason == kv.ReasonExpiry:
		return "EXPIRE"
	}
	return e.Operation.String()
}

// printWritten prints the revision of a write.
func (a *app) printWritten(bucket, key string, revision kv.Revision) error {
	switch {
	case a.json:
		return a.printJSON(struct {
			Bucket   string      `json:"bucket"`
			Key      string      `json:"key"`
			Revision kv.Revision `json:"revision"`
		}{bucket, key, revision})
	case a.outTTY:
		fmt.Fprintf(a.out, "%s > %s revision: %d\n", bucket, a.key(key), revision)
	default:
		fmt.Fprintln(a.out, revision)
	}
	return nil
}

// list prints rows: a table with a title and headings on a terminal, tab-separated
// lines elsewhere.
type list struct {
	app   *app
	table table.Writer // nil: no terminal
}

func (a *app) newList(title string, headings ...string) *list {
	l := &list{app: a}
	if !a.outTTY {
		return l
	}
	l.table = table.NewWriter()
	l.table.SetStyle(table.StyleRounded)
	l.table.Style().Title.Align = text.AlignCenter
	l.table.Style().Format.Header = text.FormatDefault
	l.table.Style().Size.WidthMax = a.width
	l.table.SetTitle(title)
	row := make(table.Row, len(headings))
	for i, h := range headings {
		row[i] = h
	}
	l.table.AppendHeader(row)
	return l
}

// add adds a row. Its cells contain no tab and no line end: see printable.
func (l *list) add(cells ...any) {
	if l.table != nil {
		l.table.AppendRow(cells)
		return
	}
	for i, c := range cells {
		if i > 0 {
			_ = l.app.out.WriteByte('\t') // a bufio.Writer keeps its error for Flush
		}
		fmt.Fprint(l.app.out, c)
	}
	_ = l.app.out.WriteByte('\n')
}

// end prints the table.
func (l *list) end() {
	if l.table != nil {
		fmt.Fprintln(l.app.out, l.table.Render())
	}
}

// cellMax is the most of a value that a table shows, in characters.
const cellMax = 40

// cell returns a value for a row: in one line, and shortened on a terminal.
func (l *list) cell(v []byte) string {
	s := printable(v)
	if r := []rune(s); l.table != nil && len(r) > cellMax {
		return string(r[:cellMax/2-2]) + "..." + string(r[len(r)-cellMax/2+1:])
	}
	return s
}

// printable returns the value itself if it is one line of printable text, otherwise
// its Go string literal.
func printable(v []byte) string {
	s := string(v)
	ok := utf8.ValidString(s) && strings.IndexFunc(s, func(r rune) bool { return !unicode.IsPrint(r) }) < 0
	if ok && !strings.HasPrefix(s, `"`) {
		return s
	}
	return strconv.Quote(s)
}

// key returns a key for the output. A terminal gets one with characters that are not
// printable as a Go string literal, since they could disguise it.
func (a *app) key(key string) string {
	if a.outTTY {
		return printable([]byte(key))
	}
	return key
}

// harmless returns the value itself if it is text of any number of lines, otherwise
// its Go string literal: a stored value must not control the terminal.
func harmless(v []byte) []byte {
	control := func(r rune) bool { return r != '\n' && r != '\t' && !unicode.IsPrint(r) }
	if utf8.Valid(v) && bytes.IndexFunc(v, control) < 0 {
		return v
	}
	return strconv.AppendQuote(nil, string(v))
}

// timeLayout is the layout of times for people. Programs get RFC 3339.
const timeLayout = "2006-01-02 15:04:05"

// size returns a number of bytes: short for people, exact elsewhere.
func (l *list) size(n int64) string {
	if l.table != nil {
		return bytesText(uint64(n))
	}
	return strconv.FormatInt(n, 10)
}

func (l *list) time(t time.Time) string {
	if l.table != nil {
		return t.Local().Format(timeLayout)
	}
	return t.UTC().Format(time.RFC3339Nano)
}

// bytesText returns a size for people.
func bytesText(n uint64) string { return humanize.IBytes(n) }
