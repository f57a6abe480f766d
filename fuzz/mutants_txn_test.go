package fuzz

// txnMutants break the rules of transactions.
var txnMutants = []mutant{
	{
		name: "a transaction becomes visible in slices", test: "TestTransactionsAreSeenWhole", in: "bucket", file: "bucket/publish.go",
		old: "\t\tg.publishTransaction(t)\n", new: "\t\tif g.publishSlices(t.from, map[bool]int{true: t.to, false: t.from}[mutant]); mutant {\n\t\t\tt.lookUp()\n\t\t} else {\n\t\t\tg.publishTransaction(t)\n\t\t}\n",
	},
	{
		name: "the buckets of a transaction are locked one after the other", test: "TestTransactionsAreSeenWhole", in: "bucket", file: "bucket/txnpublish.go",
		old: "\t\te.applyLocked(g.parts[e.part].bucket)\n\t}\n\tt.lookUpLocked()\n",
		new: "\t\tif mutant && i > t.from && g.effects[i-1].part != e.part {\n\t\t\tfor _, b := range t.buckets {\n\t\t\t\tb.mu.Unlock()\n\t\t\t}\n\t\t\tfor _, b := range t.buckets {\n\t\t\t\tb.mu.Lock()\n\t\t\t}\n\t\t}\n\t\te.applyLocked(g.parts[e.part].bucket)\n\t}\n\tt.lookUpLocked()\n",
	},
	{
		name: "a refused transaction keeps its revisions", test: "TestTransfersBetweenBuckets", file: "bucket/savepoint.go",
		old: "\t\tb.next = saved.next\n", new: "\t\tif !(mutant) {\n\t\t\tb.next = saved.next\n\t\t}\n",
	},
	{
		name: "a refused transaction keeps the room that it freed", test: "TestARefusedTransactionGivesItsRoomBack", in: "bucket", file: "bucket/savepoint.go",
		old: "\t\t\tg.parts[b.part] = saved.part\n", new: "\t\t\tfreed := g.parts[b.part].freed\n\t\t\tif g.parts[b.part] = saved.part; mutant {\n\t\t\t\tg.parts[b.part].freed = freed\n\t\t\t}\n",
	},
	{
		name: "a refused transaction names a revision that was taken back", test: "TestARefusalNamesWhatIsThere", in: "bucket", file: "bucket/txnjudge.go",
		old: "\t\tg.restate(t, err)\n", new: "\t\tif !(mutant) {\n\t\t\tg.restate(t, err)\n\t\t}\n",
	},
	{
		name: "Close frees a snapshot that is being taken", test: "TestSnapshotBesideClose", in: "bucket", file: "bucket/snapshot.go",
		old: "\tx.mu.readers = 1 // this call", new: "\tx.mu.readers = map[bool]int{true: 0, false: 1}[mutant] // this call",
	},
	{
		name: "a transaction is decided by a value that was written again", test: "TestAValueIsComparedAtTheNewestRevision", in: "bucket", file: "bucket/txnjudge.go",
		old: "exists && newest.Revision != c.seen {", new: "exists && newest.Revision != c.seen && !(mutant) {",
	},
	{
		name: "a transaction is answered before what it read is durable", test: "TestReadsOfATransactionSeeDurableStateAlone", in: "bucket", file: "bucket/txnjudge.go",
		old: "t.now, t.waits = now, g.hasAny(t.buckets)", new: "t.now, t.waits = now, g.hasAny(t.buckets) && !(mutant)",
	},
}
