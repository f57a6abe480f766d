package backup

import (
	"bytes"
	"fmt"
	"strconv"
)

const (
	blockSize = 512
	endSize   = 2 * blockSize // zeros behind the last entry
)

// Offsets of the fields of a tar header that are not constant; see the package doc.
const (
	tarName = 0
	tarSize = 124
	tarTime = 136
	tarSum  = 148
)

// appendTarHeader appends the header of an entry. The name has less than 100 bytes, size and seconds fit
// 11 octal digits.
func appendTarHeader(dst []byte, name string, size, seconds int64) []byte {
	start := len(dst)
	dst = append(dst, make([]byte, blockSize)...)
	h := dst[start:]
	copy(h[tarName:100], name)
	copy(h[100:], "0000600")
	copy(h[108:], "0000000")
	copy(h[116:], "0000000")
	copy(h[tarSize:], fmt.Sprintf("%011o", size))
	copy(h[tarTime:], fmt.Sprintf("%011o", seconds))
	copy(h[tarSum:], "        ")
	h[156] = '0'
	copy(h[257:], "ustar\x0000")
	copy(h[329:], "0000000")
	copy(h[337:], "0000000")
	sum := 0
	for _, b := range h {
		sum += int(b)
	}
	copy(h[tarSum:], fmt.Sprintf("%06o\x00 ", sum))
	return dst
}

// tarNumber reads an octal number of 11 digits off a header. It is only a claim until the header was
// computed again and compared.
func tarNumber(header []byte, offset int) (int64, bool) {
	n, err := strconv.ParseInt(string(header[offset:offset+11]), 8, 64)
	return n, err == nil && n >= 0
}

// sameTarHeader reports whether a header is that of an entry.
func sameTarHeader(header []byte, name string, size, seconds int64) bool {
	return bytes.Equal(header, appendTarHeader(nil, name, size, seconds))
}

// tarPadding returns how many zeros follow an entry of that size.
func tarPadding(size int64) int { return int(-size & (blockSize - 1)) }
