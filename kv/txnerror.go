package kv

import "fmt"

// TxnError is a transaction that was refused because of one of its conditions, writes or
// reads. It matches what Err matches. A *[RevisionMismatchError] of a write names the newest
// revision without the writes of the transaction, since none of them was done.
type TxnError struct {
	Part TxnPart
	Op   int  // of the part, from 0
	Done bool // the transaction was carried out: only the value of a read is damaged
	Err  error
}

// TxnPart is a list of a [Txn].
type TxnPart uint8

// The parts of a transaction.
const (
	TxnIf     TxnPart = iota + 1 // Txn.If
	ThenWrite                    // Txn.Then.Writes
	ThenRead                     // Txn.Then.Reads
	ElseWrite                    // Txn.Else.Writes
	ElseRead                     // Txn.Else.Reads
)

// String returns what an element of the part is, such as "write of then".
func (p TxnPart) String() string {
	names := [...]string{"", "condition", "write of then", "read of then", "write of else", "read of else"}
	if p == 0 || int(p) >= len(names) {
		return fmt.Sprintf("TxnPart(%d)", uint8(p))
	}
	return names[p]
}

func (e *TxnError) Error() string {
	outcome := "nothing was written"
	if e.Done {
		outcome = "the transaction was carried out"
	}
	return fmt.Sprintf("transaction: %v %d: %v; %s", e.Part, e.Op+1, e.Err, outcome)
}

// Unwrap returns Err.
func (e *TxnError) Unwrap() error { return e.Err }
