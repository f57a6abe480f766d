package feed

import (
	"errors"
	"fmt"
	"testing"

	"kvd/kv"
)

func TestAllEndsWithTheError(t *testing.T) {
	broken := errors.New("broken")
	for _, tt := range []struct {
		name string
		stop bool
		err  error
		want string
	}{
		{"an error", false, broken, "[1 2 broken]"},
		{"no error", false, nil, "[1 2]"},
		{"a stop before an error", true, broken, "[1 2]"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			updates := make(chan kv.Update, 2)
			f := New(updates)
			updates <- kv.Update{ValueSize: 1}
			updates <- kv.Update{ValueSize: 2}
			if f.Err() != nil {
				t.Errorf("before the end: %v", f.Err())
			}
			if tt.stop {
				f.SetStopped()
			}
			f.End(tt.err)
			got := []any{}
			for u, err := range f.All() {
				if err != nil {
					got = append(got, err)
				} else {
					got = append(got, u.ValueSize)
				}
			}
			if fmt.Sprint(got) != tt.want {
				t.Errorf("events are %v, want %s", got, tt.want)
			}
			if _, open := <-f.Updates(); open {
				t.Error("the channel is open")
			}
		})
	}
}

func TestTheLoopOverAllMayBreak(t *testing.T) {
	updates := make(chan kv.Update, 2)
	f := New(updates)
	updates <- kv.Update{ValueSize: 1}
	updates <- kv.Update{ValueSize: 2}
	f.End(errors.New("broken"))
	for range f.All() {
		break
	}
	if u := <-f.Updates(); u.ValueSize != 2 {
		t.Errorf("the next event is %+v", u)
	}
}
