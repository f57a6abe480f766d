package client

import (
	"bytes"
	"io"
	"net"
	"testing"

	"kvd/kv"
)

// canned serves connections that answer each command with the same reply. It does not
// allocate. Commands must have the given number of lines.
func canned(t testing.TB, linesOfCommand int, reply string) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			nc, err := l.Accept()
			if err != nil {
				return
			}
			go answer(nc, linesOfCommand, []byte(reply))
		}
	}()
	return l.Addr().String()
}

// answer serves one connection until its client hangs up.
func answer(nc net.Conn, linesOfCommand int, reply []byte) {
	defer nc.Close()
	buf := make([]byte, 4096)
	n, err := nc.Read(buf) // HELLO
	if err != nil || n == 0 {
		return
	}
	_, _ = io.WriteString(nc, helloReply+"\r\n")
	for lines := 0; ; {
		n, err := nc.Read(buf)
		if err != nil {
			return
		}
		for lines += bytes.Count(buf[:n], []byte("\n")); lines >= linesOfCommand; lines -= linesOfCommand {
			if _, err := nc.Write(reply); err != nil {
				return
			}
		}
	}
}

// TestAllocations counts the allocations of one call.
func TestAllocations(t *testing.T) {
	if raceEnabled {
		t.Log("the race detector allocates too: calls are made, and not counted")
	}
	value := []byte("the value of a key, of some length")
	dst := make([]byte, 0, 256)
	for name, tt := range map[string]struct {
		lines int
		reply string
		want  float64
		call  func(b *Bucket) error
	}{
		"Put": {2, "+OK 5\r\n", 0, func(b *Bucket) error {
			_, err := b.Put(t.Context(), "key", value)
			return err
		}},
		"Delete": {1, "+OK 5\r\n", 0, func(b *Bucket) error {
			_, err := b.Delete(t.Context(), "key")
			return err
		}},
		"Get": {1, entryReply("key", 5, string(value)), 1, func(b *Bucket) error {
			_, err := b.Get(t.Context(), "key")
			return err
		}},
		"GetAppend": {1, entryReply("key", 5, string(value)), 0, func(b *Bucket) error {
			_, _, err := b.GetAppend(t.Context(), dst, "key")
			return err
		}},
	} {
		t.Run(name, func(t *testing.T) {
			c, err := Dial(t.Context(), canned(t, tt.lines, tt.reply), Options{})
			if err != nil {
				t.Fatal(err)
			}
			defer closeClient(t, c)
			b := &Bucket{client: c, name: "b", id: 7}
			got := testing.AllocsPerRun(200, func() {
				if err := tt.call(b); err != nil {
					t.Fatal(err)
				}
			})
			if got > tt.want && !raceEnabled {
				t.Errorf("%v allocations, want %v", got, tt.want)
			}
		})
	}
}

// BenchmarkCanned measures the client alone, against a server that does nothing.
func BenchmarkCanned(b *testing.B) {
	c, err := Dial(b.Context(), canned(b, 1, entryReply("key", 5, string(make([]byte, 128)))), Options{})
	if err != nil {
		b.Fatal(err)
	}
	defer closeClient(b, c)
	bucket := &Bucket{client: c, name: "b", id: 7}
	dst := make([]byte, 0, 256)
	b.ReportAllocs()
	var e kv.Entry
	for b.Loop() {
		if _, e, err = bucket.GetAppend(b.Context(), dst, "key"); err != nil {
			b.Fatal(err)
		}
	}
	if e.Revision != 5 {
		b.Fatalf("entry is %+v", e)
	}
}
