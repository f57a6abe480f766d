package fuzz

import (
	"testing"

	"kvd/kv"
	"kvd/kv/digest"
)

// newImportedStore makes a store of a bucket and copies of it that were imported: one before
// the last checkpoint, one behind it, and two whose imports are not committed.
func newImportedStore(t *testing.T) *matrixStore {
	b := newMatrixBuilder(t)
	one := b.create(kv.Config{Bucket: "one", History: 3})
	b.write(one, 130)
	b.importCopy(one, "two", 0).commit()
	b.importCopy(one, "lost", 0)
	b.checkpoint()
	b.importCopy(one, "three", 170).commit()
	b.importCopy(one, "lost", 0)
	b.write(one, 10)
	return b.finish(false)
}

// copyImport is an import of a bucket's records.
type copyImport struct {
	kv.Importer
	builder *matrixBuilder
	name    string
	digest  kv.Digest
}

// importCopy imports the values of a bucket, the newest of each key, and does not commit.
func (b *matrixBuilder) importCopy(from kv.Bucket, name string, next kv.Revision) *copyImport {
	b.t.Helper()
	importer, err := b.store.ImportBucket(b.t.Context(), kv.Config{Bucket: name}, next)
	b.must(err)
	i := &copyImport{Importer: importer, builder: b, name: name}
	var last kv.Revision
	for { // in the order of revisions
		var lowest *kv.Entry
		for e, err := range from.All(b.t.Context()) {
			b.must(err)
			if e.Revision > last && (lowest == nil || e.Revision < lowest.Revision) {
				lowest = &e
			}
		}
		if lowest == nil {
			return i
		}
		b.must(i.Write(b.t.Context(), []kv.Entry{*lowest}))
		i.digest, last = i.digest.Add(digest.OfEntry(lowest)), lowest.Revision
	}
}

// commit commits the import, so that its bucket is asked about too.
func (i *copyImport) commit() {
	i.builder.t.Helper()
	i.builder.must(i.Commit(i.builder.t.Context(), i.digest))
	i.builder.names = append(i.builder.names, i.name)
	for _, key := range matrixKeys {
		i.builder.heads[keyOf{i.name, key}] = head{}
	}
}
