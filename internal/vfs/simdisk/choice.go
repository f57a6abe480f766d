package simdisk

import "encoding/binary"

// Choice decides what a power cut leaves. Its functions run under the disk's lock
// and must not call the disk.
type Choice struct {
	// Decide is called for every pending item, in the order of issue. If two writes
	// of one sector are both kept, the later one counts, as on a disk. A nil Decide
	// loses everything.
	Decide func(Item) Verdict

	// Stale, if not nil, fills a sector beyond the durable end of its file whose bytes
	// were lost, in case the file's size was kept. Without Stale it reads as zeros.
	Stale func(it Item, sector []byte)

	pageCache bool
}

// KeepAll is the end of the process and no power cut: the image has every byte that
// could be read, because the system had the time to write it to the disk. Unlike a
// Choice that keeps all items, it includes bytes that a failed Sync left in the page
// cache. [Disk.Clone] leaves them pending.
func KeepAll() Choice { return Choice{pageCache: true} }

// KeepNone keeps only what was synced.
func KeepNone() Choice { return Choice{} }

// Prefix keeps the first k pending items.
func Prefix(k int) Choice {
	return keepIf(func(it Item) bool { return it.Index < k })
}

// AllBut loses the k-th pending item, counted from 0, and keeps the others.
func AllBut(k int) Choice {
	return keepIf(func(it Item) bool { return it.Index != k })
}

// Only keeps the k-th pending item, counted from 0, and loses the others.
func Only(k int) Choice {
	return keepIf(func(it Item) bool { return it.Index == k })
}

func keepIf(keep func(Item) bool) Choice {
	return Choice{Decide: func(it Item) Verdict {
		if keep(it) {
			return Keep
		}
		return Lose
	}}
}

// Odds are the probabilities of a random power cut.
type Odds struct {
	Keep  float64 // probability that an item is kept, 0 to 1
	Torn  float64 // fraction of the kept blocks that are torn at a random byte, 0 to 1
	Ruin  float64 // fraction of the lost blocks that are ruined, 0 to 1
	Block int     // bytes that are kept or lost together: a multiple of SectorSize; 0 means SectorSize
	Stale bool    // random bytes instead of zeros where the size was kept and the bytes were lost
}

// Random is a power cut with random odds: few, half or most items are kept, and none
// or some are torn, in blocks of 512 bytes or 4 KiB. The same seed gives the same
// decisions.
func Random(seed uint64) Choice {
	r := mix(seed)
	return Odds{
		Keep:  [4]float64{0.1, 0.5, 0.9, 0.99}[r&3],
		Torn:  [4]float64{0, 0, 0.05, 0.3}[r>>2&3],
		Block: [2]int{SectorSize, pageSize}[r>>4&1],
	}.Choice(seed)
}

// Choice returns the power cut with these odds for the seed. It has no state: each
// decision depends on the seed and the item alone.
func (o Odds) Choice(seed uint64) Choice {
	perBlock := int64(max(o.Block/SectorSize, 1))
	c := Choice{Decide: func(it Item) Verdict {
		if it.Kind != SectorItem {
			return o.decide(mix(seed^mix(uint64(it.Index))), 0, 0)
		}
		block := it.Sector / perBlock
		h := mix(seed ^ mix(uint64(it.Call)<<32^uint64(block)))
		return o.decide(h, int(it.Sector%perBlock)*SectorSize, int(perBlock)*SectorSize)
	}}
	if o.Stale {
		c.Stale = func(it Item, sector []byte) {
			h := mix(seed ^ mix(uint64(it.Index)))
			for i := 0; i+8 <= len(sector); i += 8 {
				h = mix(h)
				binary.LittleEndian.PutUint64(sector[i:], h)
			}
		}
	}
	return c
}

// decide returns the verdict for the sector at offset off of a block of the given
// size, from the block's hash. A torn block keeps its bytes before or after a cut.
func (o Odds) decide(h uint64, off, blockSize int) Verdict {
	if !below(h, o.Keep) {
		if blockSize != 0 && below(mix(h), o.Ruin) {
			return Ruin
		}
		return Lose
	}
	h = mix(h)
	if blockSize == 0 || !below(h, o.Torn) {
		return Keep
	}
	h = mix(h)
	cut := min(max(int(h>>1%uint64(blockSize))-off, 0), SectorSize)
	if h&1 == 0 {
		return Torn(0, cut)
	}
	return Torn(cut, SectorSize)
}

// below is true for the fraction p of all hashes.
func below(h uint64, p float64) bool { return float64(h>>11) < p*(1<<53) }

// mix is a bijection whose output bits each depend on every input bit: the
// finalizer of MurmurHash3, after a step that takes 0 away from itself.
func mix(x uint64) uint64 {
	x += 0x9e3779b97f4a7c15
	x = (x ^ x>>33) * 0xff51afd7ed558ccd
	x = (x ^ x>>33) * 0xc4ceb9fe1a85ec53
	return x ^ x>>33
}
