package client

import (
	"io"
	"slices"
	"strings"
	"testing"
)

// FuzzReplies reads any input, whole and in two pieces. Both times the replies are the
// same, and the error after them too.
func FuzzReplies(f *testing.F) {
	f.Add(manyReplies, 100)
	f.Add(entryReply("k", 1, "value")+"+OK 1\n", 30)
	f.Add("-ERR KEY_NOT_FOUND : k\r\n+ENTRY k 1 PUT "+created+" 67108864\r\n", 40)
	f.Add("+ENTRY k 1 PUT "+created+" 99999999\r\n", 3)
	f.Fuzz(func(t *testing.T, text string, split int) {
		if split < 0 || split > len(text) {
			return
		}
		want, wantErr := readAll(strings.NewReader(text))
		got, gotErr := readAll(io.MultiReader(strings.NewReader(text[:split]), strings.NewReader(text[split:])))
		if !slices.Equal(got, want) || gotErr.Error() != wantErr.Error() {
			t.Errorf("split it is %q, then %v; whole %q, then %v", got, gotErr, want, wantErr)
		}
	})
}
