package fuzz

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	"kvd/internal/vfs"
	"kvd/internal/vfs/simdisk"
)

// imagesOfAnEffort is how many images of each store are examined as real files.
const imagesOfAnEffort = 16

// TestDamageMatrixOnFiles opens damaged images as real files, with mappings and without.
// Each opening tells the same as in memory.
func TestDamageMatrixOnFiles(t *testing.T) {
	for _, closed := range []bool{true, false} {
		for _, mapped := range []bool{true, false} {
			t.Run(fmt.Sprintf("closed=%t/mapped=%t", closed, mapped), func(t *testing.T) {
				t.Parallel()
				files := &osFiles{FS: vfs.OS(), mapped: mapped}
				m := newMatrixStore(t, closed)
				r := rand.New(rand.NewPCG(*matrixSeed, 11))
				units := slices.Concat(m.units(t, 4096), m.units(t, 512), m.units(t, 1))
				for range effort(imagesOfAnEffort) {
					u, d := units[r.IntN(len(units))], damages[r.IntN(2)]
					disk := m.disk.Clone()
					if err := disk.Corrupt(u.file, u.offset, u.size, func(b []byte) { d.f(m, u, b, r) }); err != nil {
						t.Fatal(err)
					}
					dir := t.TempDir()
					copyOut(t, disk, dir)
					want, got := m.examine("store", disk, m.mayRefuse(u)), m.examine(dir+"/store", files, m.mayRefuse(u))
					if differ := want.differs(&got); differ != "" || len(got.faults) > 0 {
						t.Errorf("-kvd.matrix-seed=%d: %v, %s: in memory and on files: %s; %s", *matrixSeed, u, d.name, differ, strings.Join(got.faults, "; "))
					}
					if err := os.RemoveAll(dir); err != nil {
						t.Fatal(err)
					}
				}
				if refused := files.refused.Load(); (refused == 0) != mapped {
					t.Errorf("%d mappings were refused", refused)
				}
			})
		}
	}
}

// differs says where two outcomes differ; "" if they do not.
func (o *outcome) differs(other *outcome) string {
	for i := range o.answers {
		if !slices.Equal(o.answers[i], other.answers[i]) {
			return openings[i] + " tells something else"
		}
	}
	if o.refused != other.refused {
		return fmt.Sprintf("%d and %d answers were refused", o.refused, other.refused)
	}
	return ""
}

// copyOut writes the store of a disk to real files below dir.
func copyOut(t *testing.T, disk *simdisk.Disk, dir string) {
	t.Helper()
	for _, sub := range []string{"store", "store/wal", "store/seg"} {
		files, err := disk.List(sub)
		if err == nil {
			err = os.Mkdir(filepath.Join(dir, sub), 0o700)
		}
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range files {
			if f.Dir {
				continue
			}
			name := sub + "/" + f.Name
			content, err := disk.ReadFile(name)
			if err == nil {
				err = os.WriteFile(filepath.Join(dir, name), content, 0o600)
			}
			if err != nil {
				t.Fatal(err)
			}
		}
	}
}

// osFiles are real files. Unless mapped is set, the system refuses every mapping.
type osFiles struct {
	vfs.FS
	mapped  bool
	refused atomic.Int64 // mappings
}

func (o *osFiles) Open(path string, mode vfs.Mode) (vfs.File, error) {
	f, err := o.FS.Open(path, mode)
	if err != nil || o.mapped {
		return f, err
	}
	return unmappedFile{f, o}, nil
}

// unmappedFile is a file that cannot be mapped.
type unmappedFile struct {
	vfs.File
	files *osFiles
}

func (f unmappedFile) Map(int64) (vfs.Mapping, error) {
	f.files.refused.Add(1)
	return nil, syscall.ENOMEM
}
