package backup

import (
	"encoding/hex"
	"encoding/json"
	"fmt"
	"time"

	"kvd/bucket/cut"
	"kvd/bucket/manifest"
	"kvd/kv"
)

// Names of the entries that are no parts.
const (
	infoName   = "kvd-backup.json"
	damageName = "damage.json"
	sumsName   = "SUMS"
)

const (
	format      = 1
	partSize    = 4 << 20          // bytes of a part, unpacked
	packedMax   = partSize + 1<<16 // bytes of a part as it stands in the archive
	infoMax     = 64 << 20         // bytes of kvd-backup.json
	manifestMax = 256 << 20        // bytes of the manifest
	damageMax   = 1 << 20          // bytes of damage.json
	damagesMax  = 100              // listed in damage.json
)

// partName returns the name of a part.
func partName(name string, part int) string { return fmt.Sprintf("%s.%06d.zst", name, part) }

// partsOf returns how many parts so many bytes take.
func partsOf(size int64) int { return int((size + partSize - 1) / partSize) }

// fileName returns the name of a file in the archive, without the number of a part.
func fileName(f cut.File) string { return fmt.Sprintf("seg/%d/%s", f.Bucket, f.Name()) }

// infoJSON is kvd-backup.json.
type infoJSON struct {
	Format   int          `json:"format"`
	Store    string       `json:"store"`
	LSN      uint64       `json:"lsn"`
	Time     time.Time    `json:"time"`
	Manifest int64        `json:"manifest"`
	Buckets  []bucketJSON `json:"buckets"`
	Files    []fileJSON   `json:"files"`
}

type bucketJSON struct {
	Number   uint64          `json:"number"`
	Name     string          `json:"name"`
	ID       uint64          `json:"id"`
	Created  time.Time       `json:"created"`
	Revision kv.Revision     `json:"revision"`
	Keys     uint64          `json:"keys"`
	Digest   string          `json:"digest,omitempty"`
	Config   json.RawMessage `json:"config"`
}

type fileJSON struct {
	Bucket uint64 `json:"bucket"`
	Name   string `json:"name"`
	Size   int64  `json:"size"`
}

// damageJSON is damage.json.
type damageJSON struct {
	Places  int         `json:"places"`
	Damages []placeJSON `json:"damages"`
}

type placeJSON struct {
	File   string `json:"file"`
	Offset int64  `json:"offset"`
	Bucket string `json:"bucket,omitempty"`
	Detail string `json:"detail"`
}

func newInfo(c *cut.Content) *infoJSON {
	i := &infoJSON{
		Format: format, Store: hex.EncodeToString(c.StoreID[:]), LSN: uint64(c.LSN), Time: c.Time, Manifest: int64(len(c.Manifest)),
		Buckets: []bucketJSON{}, Files: []fileJSON{},
	}
	for _, b := range c.Buckets {
		j := bucketJSON{b.ID, b.Config.Bucket, b.Life, b.Created, b.Revision, b.Keys, "", manifest.EncodeConfig(b.Config)}
		if b.Digest != nil {
			j.Digest = b.Digest.String()
		}
		i.Buckets = append(i.Buckets, j)
	}
	for _, f := range c.Files {
		i.Files = append(i.Files, fileJSON{f.Bucket, f.Name(), f.Size})
	}
	return i
}

// content returns what an archive says that it holds, without the manifest.
func (i *infoJSON) content() (*cut.Content, error) {
	c := &cut.Content{Time: i.Time}
	for _, f := range i.Files {
		file, ok := cut.ParseFile(f.Bucket, f.Name, f.Size)
		if !ok {
			return nil, fmt.Errorf("%.40q is no name of a file", f.Name)
		}
		c.Files = append(c.Files, file)
	}
	return c, nil
}
