package index

// head holds the versions that a key has from an epoch on: a row, and how many of
// the chain from there on are kept. Where no snapshot needs a head, an entry's top
// is the row itself, and the whole chain is kept. Otherwise top names a head (headBit
// is set). The heads form a list, newest first, that ends with the row that was there
// before. A snapshot takes the first head that is not newer than itself.
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

type heads struct{ pool[head] }

// of returns the head that top names, nil if it is a row.
func (h *heads) of(top uint32) *head {
	if top&headBit == 0 {
		return nil
	}
	return h.pages.at(top &^ headBit)
}

// as returns the row and the number of versions kept that a snapshot of that epoch
// finds under top.
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
