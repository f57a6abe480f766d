package fuzz

// valueMutants break the rules of large values, which have files of their own.
var valueMutants = []mutant{
	{
		name: "a value is not synced before its record is logged", test: "TestPowerCutAtEveryCallOfLargeValues", in: "bucket", file: "segment/valuefile.go",
		old: "\tif err == nil {\n\t\tvfs.Yield()\n\t\terr = file.Sync()\n\t}\n", new: "\tif err == nil && !(mutant) {\n\t\tvfs.Yield()\n\t\terr = file.Sync()\n\t}\n",
	},
	{
		name: "the name of a value file is not durable before its record is logged", test: "TestPowerCutAtEveryCallOfLargeValues", in: "bucket", file: "bucket/spares.go",
		old: "\tif err := s.segmentDir.Sync(); err != nil {\n", new: "\tif mutant {\n\t\treturn nil\n\t}\n\tif err := s.segmentDir.Sync(); err != nil {\n",
	},
	{
		name: "the manifest does not say that there are value files", test: "TestPowerCutAtEveryCallOfLargeValues", in: "bucket", file: "bucket/values.go",
		old: "\tif err := s.logEdit(&manifest.Edit{ValueFiles: true}); err != nil {\n", new: "\tif mutant {\n\t\treturn nil\n\t}\n\tif err := s.logEdit(&manifest.Edit{ValueFiles: true}); err != nil {\n",
	},
	{
		name: "an open judges value files before the replay", test: "TestPowerCutAtEveryCallOfLargeValues", in: "bucket", file: "bucket/recover.go",
		old: "\t\tif err := r.replay(); err != nil {\n",
		new: "\t\tif mutant {\n\t\t\tif err := r.checkValues(); err != nil {\n\t\t\t\treturn err\n\t\t\t}\n\t\t}\n\t\tif err := r.replay(); err != nil {\n",
	},
	{
		name: "value files that no record names stay after a power cut", test: "TestPowerCutAtEveryCallOfLargeValues", in: "bucket", file: "bucket/load.go",
		old: "\t\tif err := segment.RemoveValue(s.segments, number, func() {}); err != nil {\n",
		new: "\t\tif mutant {\n\t\t\tcontinue\n\t\t}\n\t\tif err := segment.RemoveValue(s.segments, number, func() {}); err != nil {\n",
	},
	{
		name: "the file of a refused value stays", test: "TestTheFileOfARefusedValueIsRemoved", in: "bucket", file: "bucket/values.go",
		old: "\t\tif m.file.Number != 0 && (m.err != nil", new: "\t\tif m.file.Number != 0 && !(mutant) && (m.err != nil",
	},
	{
		name: "compaction removes the value files of records that stay", test: "TestValueFilesAreRemovedWithTheirRecords", in: "bucket", file: "bucket/swap.go",
		old: "\tif len(input.values) == 0 || c.output == nil {\n", new: "\tif mutant || len(input.values) == 0 || c.output == nil {\n",
	},
	{
		name: "compaction keeps the value files of records that go", test: "TestValueFilesAreRemovedWithTheirRecords", in: "bucket", file: "bucket/remove.go",
		old: "\tfor _, v := range sl.values {\n", new: "\tfor _, v := range sl.values[len(sl.values)*map[bool]int{true: 1}[mutant]:] {\n",
	},
	{
		name: "a read does not check a value in a file", test: "TestDamageToAValueFile", in: "bucket", file: "segment/valuefile.go",
		old: "\tif s.seed.sum(buf[start:]) != f.Sum {\n", new: "\tif !(mutant) && s.seed.sum(buf[start:]) != f.Sum {\n",
	},
}
