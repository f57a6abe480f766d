package kvtest

import (
	"errors"
	"slices"
	"strings"

	"kvd/kv"
)

// goodKeys are within the rules, and all different.
var goodKeys = []string{
	"a", "A", "0", "-", "_", "/", "=",
	"a.b", "a.b.c", "a-b", "a/b", "a=b", "a_b",
	"/a", "a/", "a//b", "==", "a.-", "-.a",
	"0.1.2.3.4.5.6.7.8.9",
	"ABCDEFGHIJKLMNOPQRSTUVWXYZ.abcdefghijklmnopqrstuvwxyz.0123456789/_=-",
}

// wideKeys are within the rules too, but beyond what NATS' clients check.
var wideKeys = []string{
	"user:1", "a,b", `a\b`, "a@b", "a%b", "a*", "*a.b>c", "**.>>",
	`"`, `"a"`, `"a`, `a"b`, `"a,b"`, `\u0041`,
	"schlüssel", "ключ.鍵.🔑", "a\u00a0b", "\u202ea", "\uFFFD", "<b>&amp;'",
}

// badKeys maps keys outside the rules to the offending byte.
var badKeys = map[string]int{
	"":                                     -1,
	strings.Repeat("k", kv.MaxKeySize+1):   -1,
	strings.Repeat("k", 100*kv.MaxKeySize): -1,
	".":                                    0,
	"..":                                   0,
	".a":                                   0,
	"a.":                                   1,
	"a..b":                                 2,
	"a.b..":                                4,
	"a b":                                  1,
	" ":                                    0,
	"*":                                    0,
	"a.*":                                  2,
	">":                                    0,
	"a.>":                                  2,
	"a\x00":                                1,
	"a\r\nb":                               1,
	"\tb":                                  0,
	"a\x7f":                                1,
	"a.\u0085":                             2,
	"\u009b1m":                             0,
	"a\xff":                                1,
	"a.b.c d":                              5,
}

// keyFacts are about valid and invalid keys.
var keyFacts = []fact{
	{"every key within the rules is a key of its own", func(t *trial) {
		b := t.bucket(1)
		for _, key := range goodKeys {
			t.put(b, key, key)
		}
		for _, key := range goodKeys {
			t.holds(b, key, key)
			equal(t, "key of the entry", t.get(b, key).Key, key)
		}
	}},
	{"every key that NATS' subjects allow is a key of its own", func(t *trial) {
		if t.differs(NarrowKeys) {
			return
		}
		b := t.logged(1)
		w := b.watch(">")
		w.end()
		for _, key := range wideKeys {
			t.put(b, key, key)
			equal(t, "key of the event", w.next().Entry.Key, key)
			equal(t, "key of the entry", t.get(b, key).Key, key)
			t.holds(b, key, key)
			t.lists(t.keys(b, key, "nothing,"), key)
		}
		t.lists(t.keys(b), slices.Sorted(slices.Values(wideKeys))...)
	}},
	{"a bad key is refused by every method, with the offending byte", func(t *trial) {
		b := t.bucket(1)
		for key, offset := range badKeys {
			for _, c := range keyCalls {
				var bad *kv.NameError
				if err := c.call(t.ctx, b, key); !errors.As(err, &bad) || !errors.Is(err, kv.ErrInvalidKey) {
					t.Fatalf("%s(%.40q): error is %v, want a NameError of a key", c.name, key, err)
				}
				if bad.Offset != offset {
					t.Fatalf("%s(%.40q): offending byte is %d, want %d", c.name, key, bad.Offset, offset)
				}
			}
		}
		equal(t, "revision", t.status(b).Revision, 0)
	}},
	{"a key of 1,024 bytes is accepted", func(t *trial) {
		b := t.bucket(1)
		long := strings.Repeat("k", kv.MaxKeySize)
		t.put(b, long, "v")
		t.holds(b, long, "v")
		t.lists(t.keys(b), long)
		t.absent(b, long[1:])
	}},
	{"a key of many tokens is accepted", func(t *trial) {
		b := t.bucket(1)
		key := strings.Repeat("t.", 200) + "t"
		t.put(b, key, "v")
		t.holds(b, key, "v")
		t.lists(t.keys(b, strings.Repeat("*.", 200)+"*"), key)
	}},
	{"a key is not its prefix", func(t *trial) {
		b := t.bucket(1)
		t.put(b, "a.b", "v")
		for _, other := range []string{"a", "a.b.c", "a.c", "A.b", "a/b", "b"} {
			t.absent(b, other)
		}
	}},
}
