package conformance_test

import (
	"encoding/json"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/nats-io/nats.go"

	natsfront "kvd/server/nats"
)

// page returns the text of docs/nats.md.
func page(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile("../../../docs/nats.md")
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// TestPageCommands types the commands of docs/nats.md into the stock CLI, as TestWalkthrough
// does with its scripts.
func TestPageCommands(t *testing.T) {
	cli := buildCLI(t)
	f := start(t, t.TempDir(), natsfront.Options{})
	dir := t.TempDir()
	s := &script{t: t, front: f, url: f.conn.ConnectedUrl(), path: filepath.Dir(cli), home: dir, running: map[string]*background{}}
	path := filepath.Join(dir, "page.txt")
	blocks := regexp.MustCompile("(?s)```console\n(.*?)```").FindAllStringSubmatch(page(t), -1)
	if len(blocks) < 2 {
		t.Fatalf("the page has %d blocks of commands", len(blocks))
	}
	var text strings.Builder
	for _, b := range blocks {
		text.WriteString(b[1])
	}
	if err := os.WriteFile(path, []byte(text.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	s.play(path)
}

// refusal is a row of the page's tables.
type refusal struct{ of, example, code, text string }

// refusals returns the rows of the table with examples, and of the other one.
func refusals(t *testing.T) (provoked, sizes []refusal) {
	t.Helper()
	_, section, _ := strings.Cut(page(t), "\n## What is refused\n")
	for line := range strings.Lines(section) {
		cells := strings.Split(strings.Trim(strings.TrimSpace(line), "|"), " | ")
		if !strings.HasPrefix(line, "| ") || len(cells) < 4 || strings.TrimSpace(cells[0]) == "of" {
			continue
		}
		r := refusal{strings.TrimSpace(cells[0]), strings.Trim(cells[1], "` "), strings.TrimSpace(cells[2]), strings.TrimSpace(cells[3])}
		if len(cells) == 5 {
			provoked = append(provoked, r)
		} else {
			sizes = append(sizes, r)
		}
	}
	if len(provoked) < 40 || len(sizes) < 4 {
		t.Fatalf("the tables have %d and %d rows", len(provoked), len(sizes))
	}
	return provoked, sizes
}

const (
	streamOfPage = `{"name":"KV_b","subjects":["$KV.b.>"],"max_msgs_per_subject":5,"max_age":3600000000000,"allow_rollup_hdrs":true,"allow_msg_ttl":true}`
	limitOfPage  = `{"name":"L","subjects":["l.*"],"max_msgs_per_subject":2}`

	consumerOfPage = `{"name":"U","ack_policy":"none","deliver_policy":"last_per_subject","filter_subject":"$KV.b.*","inactive_threshold":300000000000}`
)

// request returns the request that a row's example stands for.
func (r *refusal) request(t *testing.T) string {
	t.Helper()
	with := func(object string) string { return strings.TrimSuffix(object, "}") + "," + r.example + "}" } // the last of two fields counts
	consumer := `{"stream_name":"S","config":` + with(`{"name":"c","ack_policy":"none"}`) + "}"
	switch r.of {
	case "stream":
		return "$JS.API.STREAM.CREATE.X " + with(`{"name":"X","subjects":["x"]}`)
	case "bucket":
		return "$JS.API.STREAM.UPDATE.KV_b " + with(streamOfPage)
	case "update of L":
		return "$JS.API.STREAM.UPDATE.L " + with(limitOfPage)
	case "pull consumer":
		return "$JS.API.CONSUMER.CREATE.S.c " + consumer
	case "update of consumer U":
		return `$JS.API.CONSUMER.CREATE.KV_b.U {"stream_name":"KV_b","config":` + with(consumerOfPage) + "}"
	case "push consumer":
		return "$JS.API.CONSUMER.CREATE.S.c " + strings.Replace(consumer, `"config":{`, `"config":{"deliver_subject":"d",`, 1)
	case "message":
		return "s.a " + r.example
	case "message to a key":
		return "$KV.b.k " + r.example
	case "request":
		return "$JS.API." + r.example
	}
	t.Fatalf("nobody knows what %q is", r.of)
	return ""
}

// TestPageRefusals provokes every refusal of the page's table. nats-server accepts what
// is refused, unless it is one node itself or the stream must allow it.
func TestPageRefusals(t *testing.T) {
	theirs, ours := startNATS(t), start(t, t.TempDir(), natsfront.Options{}).conn
	for _, request := range []string{
		"$JS.API.STREAM.CREATE.KV_b " + streamOfPage, `$JS.API.STREAM.CREATE.S {"name":"S","subjects":["s.>"]}`,
		"$JS.API.STREAM.CREATE.L " + limitOfPage, "l.a 1", "l.a 2", "$KV.b.k 1",
		`$JS.API.CONSUMER.CREATE.KV_b.U {"stream_name":"KV_b","config":` + consumerOfPage + "}",
	} {
		if want, got := ask(theirs, request), ask(ours, request); want != got {
			t.Fatalf("%s\nnats-server %s\nkvd         %s", request, want, got)
		}
	}
	rows, _ := refusals(t)
	for _, r := range rows {
		request := r.request(t)
		got := ask(ours, request)
		var answer struct {
			Error struct {
				Code        int    `json:"err_code"`
				Description string `json:"description"`
			} `json:"error"`
		}
		if err := json.Unmarshal([]byte(got), &answer); err != nil {
			t.Errorf("%s: %v: %s", request, err, got)
		} else if e := answer.Error; strconv.Itoa(e.Code) != r.code || e.Description != r.text {
			t.Errorf("%s\nis answered %s\nthe page has %s, %s", request, got, r.code, r.text)
		}
	}
}

// TestPageHasEveryRefusal finds the refusals in the sources of the front end: each call that
// refuses what nats-server accepts, and each error whose text nats-server does not have. The
// page has them all.
func TestPageHasEveryRefusal(t *testing.T) {
	provoked, sizes := refusals(t)
	rows := append(provoked, sizes...)
	theirs := placeholder.ReplaceAllString(sources(t, filepath.Join(moduleDir(t, "github.com/nats-io/nats-server/v2"), "server")), "%")
	found := 0
	for path, text := range goFiles(t, "..") {
		file, err := parser.ParseFile(token.NewFileSet(), path, text, 0)
		if err != nil {
			t.Fatal(err)
		}
		for _, format := range refusalFormats(file) {
			if format.ofNATS && strings.Contains(theirs, placeholder.ReplaceAllString(format.text, "%")) {
				continue
			}
			found++
			if pattern := format.pattern(); !containsText(rows, pattern) {
				t.Errorf("%s: the page has no refusal like %q", path, format.text)
			}
		}
	}
	if found < 30 {
		t.Errorf("only %d refusals were found", found)
	}
}

// TestPageHasEveryRequest sends all of nats-server's requests, without what they need. The page
// names those that nobody answers, and no others.
func TestPageHasEveryRequest(t *testing.T) {
	ours := start(t, t.TempDir(), natsfront.Options{}).conn
	_, list, found := strings.Cut(page(t), "have no responder")
	if !found {
		t.Fatal("the page does not say what has no responder")
	}
	list, _, _ = strings.Cut(list, "\n\n")
	named := make(map[string]bool) // whether a request begins with the name
	for _, name := range regexp.MustCompile("`([A-Z_.]+)`").FindAllStringSubmatch(list, -1) {
		named[name[1]] = false
	}
	theirs := sources(t, filepath.Join(moduleDir(t, "github.com/nats-io/nats-server/v2"), "server"))
	requests := regexp.MustCompile(`= "\$JS\.API\.([A-Z_.*%s]+[A-Z*s])"`).FindAllStringSubmatch(theirs, -1)
	if len(requests) < 30 {
		t.Fatalf("nats-server has %d requests", len(requests))
	}
	for _, r := range requests {
		answered := ask(ours, "$JS.API."+strings.NewReplacer("*", "x", "%s", "x").Replace(r[1])) != nats.ErrNoResponders.Error()
		isNamed := false
		for name := range named {
			if strings.HasPrefix(r[1]+".", name+".") {
				isNamed, named[name] = true, true
			}
		}
		needs := strings.HasPrefix(r[1], "DIRECT.GET") || strings.HasPrefix(r[1], "CONSUMER.MSG.NEXT") // the stream or the consumer
		if answered == isNamed && !needs {
			t.Errorf("%s: answered: %v, on the page: %v", r[1], answered, isNamed)
		}
	}
	for name, there := range named {
		if !there {
			t.Errorf("nats-server has no request %s", name)
		}
	}
}

// containsText reports whether some row has a text of that pattern.
func containsText(rows []refusal, pattern *regexp.Regexp) bool {
	for _, r := range rows {
		if pattern.MatchString(r.text) {
			return true
		}
	}
	return false
}

// refusalFormat is the text of a refusal in the sources, perhaps with verbs of package fmt.
type refusalFormat struct {
	text   string
	ofNATS bool // the text may be nats-server's
}

// placeholder is a part of a text that differs from answer to answer: in the sources a verb of
// package fmt, and in nats-server's also a name in braces.
var placeholder = regexp.MustCompile(`%[sdqv]|\{[a-z_]+\}`)

func (f *refusalFormat) pattern() *regexp.Regexp {
	return regexp.MustCompile("^" + placeholder.ReplaceAllString(regexp.QuoteMeta(f.text), ".+") + "$")
}

// refusalFormats returns the texts of the calls that refuse something. A function that has the
// subjects of its text in a list has one for each string of the list.
func refusalFormats(file *ast.File) (all []refusalFormat) {
	for _, declaration := range file.Decls {
		ast.Inspect(declaration, func(n ast.Node) bool {
			call, ok := n.(*ast.CallExpr)
			if !ok {
				return true
			}
			name, ok := call.Fun.(*ast.SelectorExpr)
			if !ok || !strings.HasPrefix(name.Sel.Name, "Unsupported") && name.Sel.Name != "NewError" {
				return true
			}
			text := literal(call.Args[0])
			if name.Sel.Name == "NewError" {
				text = literal(call.Args[len(call.Args)-1])
			}
			switch {
			case text == "":
			case strings.HasPrefix(text, "%s not ") || strings.HasPrefix(text, "%s is not "):
				for _, subject := range listed(declaration) {
					all = append(all, refusalFormat{text: strings.Replace(text, "%s", subject, 1)})
				}
			default:
				all = append(all, refusalFormat{text, name.Sel.Name == "NewError"})
			}
			return true
		})
	}
	return all
}

// listed returns the strings in the lists of a declaration. One that is put together has "%s"
// for its other part.
func listed(declaration ast.Decl) (all []string) {
	ast.Inspect(declaration, func(n ast.Node) bool {
		list, ok := n.(*ast.CompositeLit)
		if !ok {
			return true
		}
		for _, element := range list.Elts {
			if pair, ok := element.(*ast.KeyValueExpr); ok {
				element = pair.Key
			}
			if text := literal(element); text != "" {
				all = append(all, text)
			}
		}
		return true
	})
	return all
}

// literal returns the text of an expression of string literals, with "%s" for the operands that
// are none, or the format of fmt.Sprintf. It is empty without any literal.
func literal(e ast.Expr) string {
	switch e := e.(type) {
	case *ast.BasicLit:
		text, _ := strconv.Unquote(e.Value)
		return text
	case *ast.CallExpr:
		if name, ok := e.Fun.(*ast.SelectorExpr); ok && name.Sel.Name == "Sprintf" {
			return literal(e.Args[0])
		}
	case *ast.BinaryExpr:
		x, y := literal(e.X), literal(e.Y)
		switch {
		case x == "" && y == "":
			return ""
		case x == "":
			x = "%s"
		case y == "":
			y = "%s"
		}
		return x + y
	}
	return ""
}

// goFiles returns the Go files below a directory that are neither tests nor of this module.
func goFiles(t *testing.T, dir string) map[string]string {
	t.Helper()
	all := make(map[string]string)
	err := filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return err
		}
		text, err := os.ReadFile(path)
		all[path] = string(text)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// sources returns the texts of the Go files below a directory.
func sources(t *testing.T, dir string) string {
	t.Helper()
	var all strings.Builder
	for _, text := range goFiles(t, dir) {
		all.WriteString(text)
	}
	return all.String()
}
