package fuzz

// importMutants break the rules of imports and of digests.
var importMutants = []mutant{
	{
		name: "an import is visible before its commit", test: "TestAnImportIsHidden", in: "bucket", file: "bucket/control.go",
		old: "\ts.mu.ids[b.id] = b\n\tif !b.hidden {\n", new: "\ts.mu.ids[b.id] = b\n\tif mutant || !b.hidden {\n",
	},
	{
		name: "an open keeps imports that were not committed", test: "TestAnOpenDiscardsImports", in: "bucket", file: "bucket/reveal.go",
		old: "\t\tif b.hidden {\n", new: "\t\tif b.hidden && !(mutant) {\n",
	},
	{
		name: "an import takes a name that is taken", test: "TestTheNameOfAnImport", in: "bucket", file: "bucket/import.go",
		old: "\tcase err == nil:\n\t\treturn fmt.Errorf(\"%w: %q; delete", new: "\tcase err == nil && !(mutant):\n\t\treturn fmt.Errorf(\"%w: %q; delete",
	},
	{
		name: "an import of other records is committed", test: "TestTheDigestOfAnImport", in: "bucket", file: "bucket/import.go",
		old: "got != digest {", new: "got != digest && !(mutant) {",
	},
	{
		name: "an import is committed although records are missing", test: "TestAnImportTrimsAsWritesDo", in: "bucket", file: "bucket/import.go",
		old: "\t\t\ti.ended = fmt.Errorf(\"%w: records", new: "\t\t\tif mutant {\n\t\t\t\treturn err\n\t\t\t}\n\t\t\ti.ended = fmt.Errorf(\"%w: records",
	},
	{
		name: "the manifest shows a bucket before the log deletes the one that had its name", test: "TestTheManifestHidesWhatTheLogReveals", in: "bucket", file: "bucket/checkpoint.go",
		old: "b.hidden || b.revealed > low", new: "b.hidden || !(mutant) && b.revealed > low",
	},
	{
		name: "a watch resumes at a revision of an import", test: "TestRevisionsAfterAnImport", in: "bucket", file: "bucket/reveal.go",
		old: "\tb.skipToLocked(op)\n", new: "\tif mutant {\n\t\tb.mu.compactedEndUpTo = 0\n\t}\n\tb.skipToLocked(op)\n",
	},
	{
		name: "the revisions behind an import are not skipped", test: "TestRevisionsAfterAnImport", in: "bucket", file: "bucket/reveal.go",
		old: "\tif skipped.After == skipped.UpTo {\n", new: "\tif mutant || skipped.After == skipped.UpTo {\n",
	},
	{
		name: "damage to the log of an import counts its records", test: "TestDamageToTheLogOfAnImport", in: "bucket", file: "bucket/evidence.go",
		old: "\tif reveal, ok := op.(*journal.Reveal); ok &&", new: "\tif reveal, ok := op.(*journal.Reveal); !(mutant) && ok &&",
	},
	{
		name: "a digest counts records that wait for their removal", test: "TestTheDigestIsUnknownBeforeRemovals", in: "bucket", file: "bucket/digest.go",
		old: "b.mu.rulesPending > 0 ||", new: "b.mu.rulesPending > 0 && !(mutant) ||",
	},
	{
		name: "a removed version stays in the digest", test: "TestTheDigestAfterRandomHistories", in: "bucket", file: "index/apply.go",
		old: "\tx.digest = x.digest.Sub(", new: "\tif mutant && v.Deadline != 0 {\n\t\treturn\n\t}\n\tx.digest = x.digest.Sub(",
	},
}
