//go:build linux

package main

import "testing"

func TestRepliesAreCutAtTheirEnd(t *testing.T) {
	for name, c := range map[string]struct {
		dialect dialect
		replies []string
	}{
		"line": {lineDialect, []string{"+OK 17\r\n", "+ENTRY k 3 PUT 2026-11-22T18:00:00Z 4\r\na\r\nb\r\n", "+ENTRY k 3 PUT 2026-11-22T18:00:00Z 0\r\n\r\n"}},
		"resp": {respDialect, []string{"+OK\r\n", "$4\r\na\r\nb\r\n", "$0\r\n\r\n"}},
	} {
		for _, r := range c.replies {
			for cut := range r {
				if n, err := c.dialect.reply([]byte(r[:cut])); n != 0 || err != nil {
					t.Errorf("%s: %q of %q are a reply of %d bytes, %v", name, r[:cut], r, n, err)
				}
			}
			if n, err := c.dialect.reply([]byte(r + r)); n != len(r) || err != nil {
				t.Errorf("%s: %q has %d bytes, %v", name, r, n, err)
			}
		}
	}
	for name, reply := range map[string]func([]byte) (int, error){
		"-ERR KEY_NOT_FOUND : k\r\n": lineReply, "-ERR\r\n": respReply, "$-1\r\n": respReply,
	} {
		if _, err := reply([]byte(name)); err == nil {
			t.Errorf("%q was not refused", name)
		}
	}
}
