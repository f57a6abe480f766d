package fuzz

// backupMutants break the rules of backups and restores.
var backupMutants = []mutant{
	{
		name: "a backup does not hold its files", test: "TestABackupKeepsItsFiles", in: "bucket", file: "bucket/heldcut.go",
		old: "\tx.held.bucket = b\n\tx.held.beginLocked()", new: "\tif !(mutant) {\n\t\tx.held.bucket = b\n\t\tx.held.beginLocked()\n\t}",
	},
	{
		name: "a backup of one bucket has all", test: "TestABackupOfSomeBuckets", in: "bucket", file: "bucket/heldcut.go",
		old: "\tif c.all {\n", new: "\tif c.all || mutant {\n",
	},
	{
		name: "a backup keeps value files that later records name", test: "TestBackups", file: "bucket/heldcut.go",
		old: "slices.Clip(sl.values)}", new: "map[bool][]valueFile{false: slices.Clip(sl.values)}[mutant]}",
	},
	{
		name: "a restored bucket goes on where the backup ended", test: "TestABackupBecomesAStore", in: "bucket", file: "bucket/cut/restore.go",
		old: "\tif o.Bump != nil {\n\t\treturn next +", new: "\tif mutant {\n\t\treturn next\n\t}\n\tif o.Bump != nil {\n\t\treturn next +",
	},
	{
		name: "a restored bucket has the old one's id", test: "TestABackupBecomesAStore", in: "bucket", file: "bucket/cut/restore.go",
		old: "\tif !p.opts.SameIDs {\n", new: "\tif !p.opts.SameIDs && !(mutant) {\n",
	},
	{
		name: "a restore that is not finished is a store", test: "TestPowerCutAtEveryCallOfARestore", in: "bucket", file: "bucket/claim.go",
		old: "e.Name == manifest.RestoreFile && !replaying {", new: "e.Name == manifest.RestoreFile && !replaying && !(mutant) {",
	},
	{
		name: "the files of a restore are not durable before its manifest", test: "TestPowerCutAtEveryCallOfARestore", in: "bucket", file: "bucket/cut/restore.go",
		old: "\tif err == nil {\n\t\terr = file.Sync()\n\t}\n", new: "\tif err == nil && !(mutant) {\n\t\terr = file.Sync()\n\t}\n",
	},
}
