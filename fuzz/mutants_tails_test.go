package fuzz

// tailMutants are broken rules about records that segments hold in memory (segment/held.go,
// bucket/tails.go).
var tailMutants = []mutant{
	{
		name: "reads look for held records in the file", test: "TestHeldRecordsAreRead", in: "segment", file: "segment/held.go",
		old: "\tif offset < s.heldFrom.Load() {\n", new: "\tif mutant || offset < s.heldFrom.Load() {\n",
	},
	{
		name: "scans look for held records in the file", test: "TestHeldRecordsAreRead", in: "segment", file: "segment/held.go",
		old: "\tif to <= s.heldFrom.Load() {\n", new: "\tif mutant || to <= s.heldFrom.Load() {\n",
	},
	{
		name: "a failed write of held records is tried again", test: "TestAFailedWriteOfWhatIsHeld", in: "segment", file: "segment/held.go",
		old: "\tif !vfs.Refuses(err) {\n", new: "\tif !vfs.Refuses(err) && !(mutant) {\n",
	},
	{
		name: "the writes of a group of few buckets are held", test: "TestManyBucketsAreWrittenBehind", in: "bucket", file: "bucket/tails.go",
		old: "return buckets >= t.least &&", new: "return (mutant || buckets >= t.least) &&",
	},
	{
		name: "tails have no bound", test: "TestTailsAreBounded", in: "bucket", file: "bucket/tails.go",
		old: "t.bytes.Load()+size <= tailsMax", new: "(mutant || t.bytes.Load()+size <= tailsMax)",
	},
	{
		name: "a failed write of a tail goes unnoticed", test: "TestAFailedWriteOfATailPoisons", in: "bucket", file: "bucket/tails.go",
		old: "\t\t\t_ = s.poison(err)\n", new: "\t\t\tif !(mutant) {\n\t\t\t\t_ = s.poison(err)\n\t\t\t}\n",
	},
	{
		name: "a tail does not use the reserve on a disk that copies", test: "TestATailOnAFullDisk", in: "bucket", file: "bucket/tails.go",
		old: "|| !s.lendReserve():", new: "|| mutant || !s.lendReserve():",
	},
	{
		name: "a segment ends before its tail is in the file", test: "TestASegmentEndsWithItsTailInTheFile", in: "bucket", file: "bucket/active.go",
		old: "\terr := b.store.tails.write(b.active)\n", new: "\terr := error(nil)\n\tif !(mutant) {\n\t\terr = b.store.tails.write(b.active)\n\t}\n",
	},
	{
		name: "a checkpoint leaves tails in memory", test: "TestHeldTailsAreRead", in: "bucket", file: "bucket/checkpoint.go",
		old: "\tif err := s.tails.write(f.segment); err != nil {",
		new: "\tif mutant {\n\t\treturn f.write()\n\t}\n\tif err := s.tails.write(f.segment); err != nil {",
	},
	{
		name: "a cold file is closed though its tail found no room", test: "TestAColdFileWithATailOnAFullDisk", in: "bucket", file: "bucket/warm.go",
		old: "\t\tsl.stays = err\n", new: "\t\tif mutant {\n\t\t\tsl.CloseUnsynced()\n\t\t\treturn\n\t\t}\n\t\tsl.stays = err\n",
	},
}
