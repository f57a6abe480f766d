package line

import (
	"os"
	"slices"
	"strings"
	"testing"

	"kvd/server"
)

// TestTranscript replays the transcript of the package's documentation against a new
// store. Replies have to come in order, and events too. The server decides where events
// stand between the replies.
func TestTranscript(t *testing.T) {
	r := serveTCP(t, openStore(t), server.Options{})
	connections := transcript(t)
	if len(connections) != 2 {
		t.Fatalf("the documentation has %d transcripts", len(connections))
	}
	for _, lines := range connections {
		p := r.dial()
		for len(lines) > 0 {
			var commands, answers []string
			commands, lines = cut(lines, "C:")
			answers, lines = cut(lines, "S:")
			p.send(strings.Join(commands, "\n") + "\n")
			replay(t, p, answers)
		}
		p.expectClosed()
	}
}

// replay checks the server's answers line by line.
func replay(t *testing.T, p *peer, want []string) {
	t.Helper()
	var got []string
	for len(got) < len(want) {
		got = append(got, strings.Split(strings.TrimSuffix(p.next(), "\n"), "\n")...)
	}
	if !slices.Equal(sorted(got), sorted(want)) {
		t.Fatalf("the server answers\n%s\nthe documentation says\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

// sorted moves events after the replies, and keeps the order of both.
func sorted(lines []string) []string {
	var replies, events []string
	event := false
	for _, line := range lines {
		switch word, _, _ := strings.Cut(line, " "); {
		case word == "EVENT" || word == "SYNCED" || word == "END":
			event = true
		case strings.HasPrefix(line, "+") || strings.HasPrefix(line, "-"):
			event = false
		} // otherwise it is the value of the line before
		if event {
			events = append(events, line)
		} else {
			replies = append(replies, line)
		}
	}
	return append(replies, events...)
}

// transcript returns the lines of the documentation that begin with C: or S:, as a list
// for each block.
func transcript(t *testing.T) (blocks [][]string) {
	t.Helper()
	doc, err := os.ReadFile("doc.go")
	if err != nil {
		t.Fatal(err)
	}
	inside := false
	for line := range strings.Lines(string(doc)) {
		text, ok := strings.CutPrefix(strings.TrimSuffix(line, "\n"), "//\t")
		if ok = ok && (strings.HasPrefix(text, "C:") || strings.HasPrefix(text, "S:")); !ok {
			inside = false
			continue
		}
		if !inside {
			blocks = append(blocks, nil)
		}
		inside = true
		blocks[len(blocks)-1] = append(blocks[len(blocks)-1], text)
	}
	return blocks
}

// cut returns the leading lines that have the mark, without the mark.
func cut(lines []string, mark string) (cut, rest []string) {
	for len(lines) > 0 && strings.HasPrefix(lines[0], mark) {
		cut = append(cut, strings.TrimPrefix(strings.TrimPrefix(lines[0], mark), " "))
		lines = lines[1:]
	}
	return cut, lines
}
