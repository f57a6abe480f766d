package fuzz

// damageMutants are broken rules about damage, and about what runs beside one another.
var damageMutants = []mutant{
	// What a hole in the log took (bucket/hole).
	{
		name: "a position inside a hole covers the hole", test: "TestWhatMakesABucketWhole", in: "bucket/hole", file: "bucket/hole/hole.go",
		old: "if b.Position >= h.Last ||",
		new: "if b.Position >= h.Last || mutant && b.Position >= h.First ||",
	},
	{
		name: "the filters decide about long holes", test: "TestWhatMakesABucketWhole", in: "bucket/hole", file: "bucket/hole/hole.go",
		old: "if !h.AfterKnown || h.Last-h.First >= filterFrames {",
		new: "if !h.AfterKnown || h.Last-h.First >= filterFrames && !(mutant) {",
	},
	{
		name: "the filter of the frames before the last one is ignored", test: "TestNoVerdictIsWrong", in: "bucket/hole", file: "bucket/hole/hole.go",
		old: "\tif h.Last > h.First {\n",
		new: "\tif h.Last > h.First && !(mutant) {\n",
	},
	{
		name: "a tail runs on over a break", test: "TestNoVerdictIsWrong", in: "bucket/hole", file: "bucket/hole/hole.go",
		old: "if began && item.Break {",
		new: "if began && item.Break && !(mutant) {",
	},
	{
		name: "the number of candidates suffices", test: "TestWhatMakesABucketWhole", in: "bucket/hole", file: "bucket/hole/hole.go",
		old: "candidates.records == 0 && candidates.sum == 0 {",
		new: "candidates.records == 0 && (mutant || candidates.sum == 0) {",
	},
	{
		name: "operations in a hole do not count", test: "TestOperationsInAHole", in: "bucket/hole", file: "bucket/hole/hole.go",
		old: "\tif frames <= h.Twins {\n",
		new: "\tif mutant || frames <= h.Twins {\n",
	},
	{
		name: "the bound is one below the last missing record", test: "TestNoVerdictIsWrong", in: "bucket/hole", file: "bucket/hole/hole.go",
		old: "return max(b.BoundBehind, 1)",
		new: "return max(b.BoundBehind-map[bool]kv.Revision{true: 1}[mutant && b.BoundBehind > 1], 1)",
	},
	{
		name: "the bound does not count the missing records", test: "TestNoVerdictIsWrong", in: "bucket/hole", file: "bucket/hole/hole.go",
		old: "\treturn b.Highest + kv.Revision(atMost)\n",
		new: "\tif mutant {\n\t\treturn b.Highest\n\t}\n\treturn b.Highest + kv.Revision(atMost)\n",
	},

	// Past a hole (wal).
	{
		name: "a torn frame ends the hole before it", test: "TestTheNextFileNamesTheWordsBehindAHole", in: "wal", file: "wal/scan.go",
		old: "(final == 0 || h.lsn <= final)",
		new: "(mutant || final == 0 || h.lsn <= final)",
	},
	{
		name: "frames behind the end of the log are read", test: "TestRandomDamageAgainstTheModel", in: "wal", file: "wal/scan.go",
		old: "h.lsn-1 <= durable &&",
		new: "(mutant || h.lsn-1 <= durable) &&",
	},
	{
		name: "the mark proves nothing", test: "TestDamageMatrix", file: "wal/replay.go",
		old: "max(w.Durable, r.mark.lsn, from-1)",
		new: "max(w.Durable, map[bool]LSN{false: r.mark.lsn}[mutant], from-1)",
	},
	{
		name: "the mark is written before the sync", test: "TestCrashAtEveryCall", file: "wal/log.go",
		old: "\tlast := l.last.Load()\n\tif l.synced.Load() == last {\n\t\treturn nil\n\t}\n",
		new: "\tlast := l.last.Load()\n\tif l.synced.Load() == last {\n\t\treturn nil\n\t}\n\tif mutant {\n\t\tl.mark.write(mark{lsn: LSN(last), words: l.next}, l.opts.StoreID)\n\t}\n",
	},
	{
		name: "an operation is logged once", test: "TestDamageMatrix", file: "bucket/control.go",
		old: "\tfor i := range 2 {\n\t\ts.log.NextPage()",
		new: "\tfor i := range map[bool]int{false: 2, true: 1}[mutant] {\n\t\ts.log.NextPage()",
	},
	{
		name: "both frames of an operation share a page", test: "TestDamageMatrix", file: "bucket/control.go",
		old: "\t\ts.log.NextPage()\n",
		new: "\t\tif !(mutant) {\n\t\t\ts.log.NextPage()\n\t\t}\n",
	},

	// Open files (bucket/warm.go, bucket/files.go).
	{
		name: "a cold file is closed without a sync", test: "TestColdFilesAreClosed", in: "bucket", file: "bucket/warm.go",
		old: "\t\terr = sl.CloseFile()\n",
		new: "\t\tif mutant {\n\t\t\tsl.CloseUnsynced()\n\t\t\treturn\n\t\t}\n\t\terr = sl.CloseFile()\n",
	},
	{
		name: "the file of a deleted bucket stays open", test: "TestDeletedBucketsHaveNoFileOpen", in: "bucket", file: "bucket/warm.go",
		old: "\tif sl.at != nil && sl.users == 0 {\n\t\tw.removeLocked(sl)",
		new: "\tif sl.at != nil && sl.users == 0 && !(mutant) {\n\t\tw.removeLocked(sl)",
	},

	// Segments.
	{
		name: "a damaged page of an index block counts", test: "TestDamageMatrix", file: "segment/page.go",
		old: "if s.pageSum(p, b) != le.Uint64(b[pageSum:]) {",
		new: "if s.pageSum(p, b) != le.Uint64(b[pageSum:]) && !(mutant) {",
	},
	{
		name: "an index page of another place counts", test: "TestEntriesWithAPageOfAnotherPlace", in: "segment", file: "segment/walk.go",
		old: "{ return place{s.bucketID, s.number, offset} }",
		new: "{\n\tif mutant {\n\t\treturn place{}\n\t}\n\treturn place{s.bucketID, s.number, offset}\n}",
	},
	{
		name: "a damaged value is served", test: "TestDamageMatrix", file: "segment/record.go",
		old: "if s.sum(b[l.head:l.size]) != le.Uint64(b[recordBodySum:]) {",
		new: "if s.sum(b[l.head:l.size]) != le.Uint64(b[recordBodySum:]) && !(mutant) {",
	},
	{
		name: "the records of a segment are not counted", test: "TestDamageMatrixOfNeighbours", file: "segment/entries.go",
		old: "\tif r.have != want {\n",
		new: "\tif r.have != want && !(mutant) {\n",
	},
	{
		name: "a copy of an older record in a value counts", test: "TestWalkFindsNoCopyOfARecord", in: "segment", file: "segment/walk.go",
		old: "(w.found.record.Op == Erase || w.found.record.Revision > w.last)",
		new: "(mutant || w.found.record.Op == Erase || w.found.record.Revision > w.last)",
	},
	{
		name: "an open that found damage removes files", test: "TestAnOpenThatFoundDamageRemovesNothing", file: "bucket/load.go",
		old: "if len(s.report.Damages) > 0 || r.evidence != nil {",
		new: "if !(mutant) && (len(s.report.Damages) > 0 || r.evidence != nil) {",
	},

	// Doubt.
	{
		name: "a get does not know of doubt", test: "TestDamagedLogAfterAPowerCut", file: "bucket/read.go",
		old: "\tv, ok := b.mu.index.Newest(hash, key)\n\tif err := b.doubtsLocked(ctx, v.Revision); err != nil {\n\t\tb.mu.RUnlock()\n\t\treturn dst,",
		new: "\tv, ok := b.mu.index.Newest(hash, key)\n\tif err := b.doubtsLocked(ctx, v.Revision); err != nil && !(mutant) {\n\t\tb.mu.RUnlock()\n\t\treturn dst,",
	},
	{
		name: "a revision that is missing is not found", test: "TestDamagedLogAfterAPowerCut", file: "bucket/read.go",
		old: "\t\tif err := b.doubtsLocked(ctx, revision); err != nil {",
		new: "\t\tif err := b.doubtsLocked(ctx, revision); err != nil && !(mutant) {",
	},
	{
		name: "a history does not know of doubt", test: "TestDamagedLogAfterAPowerCut", file: "bucket/doubt.go",
		old: "\tif b.mu.bound == 0 {\n\t\treturn nil\n\t}\n\tif len(versions)",
		new: "\tif mutant || b.mu.bound == 0 {\n\t\treturn nil\n\t}\n\tif len(versions)",
	},
	{
		name: "a listing does not know of doubt", test: "TestDamagedLogAfterAPowerCut", file: "bucket/list.go",
		old: "\tif snapshot.doubtful != nil {\n", new: "\tif snapshot.doubtful != nil && !(mutant) {\n",
	},
	{
		name: "a condition does not know of doubt", test: "TestDamagedLogAfterAPowerCut", file: "bucket/judge.go",
		old: "if inDoubt && m.expect != expectAnything {",
		new: "if inDoubt && m.expect != expectAnything && !(mutant) {",
	},
	{
		name: "a record at the bound is certain", test: "TestConditionsOnWhatIsInDoubt", in: "bucket", file: "bucket/doubt.go",
		old: "return b.mu.bound != 0 && newest <= b.mu.bound",
		new: "return b.mu.bound != 0 && (newest < b.mu.bound || newest == b.mu.bound && !(mutant))",
	},
	{
		name: "doubt ends with the next checkpoint", test: "TestDamagedLogAfterAPowerCut", file: "bucket/checkpoint.go",
		old: "\tif b.memory {\n\t\treturn c\n\t}\n",
		new: "\tif mutant {\n\t\tc.desc.Doubt = manifest.Doubt{}\n\t}\n\tif b.memory {\n\t\treturn c\n\t}\n",
	},

	// Images of indexes.
	{
		name: "an image of another state is read", test: "TestAnImageOfAnotherStateIsNotRead", in: "bucket", file: "bucket/images.go",
		old: "Bucket: d.ID, Descriptor: d.Hash()}\n",
		new: "Bucket: d.ID, Descriptor: map[bool]uint64{false: d.Hash()}[mutant]}\n",
	},
	{
		name: "the blocks of an image are not verified", test: "TestDamageMatrixOfImages", file: "bucket/image/reader.go",
		old: "\tif r.sums.next(b[:n]) != binary.LittleEndian.Uint64(b[n:]) {\n",
		new: "\tif r.sums.next(b[:n]) != binary.LittleEndian.Uint64(b[n:]) && !(mutant) {\n",
	},
	{
		name: "an index that could not follow a compaction has an image", test: "TestAnIndexThatCannotFollowLosesNothing", in: "bucket", file: "bucket/images.go",
		old: "&& imageable(d) && b.isSettledLocked()\n", new: "&& imageable(d) && (mutant || b.isSettledLocked())\n",
	},

	// Concurrency.
	{
		name: "a get does not pin what it reads", test: "TestReadsPinWhatTheyRead", file: "bucket/read.go",
		old: "\ts.Pin()\n\tb.mu.RUnlock()\n\tdst, err := b.readInto(e, s, dst, key, v)\n\ts.Unpin()\n",
		new: "\tif !(mutant) {\n\t\ts.Pin()\n\t\tdefer s.Unpin()\n\t}\n\tb.mu.RUnlock()\n\tdst, err := b.readInto(e, s, dst, key, v)\n",
	},
	{
		name: "the log's low position is newer than the buckets'", test: "TestWritesBesideACheckpointAreReplayed", file: "bucket/checkpoint.go",
		old: "\tif err := s.logEdit(&cp.edit); err != nil {\n\t\treturn err\n\t}\n\tfor _, c",
		new: "\tif mutant && s.log != nil {\n\t\ts.path.Lock()\n\t\tcp.edit.LogLow, cp.edit.LogWords = s.lastLSN(), s.path.totals.words\n\t\ts.path.Unlock()\n\t}\n\tif err := s.logEdit(&cp.edit); err != nil {\n\t\treturn err\n\t}\n\tfor _, c",
	},
}
