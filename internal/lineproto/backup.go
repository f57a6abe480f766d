package lineproto

import (
	"encoding/hex"
	"math"
	"strconv"

	"kvd/kv"
)

// AppendData appends +DATA with a part of a backup.
func AppendData(dst, part []byte) []byte {
	dst = append(strconv.AppendInt(append(dst, "+DATA "...), int64(len(part)), 10), crlf...)
	return append(append(dst, part...), crlf...)
}

// AppendTaken appends +END of a backup.
func AppendTaken(dst []byte, t *kv.BackupTaken) []byte {
	dst = strconv.AppendInt(append(dst, "+END "...), t.Size, 10)
	dst = appendNumberOption(dst, "lsn=", t.LSN)
	dst = hex.AppendEncode(append(dst, " sha256="...), t.SHA256[:])
	if t.Damage > 0 {
		dst = appendNumberOption(dst, "damage=", uint64(t.Damage))
	}
	return append(dst, crlf...)
}

// parseEnd reads the options of +END: those of a backup, and of a page of a range.
func (r *Reply) parseEnd(w *words) (ok bool) {
	t := &r.Taken
	t.Size = int64(min(r.Number, math.MaxInt64))
	for w.more {
		word, err := w.nextOption()
		if err != nil {
			return false
		}
		name, value, ok := cutOption(word)
		switch {
		case !ok:
		case string(name) == "lsn":
			t.LSN, ok = parseNumber(value)
		case string(name) == "sha256":
			n, err := hex.Decode(t.SHA256[:], value[:min(len(value), hex.EncodedLen(len(t.SHA256)))])
			ok = err == nil && n == len(t.SHA256) && len(value) == hex.EncodedLen(n)
		case string(name) == "damage":
			var places uint64
			places, ok = parseNumber(value)
			t.Damage = int(min(places, math.MaxInt32))
			ok = ok && places > 0
		case string(name) == "more":
			r.More, ok = parseText(value)
		}
		if !ok {
			return false
		}
	}
	return true
}
