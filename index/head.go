package index

// head says which versions a key has from an epoch on: a row and how many of
// the chain below it are kept. Where no snapshot can tell the difference an
// entry's top is the row itself, and the whole chain is kept. Otherwise top
// names a head (headBit is set) and the heads form a list, newest first, down
// to the row that was there before: a snapshot takes the first that is not
// newer than itself.
type head struct {
	epoch uint64
	row   uint32
	kept  uint32
	own   uint32 // how many rows from row on were made for this head: no older snapshot sees them
	older uint32 // a head with headBit, or a row
	key   uint32 // the entry
}

const (
	headBit = 1 << 31
	keptAll = 1<<32 - 1
)

// heads is a pool of heads.
type heads struct {
	pages pages[head]
	next  uint32
	free  uint32 // a list through older
	held  int    // heads in use
}

func (h *heads) alloc() uint32 {
	h.held++
	if id := h.free; id != 0 {
		h.free = h.pages.at(id).older
		return id
	}
	if h.next == 0 {
		h.next = 1
	}
	id := h.next
	if id >= h.pages.size() {
		h.pages.grow()
	}
	h.next++
	return id
}

func (h *heads) release(id uint32) {
	*h.pages.at(id) = head{older: h.free}
	h.free = id
	h.held--
}

// of returns the head that top names, nil if it is a row.
func (h *heads) of(top uint32) *head {
	if top&headBit == 0 {
		return nil
	}
	return h.pages.at(top &^ headBit)
}

// as returns the row and the number of versions kept that a snapshot of that
// epoch finds under top.
func (h *heads) as(top uint32, epoch uint64) (row, kept uint32) {
	for top&headBit != 0 {
		w := h.of(top)
		if w.epoch <= epoch {
			return w.row, w.kept
		}
		top = w.older
	}
	return top, keptAll
}
