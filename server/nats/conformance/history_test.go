package conformance_test

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/anishathalye/porcupine"
)

// callKind is what a call does.
type callKind uint8

const (
	callGet callKind = iota
	callPut
	callCreate
	callUpdate // if the newest record of the key has the revision call.last
	callDelete // delete; if call.last is not 0, under the same condition
	callPurge
	callKinds
)

func (k callKind) String() string {
	return [...]string{"get", "put", "create", "update", "delete", "purge"}[k]
}

// call is what a client asked for. No two calls of a history have the same value.
type call struct {
	kind  callKind
	key   string
	value string
	last  uint64
}

// reply is what the client was told.
type reply struct {
	outcome  outcome
	value    string // of a get
	revision uint64 // of the record read or written; 0: not told
	newest   uint64 // with refused: the revision of the key's newest record, if told
	told     bool   // newest was told
}

type outcome uint8

const (
	done    outcome = iota
	refused         // not found, exists, or another revision than expected
	unknown         // the connection broke: the write took effect or did not
)

// record is the newest record of a key, as far as the calls before tell.
type record struct {
	present  bool
	value    string
	revision uint64 // 0 with least 0: there is no record
	least    uint64 // not 0: the revision is not known, and it is this or a higher one
}

// at returns the record if its revision can be r.
func (s record) at(r uint64) []record {
	switch {
	case s.least == 0 && s.revision == r:
		return []record{s}
	case s.least != 0 && r >= s.least:
		return []record{{present: s.present, value: s.value, revision: r}}
	}
	return nil
}

// mayNotBe reports whether the record's revision can be another than r.
func (s record) mayNotBe(r uint64) bool { return s.least != 0 || s.revision != r }

// next returns the record that a write puts in the place of s; revision 0: it is not known.
func (s record) next(c *call, revision uint64) []record {
	least := max(s.least, s.revision) + 1
	if revision != 0 && revision < least {
		return nil
	}
	n := record{present: c.kind < callDelete, value: c.value, revision: revision}
	if revision == 0 {
		n.least = least
	}
	return []record{n}
}

// admits returns the states in which s lets the write of c take effect.
func (s record) admits(c *call) []record {
	switch {
	case c.kind == callCreate && s.present:
		return nil
	case c.kind == callUpdate || c.kind == callDelete && c.last != 0:
		return s.at(c.last)
	}
	return []record{s}
}

// step returns the states of a key after a call; none if the reply is impossible in s.
func step(s record, c *call, r *reply) (after []record) {
	switch {
	case c.kind == callGet && r.outcome == done:
		if !s.present || s.value != r.value {
			return nil
		}
		return s.at(r.revision)
	case c.kind == callGet:
		if s.present {
			return nil
		}
		return []record{s}
	case r.outcome == refused:
		return refuses(s, c, r)
	}
	for _, before := range s.admits(c) {
		after = append(after, before.next(c, r.revision)...)
	}
	if r.outcome == unknown {
		after = append(after, s)
	}
	return after
}

// refuses returns the states of a key after a write that was refused.
func refuses(s record, c *call, r *reply) []record {
	if c.kind == callCreate && !s.present || c.kind != callCreate && !s.mayNotBe(c.last) {
		return nil
	}
	if r.told {
		return s.at(r.newest)
	}
	return []record{s}
}

// model is a key of a bucket. What happens to other keys does not matter.
var model = (&porcupine.NondeterministicModel{
	Init: func() []any { return []any{record{}} },
	Step: func(state, in, out any) (after []any) {
		for _, s := range step(state.(record), in.(*call), out.(*reply)) {
			after = append(after, s)
		}
		return after
	},
	Partition:         byKey,
	DescribeOperation: func(in, out any) string { return fmt.Sprintf("%+v: %+v", *in.(*call), *out.(*reply)) },
}).ToModel()

func byKey(history []porcupine.Operation) [][]porcupine.Operation {
	keys := map[string][]porcupine.Operation{}
	for _, o := range history {
		key := o.Input.(*call).key
		keys[key] = append(keys[key], o)
	}
	return slices.Collect(maps.Values(keys))
}

// check returns an error unless the calls on one bucket, whose newest revision is last, can
// have happened one after the other, each at a moment between its call and its return.
func check(history []porcupine.Operation, last uint64) error {
	if err := checkRevisions(history, last); err != nil {
		return err
	}
	for _, calls := range byKey(history) {
		if !porcupine.CheckOperations(model, calls) {
			return fmt.Errorf("the calls on key %q are not linearizable:\n%s", calls[0].Input.(*call).key, describe(calls))
		}
	}
	return nil
}

// describe lists the calls around the first at which no order is possible.
func describe(calls []porcupine.Operation) string {
	slices.SortFunc(calls, func(a, b porcupine.Operation) int { return cmp.Compare(a.Return, b.Return) })
	good, bad := 0, len(calls) // calls[:good] are linearizable, and calls[:bad] are not
	for bad-good > 1 {
		middle := (good + bad) / 2
		if porcupine.CheckOperations(model, calls[:middle]) {
			good = middle
		} else {
			bad = middle
		}
	}
	var text strings.Builder
	for _, o := range calls[max(0, bad-12):bad] {
		fmt.Fprintf(&text, "  client %2d  %6d to %6d  %+v  %+v\n", o.ClientId, o.Call, o.Return, *o.Input.(*call), *o.Output.(*reply))
	}
	return text.String()
}

// checkRevisions checks the revisions over all keys: no two writes have the same; a write
// that began after another one's end has the higher one; and each revision without a known
// write belongs to a write whose outcome or revision is not known.
func checkRevisions(history []porcupine.Operation, last uint64) error {
	var writes []porcupine.Operation
	open := 0 // writes that may have a revision that nobody was told
	for _, o := range history {
		c, r := o.Input.(*call), o.Output.(*reply)
		switch {
		case c.kind == callGet || r.outcome == refused:
		case r.revision == 0:
			open++
		default:
			writes = append(writes, o)
		}
	}
	revision := func(o porcupine.Operation) uint64 { return o.Output.(*reply).revision }
	slices.SortFunc(writes, func(a, b porcupine.Operation) int { return cmp.Compare(revision(a), revision(b)) })
	began := int64(0) // the latest begin of the writes so far
	for i, o := range writes {
		if i > 0 && revision(writes[i-1]) == revision(o) {
			return fmt.Errorf("two writes have revision %d", revision(o))
		}
		if o.Return < began {
			return fmt.Errorf("revision %d was answered before a write with a lower one began", revision(o))
		}
		began = max(began, o.Call)
	}
	if n := len(writes); n > 0 && revision(writes[n-1]) > last {
		return fmt.Errorf("revision %d was answered, and the newest is %d", revision(writes[n-1]), last)
	}
	if missing := int64(last) - int64(len(writes)); missing > int64(open) {
		return fmt.Errorf("%d revisions up to %d are of no known write, and %d writes have an unknown outcome or revision", missing, last, open)
	}
	return nil
}

// TestCheck gives the checker histories that are possible and others that are not.
func TestCheck(t *testing.T) {
	type op struct {
		from, to int64
		call     call
		reply    reply
	}
	a := func(k callKind, value string, last uint64) call {
		return call{kind: k, key: "a", value: value, last: last}
	}
	ok := func(revision uint64) reply { return reply{revision: revision} }
	read := func(value string, revision uint64) reply { return reply{value: value, revision: revision} }
	for _, c := range []struct {
		name     string
		last     uint64
		history  []op
		possible bool
	}{
		{"reads see writes", 2, []op{{1, 2, a(callPut, "x", 0), ok(1)}, {3, 4, a(callPut, "y", 0), ok(2)}, {5, 6, a(callGet, "", 0), read("y", 2)}}, true},
		{"a stale read", 2, []op{{1, 2, a(callPut, "x", 0), ok(1)}, {3, 4, a(callPut, "y", 0), ok(2)}, {5, 6, a(callGet, "", 0), read("x", 1)}}, false},
		{"a read of a write under way", 2, []op{{1, 2, a(callPut, "x", 0), ok(1)}, {3, 6, a(callPut, "y", 0), ok(2)}, {4, 5, a(callGet, "", 0), read("y", 2)}}, true},
		{"two reads that go back", 2, []op{
			{1, 2, a(callPut, "x", 0), ok(1)}, {3, 20, a(callPut, "y", 0), ok(2)},
			{4, 5, a(callGet, "", 0), read("y", 2)}, {6, 7, a(callGet, "", 0), read("x", 1)},
		}, false},
		{"a lost write", 1, []op{{1, 2, a(callPut, "x", 0), ok(1)}, {3, 4, a(callGet, "", 0), reply{outcome: refused}}}, false},
		{"an unknown write that took effect", 1, []op{{1, 9, a(callPut, "x", 0), reply{outcome: unknown}}, {10, 11, a(callGet, "", 0), read("x", 1)}}, true},
		{"an unknown write without effect", 0, []op{{1, 9, a(callPut, "x", 0), reply{outcome: unknown}}, {10, 11, a(callGet, "", 0), reply{outcome: refused}}}, true},
		{"an unknown write that comes and goes", 1, []op{
			{1, 9, a(callPut, "x", 0), reply{outcome: unknown}},
			{10, 11, a(callGet, "", 0), read("x", 1)}, {12, 13, a(callGet, "", 0), reply{outcome: refused}},
		}, false},
		{"an unknown write after its process", 1, []op{
			{1, 9, a(callPut, "x", 0), reply{outcome: unknown}},
			{10, 11, a(callGet, "", 0), reply{outcome: refused}}, {12, 13, a(callGet, "", 0), read("x", 1)},
		}, false},
		{"an update of an old revision", 3, []op{
			{1, 2, a(callPut, "x", 0), ok(1)}, {3, 4, a(callPut, "y", 0), ok(2)}, {5, 6, a(callUpdate, "z", 1), ok(3)},
		}, false},
		{"two updates of one revision", 3, []op{
			{1, 2, a(callPut, "x", 0), ok(1)}, {3, 9, a(callUpdate, "y", 1), ok(2)}, {3, 9, a(callUpdate, "z", 1), ok(3)},
		}, false},
		{"an update refused without a reason", 1, []op{{1, 2, a(callPut, "x", 0), ok(1)}, {3, 4, a(callUpdate, "y", 1), reply{outcome: refused}}}, false},
		{"an update told of an older revision", 2, []op{
			{1, 2, a(callPut, "x", 0), ok(1)}, {3, 4, a(callPut, "y", 0), ok(2)}, {5, 6, a(callUpdate, "z", 7), reply{outcome: refused, newest: 1, told: true}},
		}, false},
		{"a create over a value", 2, []op{{1, 2, a(callPut, "x", 0), ok(1)}, {3, 4, a(callCreate, "y", 0), ok(2)}}, false},
		{"a create after a delete", 3, []op{{1, 2, a(callPut, "x", 0), ok(1)}, {3, 4, a(callDelete, "", 0), reply{}}, {5, 6, a(callCreate, "y", 0), ok(3)}}, true},
		{"a delete without effect", 2, []op{{1, 2, a(callPut, "x", 0), ok(1)}, {3, 4, a(callDelete, "", 0), reply{}}, {5, 6, a(callGet, "", 0), read("x", 1)}}, false},
		{"a revision twice", 1, []op{{1, 2, a(callPut, "x", 0), ok(1)}, {3, 4, call{kind: callPut, key: "b", value: "y"}, ok(1)}}, false},
		{"revisions against the time", 2, []op{{1, 2, a(callPut, "x", 0), ok(2)}, {3, 4, call{kind: callPut, key: "b", value: "y"}, ok(1)}}, false},
		{"a write that happened twice", 2, []op{{1, 2, a(callPut, "x", 0), ok(2)}}, false},
	} {
		t.Run(strings.ReplaceAll(c.name, " ", "_"), func(t *testing.T) {
			var history []porcupine.Operation
			for i, o := range c.history {
				history = append(history, porcupine.Operation{ClientId: i, Input: &o.call, Call: o.from, Output: &o.reply, Return: o.to})
			}
			if err := check(history, c.last); (err == nil) != c.possible {
				t.Errorf("possible: %t, want %t: %v", err == nil, c.possible, err)
			}
		})
	}
}
