package simdisk

import (
	"bytes"
	"fmt"
	"slices"
)

// Pending returns the number of items that a power cut may lose now, each of them
// independently. Items are numbered from 0 over the whole disk, in the order of issue.
func (m *Disk) Pending() int {
	m.mu.RLock()
	defer m.mu.RUnlock()
	return m.items
}

// Crash returns the disk as it is after a power cut. c decides which pending items
// the power cut keeps. Everything on the returned disk is durable and nothing is
// locked. It is independent of m, which does not change.
//
// The cost depends on the number of files and pending items, and on the pages that
// they touch.
func (m *Disk) Crash(c Choice) *Disk {
	m.mu.Lock()
	defer m.mu.Unlock()
	im := m.newImage(c)
	from := durable
	if c.pageCache {
		from = live
	}
	im.faces = []copied{{from, durable}}
	im.disk.root = im.twin(m.root)
	if !c.pageCache && (c.Decide != nil || c.Stale != nil) {
		for e := m.pending.Front(); e != nil; e = e.Next() {
			e.Value.(change).crash(im)
			im.call++
		}
	}
	im.makeLive()
	return im.disk
}

// Clone returns an independent copy of the disk with all its pending items. This is
// the disk after the process was killed: the page cache survives, locks and open
// files do not. A power cut may follow.
func (m *Disk) Clone() *Disk {
	m.mu.Lock()
	defer m.mu.Unlock()
	im := m.newImage(Choice{})
	im.faces = []copied{{live, live}, {durable, durable}}
	im.disk.root = im.twin(m.root)
	for e := m.pending.Front(); e != nil; e = e.Next() {
		im.copyChange(e.Value.(change))
	}
	im.count()
	return im.disk
}

// image is a disk that is being made. Its nodes are copies (twins) of the source's.
type image struct {
	disk   *Disk
	choice Choice
	stamp  uint64 // marks the twins of this image
	faces  []copied
	twins  []*node
	index  int                // number of the next item
	call   int                // number of the change whose items are next
	stale  map[sectorKey]bool // sectors beyond a file's durable end that have content
}

// copied says which face of a node is copied to which face of its twin.
type copied struct{ from, to view }

type sectorKey struct {
	file   *node
	sector int64
}

func (m *Disk) newImage(c Choice) *image {
	m.stamp++
	return &image{disk: &Disk{capacity: m.capacity, copies: m.copies}, choice: c, stamp: m.stamp}
}

// twin returns the image's copy of n. The first call makes the copy. After a power
// cut a node without a durable name starts without a name.
func (im *image) twin(n *node) *node {
	if n == nil || n.twin.stamp == im.stamp {
		return twinOf(n)
	}
	t := &node{dir: n.dir, path: n.path}
	n.twin.stamp, n.twin.node = im.stamp, t
	im.twins = append(im.twins, t)
	for _, f := range im.faces {
		from, to := &n.faces[f.from], &t.faces[f.to]
		to.content = from.content.clone()
		if len(from.entries) == 0 {
			continue
		}
		to.entries = make([]entry, len(from.entries))
		for i, e := range from.entries {
			child := im.twin(e.node)
			child.faces[f.to].parent, child.faces[f.to].name = t, e.name
			to.entries[i] = entry{e.name, child}
		}
	}
	return t
}

func twinOf(n *node) *node {
	if n == nil {
		return nil
	}
	return n.twin.node
}

// makeLive copies the durable view, which is complete now, to the live view.
func (im *image) makeLive() {
	for _, t := range im.twins {
		d := &t.faces[durable]
		d.content.resize(d.content.size) // sectors kept beyond the end are lost with the size
		t.faces[live] = face{parent: d.parent, name: d.name, entries: slices.Clone(d.entries), content: d.content.clone()}
	}
	im.count()
}

func (im *image) count() {
	for _, t := range im.twins {
		if t.faces[live].parent != nil {
			im.disk.used += t.faces[live].content.used
		}
	}
}

// copyChange adds a pending change of the source to the image.
func (im *image) copyChange(ch change) {
	switch ch := ch.(type) {
	case *write:
		c := *ch
		c.file = im.twin(ch.file)
		c.file.pending = append(c.file.pending, im.disk.push(&c))
	case *resize:
		c := *ch
		c.file = im.twin(ch.file)
		c.file.pending = append(c.file.pending, im.disk.push(&c))
	case *rename:
		c := im.twinRename(ch)
		c.node.entries++
		e := im.disk.push(c)
		for _, d := range c.dirs() {
			d.pending = append(d.pending, e)
		}
	}
}

func (im *image) twinRename(r *rename) *rename {
	c := *r
	c.node, c.from.dir, c.to.dir = im.twin(r.node), im.twin(r.from.dir), im.twin(r.to.dir)
	return &c
}

// decide numbers an item and asks the choice for its verdict.
func (im *image) decide(it Item) Verdict {
	it.Index, it.Call = im.index, im.call
	im.index++
	if im.choice.Decide == nil {
		return Lose
	}
	return im.choice.Decide(it)
}

func (w *write) crash(im *image) {
	c := &im.twin(w.file).faces[durable].content
	for i := range w.sectors {
		it := Item{Kind: SectorItem, Path: w.file.path, Sector: w.first + i}
		v := im.decide(it)
		if im.choice.Stale != nil {
			im.fillStale(w.file, c, it, v)
		}
		if v == Ruin {
			c.write(bytes.Repeat([]byte{ruin}, SectorSize), it.Sector*SectorSize)
		} else if from, to := v.span(); from < to {
			w.redoSector(c, i, from, to)
		}
	}
	if w.size != noSize && im.decide(Item{Kind: SizeItem, Path: w.file.path, Size: w.size}) != Lose {
		c.resize(w.size)
	}
}

// fillStale fills a sector that the disk never wrote and that a kept size may cover
// later. It writes the bytes that were on the disk before the file.
func (im *image) fillStale(file *node, c *content, it Item, v Verdict) {
	key, off := sectorKey{file, it.Sector}, it.Sector*SectorSize
	if off < file.faces[durable].content.size || im.stale[key] {
		return
	}
	if im.stale == nil {
		im.stale = make(map[sectorKey]bool)
	}
	im.stale[key] = true
	if v != Keep {
		var b [SectorSize]byte
		im.choice.Stale(it, b[:])
		c.write(b[:], off)
	}
}

func (r *resize) crash(im *image) {
	c := &im.twin(r.file).faces[durable].content
	if im.decide(Item{Kind: SizeItem, Path: r.file.path, Size: r.size}) != Lose {
		r.redo(c)
	}
}

func (r *rename) crash(im *image) {
	if im.decide(Item{Kind: EntryItem, Path: r.node.path}) != Lose {
		im.twinRename(r).redo(durable)
	}
}

// Item is one item that a power cut may keep or lose.
type Item struct {
	Index  int      // in the order of issue, from 0
	Call   int      // number of its pending call, from 0
	Kind   ItemKind // says which of the fields below are set
	Path   string   // the file's last name
	Sector int64    // of a SectorItem: its offset in the file / SectorSize
	Size   int64    // of a SizeItem: the new size; negative if only blocks were allocated
}

// String describes the item for a test's report.
func (it Item) String() string {
	switch it.Kind {
	case SectorItem:
		return fmt.Sprintf("%d: sector %d of %s", it.Index, it.Sector, it.Path)
	case SizeItem:
		return fmt.Sprintf("%d: size %d of %s", it.Index, it.Size, it.Path)
	}
	return fmt.Sprintf("%d: name %s", it.Index, it.Path)
}

// ItemKind is the kind of an [Item].
type ItemKind uint8

// The kinds of items.
const (
	SectorItem ItemKind = iota + 1 // one sector after one write
	SizeItem                       // one change of a file's size or blocks
	EntryItem                      // one creation, rename or removal
)

// Verdict says what a power cut does to an item: Lose, Keep, Ruin, or keep a part of
// a sector. For items that are not sectors every verdict but Lose means Keep.
type Verdict uint32

// The verdicts that are not [Torn].
const (
	Lose Verdict = 0
	Keep Verdict = SectorSize // the bytes [0, SectorSize)
	// Ruin leaves a sector that can be read and has none of the bytes that were ever
	// written to it: not every disk keeps the bytes beside those that it overwrites.
	Ruin Verdict = SectorSize<<16 | SectorSize
)

// ruin is the byte that fills a ruined sector.
const ruin = 0xa5

// Torn keeps the bytes [from, to) of a sector; the other bytes are those that were on
// the disk before. It panics unless 0 <= from <= to <= SectorSize.
func Torn(from, to int) Verdict {
	if from < 0 || from > to || to > SectorSize {
		panic(fmt.Sprintf("simdisk: a sector has no bytes [%d, %d)", from, to))
	}
	if from == to {
		return Lose
	}
	return Verdict(from)<<16 | Verdict(to)
}

func (v Verdict) span() (from, to int) { return int(v >> 16), int(v & 0xffff) }
