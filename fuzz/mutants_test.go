package fuzz

// mutants are broken rules of the engine, grouped by rule. In "new", "mutant" is an
// expression.
var mutants = []mutant{
	// Acknowledged writes.
	{
		name: "a write is acknowledged before the sync", test: "TestCrashAtEveryCall", file: "bucket/interval.go",
		old: "} else if b.interval == 0 ||", new: "} else if !(mutant) && b.interval == 0 ||",
	},
	{
		name: "a write shares a page with one that was acknowledged", test: "TestCrashAtEveryCall", file: "wal/log.go",
		old: "\tl.pos = pageUp(l.pos)\n", new: "\tif !(mutant) {\n\t\tl.pos = pageUp(l.pos)\n\t}\n",
	},
	{
		name: "damage is taken for a torn tail", test: "TestDamageMatrix", file: "wal/replay.go",
		old: "\tif lsn > durable {\n", new: "\tif mutant || lsn > durable {\n",
	},
	{
		name: "a store accepts writes after a fault", test: "TestFailEveryCall", file: "bucket/failure.go",
		old: "f != nil {\n\t\treturn fmt.Errorf(\"%w: %w\", kv.ErrReadOnly", new: "f != nil && !(mutant) {\n\t\treturn fmt.Errorf(\"%w: %w\", kv.ErrReadOnly",
	},
	{
		name: "unfinished files stay after a power cut", test: "TestCrashInLife", file: "bucket/load.go",
		old: "\t\tif err := segment.Remove(s.segments, number, func() {}); err != nil {\n",
		new: "\t\tif mutant {\n\t\t\tcontinue\n\t\t}\n\t\tif err := segment.Remove(s.segments, number, func() {}); err != nil {\n",
	},

	// Revisions and ids.
	{
		name: "a revision is reused after a crash", test: "TestCrashAtEveryCallOfIntervalBuckets", file: "bucket/interval.go",
		old: "\t\t\tb.next += unsyncedMax\n", new: "\t\t\tif !(mutant) {\n\t\t\t\tb.next += unsyncedMax\n\t\t\t}\n",
	},
	{
		name: "a revision is reused after its record was removed", test: "TestCrashInLife", file: "bucket/load.go",
		old: "\tif !b.mu.live.Empty() {\n",
		new: "\tif mutant {\n\t\tb.next = 1\n\t\tb.mu.index.All(func(_ []byte, v index.Version) bool {\n\t\t\tb.next = max(b.next, v.Revision+1)\n\t\t\treturn true\n\t\t})\n\t\tb.mu.revision = b.next - 1\n\t}\n\tif !b.mu.live.Empty() {\n",
	},
	{
		name: "a memory bucket keeps its id after a restart", test: "TestCrashInLife", file: "bucket/memory.go",
		old: "\t\tb.id = r.store.path.nextID\n", new: "\t\tif !(mutant) {\n\t\t\tb.id = r.store.path.nextID\n\t\t}\n",
	},
	{
		name: "a memory bucket issues revisions anew after a restart", test: "TestCrashInLife", file: "bucket/memory.go",
		old: "\t\tif b.issuable > 0 {\n", new: "\t\tif b.issuable > 0 && !(mutant) {\n",
	},

	// Times to live.
	{
		name: "the sweep believes a leap of the clock", test: "FuzzTTLClock", file: "bucket/waits.go",
		old: "leap != 0 && created <= w.leaptFrom", new: "leap != 0 && !(mutant) && created <= w.leaptFrom",
	},
	{
		name: "records expire by the wall clock", test: "TestModelOfLife", file: "bucket/clock.go",
		old: "\tif o.env.Elapsed != nil {\n", new: "\tif o.env.Elapsed != nil && !(mutant) {\n",
	},
	{
		name: "readers see expired records", test: "TestModelOfLife", file: "bucket/expire.go",
		old: "\tif v.Deadline == 0 && b.mu.config.TTL == 0 {\n", new: "\tif mutant || v.Deadline == 0 && b.mu.config.TTL == 0 {\n",
	},
	{
		name: "a write to an expired key writes no expiry marker", test: "TestModelOfLife", file: "bucket/judge.go",
		old: "if present = newest.Op == kv.Put && !b.noMarkers; present {", new: "if present = newest.Op == kv.Put && !b.noMarkers && !(mutant && m.kind != writeExpiry); present {",
	},
	{
		name: "the sweep expires keys that were written again", test: "TestModelOfLife", file: "bucket/sweep.go",
		old: "if ok && newest.Revision == d.revision && newest.Op == kv.Put && !b.noMarkers &&", new: "if ok && (mutant || newest.Revision == d.revision) && newest.Op == kv.Put && !b.noMarkers &&",
	},
	{
		name: "an edit of the TTL starts no sweep", test: "TestModelOfLife", file: "bucket/control.go",
		old: "have.TTL != edit.Config.TTL\n", new: "have.TTL != edit.Config.TTL && !(mutant)\n",
	},
	{
		name: "the removals of a sweep are not replayed", test: "TestCrashInLogs", file: "bucket/control.go",
		old: "\tcase *journal.Expire:\n", new: "\tcase *journal.Expire:\n\t\tif mutant && b.store.log == nil {\n\t\t\treturn\n\t\t}\n",
	},
	{
		name: "the sweep skips records that it cannot read", test: "TestFailEveryCallOfLife", file: "bucket/aged.go",
		old: "\tif before <= w.expiredUpTo+1 {\n", new: "\tif mutant || before <= w.expiredUpTo+1 {\n",
	},

	// Watches.
	{
		name: "a watch resumes although an end was forgotten", test: "TestResumedWatchesLearnEveryEnd", file: "bucket/forgotten.go",
		old: "\tif from > f.upTo {\n", new: "\tif mutant || from > f.upTo {\n",
	},
	{
		name: "a selection ignores ends that its snapshot has forgotten", test: "TestResumedWatchesLearnEveryEnd", file: "bucket/initial.go",
		old: "\ts.At, s.rules, s.forgotten = snapshot.at, snapshot.rules, snapshot.forgotten\n",
		new: "\tif s.At, s.rules = snapshot.at, snapshot.rules; !(mutant) {\n\t\ts.forgotten = snapshot.forgotten\n\t}\n",
	},
	{
		name: "a watch ignores ends that are forgotten while it reads", test: "TestResumedWatchesLearnEveryEnd", file: "bucket/initial.go",
		old: "\ts.forgotten = s.forgotten.and(s.bucket.forgottenLocked()) // by now\n",
		new: "\tif !(mutant) {\n\t\ts.forgotten = s.forgotten.and(s.bucket.forgottenLocked())\n\t}\n",
	},
	{
		name: "an erased key does not count as a forgotten end", test: "TestResumedWatchesLearnEveryEnd", file: "bucket/forgotten.go",
		old: "; ok && v.Revision < floor {", new: "; ok && v.Revision < floor && !(mutant) {",
	},
	{
		name: "an expired value counts as an end only after the sweep", test: "TestResumedWatchesLearnEveryEnd", file: "bucket/initial.go",
		old: "\tif s.bucket.noMarkers || newest.Op.IsMarker() {\n", new: "\tif !(mutant) && (s.bucket.noMarkers || newest.Op.IsMarker()) {\n",
	},

	// Message logs.
	{
		name: "an appended key has the suffix of the previous revision", test: "TestModelOfLogs", file: "bucket/append.go",
		old: "g.appendedKey(m.key, m.bucket.next)", new: "g.appendedKey(m.key, m.bucket.next-map[bool]kv.Revision{true: 1}[mutant])",
	},
	{
		name: "an append that is checked again keeps its key", test: "TestModelOfLogs", file: "bucket/append.go",
		old: "\tm.revision = put.revision\n", new: "\tif m.revision = put.revision; mutant {\n\t\t*m = put\n\t}\n",
	},
	{
		name: "a message log writes expiry markers", test: "TestModelOfLogs", file: "bucket/sweep.go",
		old: "} else if ok && at >= scanned {", new: "} else if ok && mutant && newest.Op == kv.Put {\n\t\t\t\tb.noMarkers, kept = false, append(kept, d)\n\t\t\t} else if ok && at >= scanned {",
	},
	{
		name: "a sweep without markers does not record the ends of keys", test: "TestModelOfLogs", file: "bucket/sweep.go",
		old: "\t\tw.unmarkedUpTo = d.revision\n", new: "\t\tif !(mutant) {\n\t\t\tw.unmarkedUpTo = d.revision\n\t\t}\n",
	},
	{
		name: "a trim records one revision less", test: "TestModelOfLogs", file: "bucket/trim.go",
		old: "\t\top.ExpiredUpTo = d.revision\n", new: "\t\top.ExpiredUpTo = d.revision\n\t\tif mutant {\n\t\t\top.ExpiredUpTo--\n\t\t}\n",
	},
	{
		name: "a trim does not record the ends of keys", test: "TestModelOfLogs", file: "bucket/trim.go",
		old: "newest.Revision == d.revision {\n\t\t\top.Unmarked", new: "newest.Revision == d.revision && !(mutant) {\n\t\t\top.Unmarked",
	},
	{
		name: "a trim is not written to the log", test: "TestCrashInLogs", file: "bucket/memory.go",
		old: "\treturn b != nil && b.memory\n", new: "\tt, trims := op.(*trimOperation)\n\treturn b != nil && (b.memory || mutant && trims && t.versions != nil)\n",
	},

	// Compaction.
	{
		name: "a tombstone is removed too early", test: "TestTombstonesOutliveWhatTheyHide", file: "bucket/compaction/decide.go",
		old: "case end.older || s.Older:", new: "case !(mutant) && (end.older || s.Older):",
	},
	{
		name: "a file is deleted before the manifest", test: "TestCrashInCompaction", file: "bucket/compact.go",
		old: "\tif err := c.swap(); err != nil {\n",
		new: "\tif mutant {\n\t\tfor _, sl := range c.inputs {\n\t\t\t_ = segment.Remove(c.store.segments, sl.Number(), func() {})\n\t\t}\n\t}\n\tif err := c.swap(); err != nil {\n",
	},
	{
		name: "a swap does not wait for the manifest", test: "TestCrashInLife", file: "bucket/swap.go",
		old: "if dirty && old.Position < decided {", new: "if !(mutant) && dirty && old.Position < decided {",
	},
	{
		name: "the index is not updated after a merge", test: "TestCrashInLife", file: "bucket/swap.go",
		old: "\tvar m moves\n", new: "\tvar m moves\n\tif mutant {\n\t\treturn errStale\n\t}\n",
	},
	{
		name: "an expiry marker is lost in a merge", test: "TestModelOfLife", file: "bucket/compaction/decide.go",
		old: "\tcase s.Live:\n\t\treturn KeepLive\n", new: "\tcase s.Live && !(mutant && e.Op == segment.Purge && e.Deadline != 0):\n\t\treturn KeepLive\n",
	},

	// Full disks.
	{
		name: "the log does not use the reserve on a disk that copies", test: "TestFullDiskThatCopies", file: "wal/write.go",
		old: "&& o.MakeRoom() {", new: "&& !(mutant) && o.MakeRoom() {",
	},
	{
		name: "a segment does not use the reserve on a disk that copies", test: "TestFullDiskThatCopies", file: "bucket/group.go",
		old: "errors.Is(err, vfs.ErrNoSpace) && b.store.spendReserve() {", new: "!(mutant) && errors.Is(err, vfs.ErrNoSpace) && b.store.spendReserve() {",
	},
	{
		name: "the reserve does not follow the store", test: "TestCrashWhileTheReserveGrowsAndShrinks", file: "bucket/reserve.go",
		old: "\tr.size = want\n", new: "\tif mutant {\n\t\treturn false\n\t}\n\tr.size = want\n",
	},

	// Damage.
	{
		name: "a compaction makes a damaged value an empty one", test: "TestDamageMatrix", file: "bucket/salvage.go",
		old: "Lost: e.Op != segment.Erase,", new: "Lost: e.Op != segment.Erase && !(mutant),",
	},
	{
		name: "damage that a read meets is not noted", test: "TestDamageMatrix", file: "bucket/note.go",
		old: "\tif b.memory || !errors.As(err, &damage) {\n", new: "\tif mutant || b.memory || !errors.As(err, &damage) {\n",
	},
	{
		name: "a watch passes what is in doubt", test: "TestLaggardsNeverPassLostRevisions", file: "bucket/scan.go",
		old: "if p.Revision < upTo && b.inDoubtLocked", new: "if !(mutant) && p.Revision < upTo && b.inDoubtLocked",
	},
	{
		name: "a swap of segments ends their bucket's doubt", test: "TestDamageMatrixOfNeighbours", file: "bucket/swap.go",
		old: "\tc.salvage.addTo(&desc.Doubt)\n", new: "\tif mutant {\n\t\tdesc.Doubt = manifest.Doubt{}\n\t}\n\tc.salvage.addTo(&desc.Doubt)\n",
	},

	// Trims, edits and deletions.
	{
		name: "a floor is not loaded", test: "TestCrashInLife", file: "bucket/load.go",
		old: "\t\tOp: kv.Operation(e.Op), Reason: e.Reason,\n\t}, e.Floor)\n",
		new: "\t\tOp: kv.Operation(e.Op), Reason: e.Reason,\n\t}, map[bool]kv.Revision{false: e.Floor}[mutant])\n",
	},
	{
		name: "an erasure is not loaded", test: "TestCrashInLife", file: "bucket/load.go",
		old: "\tif e.Op == segment.Erase {\n", new: "\tif mutant && e.Op == segment.Erase {\n\t\treturn\n\t}\n\tif e.Op == segment.Erase {\n",
	},
	{
		name: "a shorter history removes no record", test: "TestModelOfLife", file: "bucket/control.go",
		old: "\tif op.Cuts() {\n", new: "\tif op.Cuts() && !(mutant) {\n",
	},
	{
		name: "PurgeDeletes ignores the age of markers", test: "TestModelOfLife", file: "bucket/rules.go",
		old: "newest.Created <= y.cutoff", new: "(mutant || newest.Created <= y.cutoff)",
	},
	{
		name: "an edit is not replayed", test: "TestCrashInLife", file: "bucket/replay.go",
		old: "\tcase b != nil && lsn <= b.position:\n\tdefault:\n", new: "\tcase b != nil && lsn <= b.position:\n\tcase mutant && !creates && configOf(op) != nil:\n\tdefault:\n",
	},
	{
		name: "a deletion of a bucket is not replayed", test: "TestCrashInLife", file: "bucket/control.go",
		old: "\tcase *journal.Delete:\n", new: "\tcase *journal.Delete:\n\t\tif mutant && s.log == nil {\n\t\t\treturn\n\t\t}\n",
	},
	{
		name: "a deleted bucket's files stay", test: "TestCrashInLife", file: "bucket/checkpoint.go",
		old: "\t\ts.removeLater(b.handles())\n", new: "\t\tif !(mutant) {\n\t\t\ts.removeLater(b.handles())\n\t\t}\n",
	},
}
