package fuzz

import (
	"fmt"
	"strings"

	"kvd/internal/vfs/simdisk"
)

// cut is one way in which a machine may stop, and the disk afterwards.
type cut struct {
	name string
	make func(*simdisk.Disk) *simdisk.Disk
}

func powerCut(name string, c simdisk.Choice) cut {
	return cut{name, func(disk *simdisk.Disk) *simdisk.Disk { return disk.Crash(c) }}
}

// cuts returns the ways to stop with a number of pending items: the extreme ones, and some
// random ones from the seed. If nothing is pending, all ways give the same disk.
func cuts(pending int, seed uint64, samples int) []cut {
	list := []cut{powerCut("keep none", simdisk.KeepNone())}
	if pending == 0 {
		return list
	}
	list = append(list,
		powerCut("keep all", simdisk.KeepAll()),
		cut{"kill", (*simdisk.Disk).Clone})
	for i := range samples {
		list = append(list, someCut(pending, seed+uint64(i)*0x9e3779b97f4a7c15))
	}
	return list
}

// someCut returns the power cut of a seed.
func someCut(pending int, seed uint64) cut {
	kind, rest := seed%7, seed/7
	if pending == 0 {
		return powerCut("keep none", simdisk.KeepNone())
	}
	k := int(rest % uint64(pending))
	switch kind {
	case 0:
		return powerCut(fmt.Sprintf("keep the first %d of %d", k+1, pending), simdisk.Prefix(k+1))
	case 1:
		return powerCut(fmt.Sprintf("lose item %d of %d", k, pending), simdisk.AllBut(k))
	case 2:
		return powerCut(fmt.Sprintf("keep item %d of %d", k, pending), simdisk.Only(k))
	case 3:
		odds := simdisk.Odds{Keep: 0.7, Torn: 0.2, Stale: true}
		return powerCut(fmt.Sprintf("odds %+v, seed %d", odds, rest), odds.Choice(rest))
	case 4:
		odds := simdisk.Odds{Keep: 0.6, Ruin: 0.5}
		return powerCut(fmt.Sprintf("odds %+v, seed %d", odds, rest), sparingManifests(odds.Choice(rest)))
	}
	return powerCut(fmt.Sprintf("random seed %d", rest), simdisk.Random(rest))
}

// sparingManifests ruins no sector of a manifest, but loses it instead. A copy of the
// manifest grows in place, so a ruined sector would contain older records too. The other
// copy still has them, so nothing would be lost, but Open would report the damage.
func sparingManifests(c simdisk.Choice) simdisk.Choice {
	decide := c.Decide
	c.Decide = func(it simdisk.Item) simdisk.Verdict {
		v := decide(it)
		if v == simdisk.Ruin && strings.Contains(it.Path, "manifest") {
			return simdisk.Lose
		}
		return v
	}
	return c
}

// mutates reports whether a call may change the disk or the pending items.
func mutates(kind simdisk.OpKind) bool {
	switch kind {
	case simdisk.OpList, simdisk.OpStat, simdisk.OpReadAt, simdisk.OpSize, simdisk.OpMap, simdisk.OpReadMapping, simdisk.OpOpenDir, simdisk.OpWriteBack:
		return false
	}
	return true
}
