package lineproto_test

import (
	"errors"
	"fmt"

	"kvd/internal/lineproto"
	"kvd/kv"
)

func Example() {
	// The client sends a command.
	line, err := lineproto.AppendCommand(nil, &lineproto.Command{
		Verb: lineproto.VerbUpdate, Bucket: "my-kv", Key: "Key1", Revision: 1, Value: []byte("Value2"),
	})
	fmt.Printf("%q %v\n", line, err)

	// The server parses the bytes that have arrived, and later all of them.
	var c lineproto.Command
	need, err := lineproto.ParseCommand(line[:len(line)-5], &c)
	fmt.Println(err, len(line)-need)
	_, err = lineproto.ParseCommand(line, &c)
	fmt.Println(c.Verb, c.Bucket, c.Key, c.Revision, string(c.Value), err)

	// It answers with an error, which matches the same sentinel at the client.
	answer := lineproto.AppendError(nil, &kv.RevisionMismatchError{Bucket: c.Bucket, Key: c.Key, Want: 1, Got: 2}, c.Key)
	fmt.Printf("%q\n", answer)
	var r lineproto.Reply
	if _, err := lineproto.ParseReply(answer, &r); err != nil {
		fmt.Println(err)
	}
	err = r.Err("my-kv", "Key1")
	fmt.Println(errors.Is(err, kv.ErrKeyRevisionMismatch), err)

	// Output:
	// "UPDATE my-kv Key1 1 6\r\nValue2\r\n" <nil>
	// incomplete 0
	// UPDATE my-kv Key1 1 Value2 <nil>
	// "-ERR REVISION_MISMATCH actual=2 expected=1 : Key1 is at revision 2, expected 1\r\n"
	// true key revision mismatch: "Key1" in bucket "my-kv" is at revision 2, expected 1
}
