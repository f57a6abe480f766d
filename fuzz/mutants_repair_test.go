package fuzz

// repairMutants break the audit of a repair.
var repairMutants = []mutant{
	{
		name: "an older value passes for the newest one", test: "TestLostValues", in: "repair", file: "repair/audit.go",
		old: "k.Newest && !r.opts.PreferOlder\n",
		new: "k.Newest && !r.opts.PreferOlder && !(mutant)\n",
	},
	{
		name: "a repair names no key at risk", test: "TestDamageMatrixOfRepair", in: "repair", file: "repair/audit.go",
		old: "\tcase k.Revision <= r.doubt.Bound:\n",
		new: "\tcase !(mutant) && k.Revision <= r.doubt.Bound:\n",
	},
	{
		name: "records of the log are not judged by its operations", test: "TestLiveRecordsAreThoseThatTheStoreKeeps", in: "bucket/dump", file: "bucket/dump/life.go",
		old: "\tjournal.ChangeRules(&l.rules, op)\n",
		new: "\tif !(mutant) {\n\t\tjournal.ChangeRules(&l.rules, op)\n\t}\n",
	},
}
