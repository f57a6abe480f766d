package client

import (
	"errors"
	"strings"
	"testing"

	"kvd/kv"
)

// oneOfEach is a transaction with a condition, two branches, and a write and a read of the first.
func oneOfEach() *kv.Txn {
	return &kv.Txn{
		If: []kv.Cond{{Bucket: "b", Key: "k", Is: kv.AtRevision, Revision: 4}},
		Then: kv.Branch{
			Writes: []kv.Mutation{{Bucket: "b", Op: kv.MutatePut, Key: "k", Value: []byte("v")}},
			Reads:  []kv.KeyRef{{Bucket: "c", Key: "l"}},
		},
		Else: kv.Branch{Writes: []kv.Mutation{{Bucket: "b", Op: kv.MutateDelete, Key: "k"}}},
	}
}

// answeringTxn returns a session that reads oneOfEach and sends answer.
func answeringTxn(answer string) func(*session) {
	return func(s *session) {
		s.hello()
		s.want("TXN 1 2 1", "IF b k rev=4", "PUT b k 1", "v", "GET c l", "DEL b k")
		s.raw(strings.ReplaceAll(answer, "\n", "\r\n"))
	}
}

// A transaction whose answer does not come whole may have been carried out. It is not sent again.
func TestTxnIsNeverSentTwice(t *testing.T) {
	const whole = "+TXN then 2 2\n+OK 5\n+NONE l\n+AT b 5\n+AT c 0\n"
	for cut := range len(whole) {
		x := oneOfEach()
		_, err := play(t, answeringTxn(whole[:cut])).client(Options{}).Txn(t.Context(), x)
		outcomeIs(t, err, errHungUp)
		if r := x.Then.Writes[0].Revision; r != 0 {
			t.Errorf("cut at %d: the write has the revision %d", cut, r)
		}
	}
	x := oneOfEach()
	r, err := play(t, answeringTxn(whole)).client(Options{}).Txn(t.Context(), x)
	if err != nil || !r.Then || x.Then.Writes[0].Revision != 5 || r.Entries[0].Key != "l" || r.At["b"] != 5 || len(r.At) != 2 {
		t.Errorf("it returned %+v, %v, and the revision %d", r, err, x.Then.Writes[0].Revision)
	}
}

func TestAnswersThatAreNotOfTheTxn(t *testing.T) {
	for _, answer := range []string{
		"+OK 5\n",
		"+TXN then 1 1\n+OK 5\n+AT b 5\n",
		"+TXN else 2 1\n+OK 5\n+OK 6\n+AT b 6\n",
		"+TXN then 2 1\n+NONE l\n+NONE l\n",
		"+TXN then 2 1\n+OK 5\n+NONE k\n",
		"+TXN then 2 1\n+OK 5\n-ERR CORRUPT : x\n",
		"+TXN then 2 1\n+OK 5\n+NONE l\n+OK 6\n",
	} {
		_, err := play(t, answeringTxn(answer)).client(Options{}).Txn(t.Context(), oneOfEach())
		outcomeIs(t, err, errWrongReply)
	}
}

func TestRefusedLinesOfATxn(t *testing.T) {
	for answer, want := range map[string]kv.TxnError{
		"-ERR BUCKET_NOT_FOUND op=1 : x\n":                         {Part: kv.TxnIf, Op: 0, Err: kv.ErrBucketNotFound},
		"-ERR REVISION_MISMATCH op=2 actual=5 expected=4 : x\n":    {Part: kv.ThenWrite, Op: 0, Err: kv.ErrKeyRevisionMismatch},
		"-ERR CORRUPT op=3 file=f offset=1 detail=d : x\n":         {Part: kv.ThenRead, Op: 0, Err: kv.ErrCorrupt},
		"-ERR INVALID_KEY op=4 name=k at=0 reason=none : x\n":      {Part: kv.ElseWrite, Op: 0, Err: kv.ErrInvalidKey},
		"-ERR CONTENDED : x\n":                                     {Err: kv.ErrContended},
		"-ERR CONTENDED op=5 : more lines than there are\n":        {Err: kv.ErrContended},
		"-ERR CONTENDED op=18446744073709551615 : even more\n":     {Err: kv.ErrContended},
		"-ERR TXN_TOO_LARGE what=x got=2 min=0 max=1 : too many\n": {Err: kv.ErrTxnTooLarge},
	} {
		_, err := play(t, answeringTxn(answer)).client(Options{}).Txn(t.Context(), oneOfEach())
		var refused *kv.TxnError
		if !errors.Is(err, want.Err) || errors.Is(err, kv.ErrOutcomeUnknown) || errors.As(err, &refused) != (want.Part != 0) {
			t.Errorf("%q: error is %v", answer, err)
		} else if refused != nil && (refused.Part != want.Part || refused.Op != want.Op) {
			t.Errorf("%q: it is about %v %d", answer, refused.Part, refused.Op)
		}
	}
}
