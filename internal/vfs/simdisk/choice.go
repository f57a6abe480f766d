package simdisk

import "encoding/binary"

// Choice decides what a power cut leaves. The functions run under the disk's
// lock and must not call it.
type Choice struct {
	// Decide is asked about every pending item, in the order of issue. Of two
	// writes of one sector that are both kept, the later counts, as on a disk.
	// nil loses everything.
	Decide func(Item) Verdict

	// Stale, if not nil, fills a sector beyond the durable end of its file whose
	// bytes were lost, in case the file's size was kept. Otherwise it is zeros.
	Stale func(it Item, sector []byte)

	pageCache bool
}

// KeepAll is no power cut but the end of the process: everything that could be
// read is there, and the system had the time to write it to the disk. Other than
// all items kept, this includes bytes that a failed Sync left in the page cache.
// [Disk.Clone] leaves them pending.
func KeepAll() Choice { return Choice{pageCache: true} }

// KeepNone leaves what was synced and nothing else.
func KeepNone() Choice { return Choice{} }

// Prefix keeps the first k pending items.
func Prefix(k int) Choice {
	return keepIf(func(it Item) bool { return it.Index < k })
}

// AllBut loses the k-th pending item, from 0, and keeps the others.
func AllBut(k int) Choice {
	return keepIf(func(it Item) bool { return it.Index != k })
}

// Only keeps the k-th pending item, from 0, and loses the others.
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

// Odds describes a random power cut.
type Odds struct {
	Keep  float64 // how probable it is that an item is kept, 0 to 1
	Torn  float64 // of the blocks kept, how many are torn at a random byte, 0 to 1
	Ruin  float64 // of the blocks lost, how many are ruined, 0 to 1
	Block int     // bytes that are kept or lost together: a multiple of SectorSize, 0 is SectorSize
	Stale bool    // random bytes instead of zeros where a size was kept and the bytes lost
}

// Random is a power cut of random odds: few, half or most items kept, none or
// some torn, by 512 bytes or 4 KiB. The same seed decides the same.
func Random(seed uint64) Choice {
	r := mix(seed)
	return Odds{
		Keep:  [4]float64{0.1, 0.5, 0.9, 0.99}[r&3],
		Torn:  [4]float64{0, 0, 0.05, 0.3}[r>>2&3],
		Block: [2]int{SectorSize, pageSize}[r>>4&1],
	}.Choice(seed)
}

// Choice returns the power cut of these odds that belongs to the seed. It holds
// no state: an item's fate depends on the seed and the item alone.
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

// decide returns the fate of the sector at offset off of a block of that size,
// from the block's hash. A torn block keeps its bytes before or after a cut.
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

// below reports whether a hash falls among the share p of all hashes.
func below(h uint64, p float64) bool { return float64(h>>11) < p*(1<<53) }

// mix is a bijection whose output bits each depend on every input bit: the
// finalizer of MurmurHash3, after a step that takes 0 away from itself.
func mix(x uint64) uint64 {
	x += 0x9e3779b97f4a7c15
	x = (x ^ x>>33) * 0xff51afd7ed558ccd
	x = (x ^ x>>33) * 0xc4ceb9fe1a85ec53
	return x ^ x>>33
}
