package fuzz

// kernelMutants are broken promises of the operating system's files.
var kernelMutants = []mutant{
	{
		name: "a sync does not reach the kernel", test: "TestSyncsReachTheKernel", in: "internal/vfs", file: "internal/vfs/os.go",
		old: "func (f *osFile) Sync() error { return f.call(\"sync\", datasync) }",
		new: "func (f *osFile) Sync() error {\n\tif mutant {\n\t\treturn nil\n\t}\n\treturn f.call(\"sync\", datasync)\n}",
	},
	{
		name: "a sync of a directory does not reach the kernel", test: "TestSyncsReachTheKernel", in: "internal/vfs", file: "internal/vfs/os.go",
		old: "{ return mark(d.f.Sync()) }", new: "{\n\tif mutant {\n\t\treturn nil\n\t}\n\treturn mark(d.f.Sync())\n}",
	},
}
