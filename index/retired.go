package index

// retired is a row, entry or head that snapshots may still see. It is freed once every
// snapshot older than the epoch is released.
type retired struct {
	epoch uint64
	ref   uint32
	what  what
}

type what uint8

const (
	retiredRow what = iota
	retiredKey
	retiredHead
	headToUnlink // every snapshot sees this head or a newer one; see unlinkHead
)

// retirees is a queue of retired items, in order of epochs.
type retirees struct {
	first, last *retireeChunk
	from        int // in first
	chunks      int
}

type retireeChunk struct {
	items [255]retired
	n     int
	next  *retireeChunk
}

const retireeChunkSize = 4096

func (q *retirees) empty() bool { return q.first == nil }

func (q *retirees) push(r retired) {
	if q.last == nil || q.last.n == len(q.last.items) {
		c := new(retireeChunk)
		if q.last == nil {
			q.first, q.from = c, 0
		} else {
			q.last.next = c
		}
		q.last = c
		q.chunks++
	}
	q.last.items[q.last.n] = r
	q.last.n++
}

// head returns the oldest; the queue must not be empty.
func (q *retirees) head() retired { return q.first.items[q.from] }

func (q *retirees) pop() {
	q.from++
	if q.from < q.first.n {
		return
	}
	q.first, q.from = q.first.next, 0
	q.chunks--
	if q.first == nil {
		q.last = nil
	}
}
