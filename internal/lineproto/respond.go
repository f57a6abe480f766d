package lineproto

import (
	"encoding/hex"
	"strconv"
	"strings"

	"kvd/kv"
)

// AppendOK appends +OK.
func AppendOK(dst []byte) []byte { return append(dst, "+OK\r\n"...) }

// AppendNumber appends +OK with a revision or a count.
func AppendNumber(dst []byte, n uint64) []byte { return appendLine(dst, "+OK ", n) }

// AppendEnd appends +END with the number of lines of the listing.
func AppendEnd(dst []byte, count uint64) []byte { return appendLine(dst, "+END ", count) }

// appendSynced appends SYNCED of a watch.
func appendSynced(dst []byte, watch uint64) []byte { return appendLine(dst, "SYNCED ", watch) }

func appendLine(dst []byte, word string, n uint64) []byte {
	return append(strconv.AppendUint(append(dst, word...), n, 10), crlf...)
}

// AppendKey appends +KEY.
func AppendKey(dst []byte, key string) []byte {
	return append(appendKey(append(dst, "+KEY "...), key), crlf...)
}

// AppendBucket appends +BUCKET.
func AppendBucket(dst []byte, name string) []byte {
	return append(append(append(dst, "+BUCKET "...), name...), crlf...)
}

// AppendReclaimed appends +RECLAIMED: the progress of a RECLAIM.
func AppendReclaimed(dst []byte, r *kv.Reclaimed) []byte {
	dst = append(dst, "+RECLAIMED"...)
	for _, n := range []int64{r.Done, r.Total, r.Freed} {
		dst = strconv.AppendInt(append(dst, ' '), max(0, n), 10)
	}
	return append(dst, crlf...)
}

// AppendError appends -ERR. The key is that of the answered command, "" if it has none.
func AppendError(dst []byte, err error, key string) []byte {
	return append(appendFailure(append(dst, "-ERR "...), err, key), crlf...)
}

// EntryHeaderMax returns an upper bound of the bytes that AppendEntryHeader appends for a
// key of that length.
func EntryHeaderMax(key int) int { return 2*key + 192 }

// AppendEntry appends +ENTRY with the entry's value.
func AppendEntry(dst []byte, e *kv.Entry) []byte {
	dst = AppendEntryHeader(dst, e, len(e.Value))
	return append(append(dst, e.Value...), crlf...)
}

// AppendEntryHeader appends the line of +ENTRY. A value of that length and a CRLF have to
// follow.
func AppendEntryHeader(dst []byte, e *kv.Entry, length int) []byte {
	dst = appendRecord(append(dst, "+ENTRY "...), e)
	if e.Delta != 0 {
		dst = appendNumberOption(dst, "delta=", e.Delta)
	}
	return appendEntryEnd(dst, e, length)
}

// AppendUpdate appends EVENT, LOST or SYNCED of a watch.
func AppendUpdate(dst []byte, watch uint64, u *kv.Update) []byte {
	switch {
	case u.Entry == nil:
		return appendSynced(dst, watch)
	case u.Err != nil:
		dst = appendEventRecord(append(dst, "LOST "...), watch, u.Entry)
		return append(appendFailure(append(dst, ' '), u.Err, u.Entry.Key), crlf...)
	}
	e := u.Entry
	dst = appendEventRecord(append(dst, "EVENT "...), watch, e)
	if u.ValueSize > len(e.Value) {
		dst = appendNumberOption(dst, "size=", uint64(u.ValueSize))
	}
	dst = appendEntryEnd(dst, e, len(e.Value))
	return append(append(dst, e.Value...), crlf...)
}

// appendEventRecord appends a watch's number, and a record with its delta.
func appendEventRecord(dst []byte, watch uint64, e *kv.Entry) []byte {
	dst = appendRecord(append(strconv.AppendUint(dst, watch, 10), ' '), e)
	return strconv.AppendUint(append(dst, ' '), e.Delta, 10)
}

// AppendLost appends +LOST: an entry of a history whose value cannot be read, with the
// reason.
func AppendLost(dst []byte, e *kv.Entry, err error) []byte {
	dst = appendRecord(append(dst, "+LOST "...), e)
	if e.Delta != 0 {
		dst = appendNumberOption(dst, "delta=", e.Delta)
	}
	return append(appendFailure(append(dst, ' '), err, e.Key), crlf...)
}

// AppendWatchEnd appends END of a watch. It takes the error that ended the watch, nil if
// the client ended it, and the revision to resume from, 0 if there is none.
func AppendWatchEnd(dst []byte, watch uint64, err error, next kv.Revision) []byte {
	dst = strconv.AppendUint(append(dst, "END "...), watch, 10)
	if err != nil {
		failure := failureString(err)
		if next != 0 {
			code, rest, _ := strings.Cut(failure, " ")
			failure = code + " next=" + strconv.FormatUint(uint64(next), 10) + " " + rest
		}
		dst = append(append(dst, ' '), failure...)
	}
	return append(dst, crlf...)
}

// AppendHello appends +HELLO.
func AppendHello(dst []byte, h *Hello) []byte {
	dst = strconv.AppendInt(append(dst, "+HELLO "...), int64(h.Protocol), 10)
	dst = appendText(append(dst, " server="...), h.Server)
	dst = hex.AppendEncode(append(dst, " store="...), h.StoreID[:])
	dst = append(append(dst, " sync="...), h.Sync.String()...)
	dst = append(append(dst, " auth="...), yesNo(h.Auth)...)
	return append(dst, crlf...)
}

// appendRecord appends key, revision, operation and time.
func appendRecord(dst []byte, e *kv.Entry) []byte {
	dst = append(appendKey(dst, e.Key), ' ')
	dst = append(strconv.AppendUint(dst, uint64(e.Revision), 10), ' ')
	if e.Operation == kv.Purge && e.Reason == kv.ReasonExpiry {
		dst = append(dst, operationExpire...)
	} else {
		dst = append(dst, e.Operation.String()...)
	}
	return appendTime(append(dst, ' '), e.Created)
}

func appendEntryEnd(dst []byte, e *kv.Entry, length int) []byte {
	if !e.Deadline.IsZero() {
		dst = appendTime(append(dst, " deadline="...), e.Deadline)
	}
	return append(strconv.AppendInt(append(dst, ' '), int64(length), 10), crlf...)
}
