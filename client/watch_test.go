package client

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"kvd/kv"
)

// eventReply is the EVENT of a put.
func eventReply(key string, revision int, delta int, value string) string {
	return fmt.Sprintf("EVENT 1 %s %d PUT %s %d %d\r\n%s\r\n", key, revision, created, delta, len(value), value)
}

// watching returns a session that answers the greeting, reports the bucket's revision,
// expects a WATCH with these options, and then plays the rest.
func watching(revision int, options string, then func(*session)) func(*session) {
	return func(s *session) {
		s.hello()
		s.want("INFO b id=7", strings.ReplaceAll("WATCH 1 b > "+options+" id=7", "  ", " "))
		s.raw(fmt.Sprintf("+INFO b id=7 revision=%d\r\n+OK\r\n", revision))
		then(s)
	}
}

// sends returns the part of a session that sends lines and then hangs up.
func sends(text ...string) func(*session) {
	return func(s *session) { s.raw(strings.Join(text, "")) }
}

// endsWith returns the part of a session that sends lines, the last of which ends the
// watch, and keeps the connection.
func endsWith(text ...string) func(*session) {
	return func(s *session) {
		s.raw(strings.Join(text, ""))
		s.silence()
	}
}

// events describes the events of a watch until it ends, and the reason of the end.
func events(w kv.Watcher) (all []string, err error) {
	for u := range w.Updates() {
		if u.Entry == nil {
			all = append(all, "synced")
			continue
		}
		if errors.Is(u.Err, kv.ErrCorrupt) {
			all = append(all, fmt.Sprintf("%s lost@%d", u.Entry.Key, u.Entry.Revision))
			continue
		}
		all = append(all, fmt.Sprintf("%s=%s@%d", u.Entry.Key, u.Entry.Value, u.Entry.Revision))
	}
	return all, w.Err()
}

const (
	synced   = "SYNCED 1\r\n"
	goneEnd  = "END 1 BUCKET_NOT_FOUND : b\r\n"
	movedEnd = "END 1 SHUTDOWN next=%d : the server is shutting down\r\n"
)

// TestWatchIsResumed plays sessions on one connection after the other. It checks that the
// WATCH of each begins where the one before ended.
func TestWatchIsResumed(t *testing.T) {
	for name, tt := range map[string]struct {
		opts     []kv.WatchOption
		sessions []func(*session)
		want     string
		err      error
	}{
		"after the last entry, once the initial ones were complete": {
			sessions: []func(*session){
				watching(5, "", sends(eventReply("a", 4, 0, "x"), synced, eventReply("a", 6, 0, "y"))),
				watching(8, "from=7", endsWith(eventReply("b", 8, 0, "z"), synced, goneEnd)),
			},
			want: "a=x@4 synced a=y@6 b=z@8", err: kv.ErrBucketNotFound,
		},
		"after the bucket's revision, where nothing matched": {
			sessions: []func(*session){
				watching(1000, "", sends(synced)),
				watching(2000, "from=1001", sends(synced)),
				watching(2001, "from=2001", endsWith(eventReply("a", 2001, 0, "x"), synced, goneEnd)),
			},
			want: "synced a=x@2001", err: kv.ErrBucketNotFound,
		},
		"within the initial entries": {
			sessions: []func(*session){
				watching(9, "", sends(eventReply("a", 4, 2, "x"), eventReply("b", 5, 1, "y"))),
				watching(9, "from=6", endsWith(eventReply("c", 9, 0, "z"), synced, goneEnd)),
			},
			want: "a=x@4 b=y@5 c=z@9 synced", err: kv.ErrBucketNotFound,
		},
		"anew, if nothing was delivered": {
			sessions: []func(*session){
				watching(9, "", sends()),
				watching(9, "", endsWith(eventReply("a", 4, 0, "x"), synced, goneEnd)),
			},
			want: "a=x@4 synced", err: kv.ErrBucketNotFound,
		},
		"without what came already": {
			sessions: []func(*session){
				watching(5, "", sends(eventReply("a", 4, 0, "x"), synced)),
				watching(5, "from=6", endsWith(eventReply("a", 4, 0, "x"), eventReply("a", 3, 0, "x"), synced, eventReply("b", 6, 0, "y"), goneEnd)),
			},
			want: "a=x@4 synced b=y@6", err: kv.ErrBucketNotFound,
		},
		"where the server says, if it is further on": {
			sessions: []func(*session){
				watching(5, "", sends(eventReply("a", 4, 0, "x"), synced, fmt.Sprintf(movedEnd, 77))),
				watching(90, "from=77", sends(fmt.Sprintf(movedEnd, 50))),
				watching(90, "from=77", endsWith(goneEnd)),
			},
			want: "a=x@4 synced", err: kv.ErrBucketNotFound,
		},
		"with its options": {
			opts: []kv.WatchOption{kv.IncludeHistory(), kv.IgnoreDeletes(), kv.MetaOnly()},
			sessions: []func(*session){
				watching(5, "mode=history deletes=no meta=yes", sends(eventReply("a", 4, 0, ""))),
				watching(5, "mode=history from=5 deletes=no meta=yes", endsWith(goneEnd)),
			},
			want: "a=@4", err: kv.ErrBucketNotFound,
		},
		"for updates only, without a signal": {
			opts: []kv.WatchOption{kv.UpdatesOnly()},
			sessions: []func(*session){
				watching(5, "mode=updates", sends()),
				watching(8, "from=6", sends(eventReply("a", 7, 0, "x"))),
				watching(8, "from=8", endsWith(synced, eventReply("a", 8, 0, "y"), goneEnd)),
			},
			want: "a=x@7 a=y@8", err: kv.ErrBucketNotFound,
		},
		"where it was asked to begin": {
			opts: []kv.WatchOption{kv.ResumeFromRevision(30), kv.ResumeBucketID(7)},
			sessions: []func(*session){
				watching(5, "from=30", sends(synced)),
				watching(8, "from=30", endsWith(goneEnd)),
			},
			want: "synced", err: kv.ErrBucketNotFound,
		},
		"after a server that does not want it now": {
			sessions: []func(*session){
				watching(5, "", sends(synced)),
				func(s *session) {
					s.want("HELLO")
					s.say("-ERR TOO_MANY : connections")
				},
				func(s *session) {
					s.hello()
					s.want("INFO b id=7", "WATCH 1 b > from=6 id=7")
					s.say("-ERR SHUTDOWN : the server is shutting down")
				},
				watching(5, "from=6", endsWith(goneEnd)),
			},
			want: "synced", err: kv.ErrBucketNotFound,
		},
		"after an answer that makes no sense": {
			sessions: []func(*session){
				watching(5, "", sends(synced, "what\r\n")),
				watching(5, "from=6", sends("+OK\r\n")),
				watching(5, "from=6", endsWith(goneEnd)),
			},
			want: "synced", err: kv.ErrBucketNotFound,
		},
		"past a value that is damaged": {
			sessions: []func(*session){
				watching(5, "", endsWith("LOST 1 a 4 PUT "+created+" 0 CORRUPT file=f offset=1 detail=d : f at offset 1: d\r\n", synced, eventReply("b", 6, 0, "y"), goneEnd)),
			},
			want: "a lost@4 synced b=y@6", err: kv.ErrBucketNotFound,
		},
		"not, if the revisions are gone": {
			sessions: []func(*session){
				watching(5, "", sends(synced)),
				func(s *session) {
					s.hello()
					s.want("INFO b id=7", "WATCH 1 b > from=6 id=7")
					s.raw("+INFO b id=7 revision=5\r\n-ERR COMPACTED first=90 : revisions below 90 are gone\r\n")
					s.silence()
				},
			},
			want: "synced", err: kv.ErrCompacted,
		},
		"not, if they go meanwhile": {
			sessions: []func(*session){
				watching(5, "", endsWith(synced, "END 1 COMPACTED first=90 : revisions below 90 are gone\r\n")),
			},
			want: "synced", err: kv.ErrCompacted,
		},
		"not, if the bucket is another": {
			sessions: []func(*session){
				watching(5, "", sends(synced)),
				func(s *session) {
					s.hello()
					s.want("INFO b id=7", "WATCH 1 b > from=6 id=7")
					s.raw("-ERR BUCKET_NOT_FOUND : b\r\n-ERR BUCKET_NOT_FOUND : b\r\n")
					s.silence()
				},
			},
			want: "synced", err: kv.ErrBucketNotFound,
		},
		"not, if the server refuses the client": {
			sessions: []func(*session){
				watching(5, "", sends(synced)),
				func(s *session) {
					s.want("HELLO")
					s.raw(strings.Replace(helloReply, "auth=no", "auth=yes", 1) + "\r\n")
				},
			},
			want: "synced", err: ErrAuthRequired,
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := play(t, append([]func(*session){idle}, tt.sessions...)...).bucket(Options{})
				w, err := b.Watch(t.Context(), nil, tt.opts...)
				if err != nil {
					t.Fatal(err)
				}
				got, err := events(w)
				if strings.Join(got, " ") != tt.want {
					t.Errorf("events are %q, want %q", got, tt.want)
				}
				if !errors.Is(err, tt.err) {
					t.Errorf("it ended with %v, want an error that matches %q", err, tt.err)
				}
			})
		})
	}
}

func TestWatchIsRefused(t *testing.T) {
	for answer, want := range map[string]error{
		"-ERR NOT_SUPPORTED : watch":       kv.ErrNotSupported,
		"-ERR COMPACTED first=90 : gone":   kv.ErrCompacted,
		"-ERR DENIED : WATCH in bucket":    ErrDenied,
		"-ERR INVALID_PATTERN : not right": kv.ErrInvalidPattern,
	} {
		b := play(t, idle, func(s *session) {
			s.hello()
			s.want("INFO b id=7", "WATCH 1 b a.*,b id=7")
			s.raw("+INFO b id=7 revision=5\r\n" + answer + "\r\n")
			s.silence()
		}).bucket(Options{})
		if _, err := b.Watch(t.Context(), []string{"a.*", "b"}); !errors.Is(err, want) {
			t.Errorf("error is %v, want one that matches %q", err, want)
		}
	}
}

func TestWatchEnds(t *testing.T) {
	for name, tt := range map[string]struct {
		end  func(cancel context.CancelFunc, b *Bucket, w kv.Watcher) error
		want error
	}{
		"by Stop": {func(_ context.CancelFunc, _ *Bucket, w kv.Watcher) error {
			return errors.Join(w.Stop(), w.Stop())
		}, nil},
		"with its context": {func(cancel context.CancelFunc, _ *Bucket, _ kv.Watcher) error {
			cancel()
			return nil
		}, context.Canceled},
		"with its client": {func(_ context.CancelFunc, b *Bucket, _ kv.Watcher) error {
			return b.client.Close()
		}, kv.ErrClosed},
	} {
		for state, first := range map[string]func(*session){
			"idle":           endsWith(synced),
			"undrained":      endsWith(synced, manyEvents(3*updatesKept)),
			"without server": sends(synced),
		} {
			t.Run(name+"/"+state, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					b := play(t, idle, watching(5, "", first)).bucket(Options{})
					ctx, cancel := context.WithCancel(t.Context())
					defer cancel()
					w, err := b.Watch(ctx, nil)
					if err != nil {
						t.Fatal(err)
					}
					synctest.Wait()
					if err := tt.end(cancel, b, w); err != nil {
						t.Error(err)
					}
					if _, err := events(w); !errors.Is(err, tt.want) {
						t.Errorf("it ended with %v, want %v", err, tt.want)
					}
				})
			})
		}
	}
}

// manyEvents are puts from revision 6 on.
func manyEvents(n int) string {
	var all strings.Builder
	for i := range n {
		all.WriteString(eventReply("k", 6+i, 0, "v"))
	}
	return all.String()
}

// TestUndrainedWatchHoldsUpNobody does not receive from a watch until the server hangs
// up. It makes calls meanwhile, and receives everything afterwards.
func TestUndrainedWatchHoldsUpNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const all = 3 * updatesKept
		b := play(t, answering(func(string) string { return "+OK 5\r\n" }), watching(5, "", func(s *session) {
			s.raw(synced)
			for i := range all {
				if _, err := s.Write([]byte(eventReply("k", 6+i, 0, "v"))); err != nil {
					t.Error("the client hung up")
				}
				if i == 2*updatesKept {
					return // the session hangs up, and the rest is lost
				}
			}
		}), func(s *session) {
			s.hello()
			s.want("INFO b id=7")
			line, _ := s.line()
			var from int
			if n, err := fmt.Sscanf(line, "WATCH 1 b > from=%d id=7", &from); n != 1 {
				t.Errorf("%q: %v", line, err)
			}
			s.raw("+INFO b id=7 revision=500\r\n+OK\r\n")
			for i := from; i < 6+all; i++ {
				s.raw(eventReply("k", i, 0, "v"))
			}
			s.raw(synced + goneEnd)
			s.silence()
		}).bucket(Options{})
		w, err := b.Watch(t.Context(), nil)
		if err != nil {
			t.Fatal(err)
		}
		synctest.Wait() // the watch is blocked
		if rev, err := b.Touch(t.Context(), "k"); rev != 5 || err != nil {
			t.Errorf("beside the watch: revision %d, %v", rev, err)
		}
		got, err := events(w)
		if !errors.Is(err, kv.ErrBucketNotFound) {
			t.Errorf("it ended with %v", err)
		}
		want := []string{"synced"}
		for i := range all {
			want = append(want, fmt.Sprintf("k=v@%d", 6+i))
		}
		if !slices.Equal(got, want) {
			t.Errorf("events are %q, want %q", got, want)
		}
	})
}

func TestWatchAllYieldsTheErrorLast(t *testing.T) {
	b := play(t, idle, watching(5, "", endsWith(eventReply("a", 4, 0, "x"), synced, goneEnd))).bucket(Options{})
	w, err := b.Watch(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for u, err := range w.All() {
		got = append(got, fmt.Sprint(u.Entry != nil, err))
	}
	want := []string{"true <nil>", "false <nil>", "false bucket not found"}
	if !slices.Equal(got, want) {
		t.Errorf("events are %q, want %q", got, want)
	}
}

// TestWatchOfPatternsThatDoNotFit checks that the client watches all keys and filters the
// events itself.
func TestWatchOfPatternsThatDoNotFit(t *testing.T) {
	patterns := []string{"wanted", strings.Repeat("x", 1000), strings.Repeat("y", 1000), strings.Repeat("z", 1000), strings.Repeat("a", 1000)}
	b := play(t, idle,
		watching(5, "", sends(eventReply("wanted", 4, 1, "x"), eventReply("other", 5, 0, "y"), synced, eventReply("other", 6, 0, "z"))),
		watching(7, "from=7", endsWith(eventReply("wanted", 7, 0, "z"), synced, goneEnd)),
	).bucket(Options{})
	w, err := b.Watch(t.Context(), patterns)
	if err != nil {
		t.Fatal(err)
	}
	if got, _ := events(w); strings.Join(got, " ") != "wanted=x@4 synced wanted=z@7" {
		t.Errorf("events are %q", got)
	}
}

// TestWatchWaitsForALostServer has a server that cannot be reached for an hour.
func TestWatchWaitsForALostServer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := play(t, idle, watching(5, "", sends(synced)))
		var told []bool // of the loss of the server; false: that the watch goes on
		b := s.bucket(Options{WatchInterrupted: func(err error) { told = append(told, err != nil) }})
		w, err := b.Watch(t.Context(), nil)
		if err != nil {
			t.Fatal(err)
		}
		if u := <-w.Updates(); u.Entry != nil {
			t.Errorf("first event is %+v", u.Entry)
		}
		<-time.After(time.Hour)
		s.then(watching(6, "from=6", endsWith(eventReply("a", 6, 0, "x"), synced, goneEnd)))
		if got, _ := events(w); strings.Join(got, " ") != "a=x@6" {
			t.Errorf("events are %q", got)
		}
		if !slices.Equal(told, []bool{true, false}) {
			t.Errorf("the caller was told %v", told)
		}
	})
}
