package repo

import (
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"regexp"
	"strconv"

	"kvd/wal"
)

// Names of objects, and prefixes of them.
const (
	repoName      = "repo.json"
	generationDir = "gen/"
	partDir       = "seg/"
	probeDir      = "probe/"
	restoringDir  = "restoring/"
	pruningDir    = "pruning/"
)

// epoch numbers the generations of a repository, from 1 on.
type epoch uint64

func (e epoch) dir() string    { return fmt.Sprintf("%s%016x/", generationDir, uint64(e)) }
func (e epoch) owner() string  { return e.dir() + "owner.json" }
func (e epoch) closed() string { return e.dir() + "closed.json" }
func (e epoch) gap() string    { return e.dir() + "gap.json" }

// baseID names a base.
type baseID struct {
	epoch epoch
	lsn   wal.LSN
}

func (id baseID) stem() string     { return fmt.Sprintf("%sbase/%016x", id.epoch.dir(), uint64(id.lsn)) }
func (id baseID) list() string     { return id.stem() + ".json" }
func (id baseID) verified() string { return id.stem() + ".verified.json" }

// generationName is the name of a sealed object in a generation: epoch, and owner, closed, gap, or LSN with or
// without verified.
var generationName = regexp.MustCompile(`^gen/([0-9a-f]{16})/(?:(owner|closed|gap)|base/([0-9a-f]{16})(\.verified)?)\.json$`)

// generationObject is a parsed name of an object in a generation.
type generationObject struct {
	epoch         epoch
	owner, closed bool
	gap           bool
	base          bool    // of that LSN: the list, or verified
	lsn           wal.LSN // of a base; of a log object the last one
	verified      bool
	log           logID // a log object; zero: it is none
}

// parseGeneration reads a name; false: it is no name of an object in a generation.
func parseGeneration(name string) (o generationObject, ok bool) {
	if id, ok := parseLog(name); ok {
		return generationObject{epoch: id.epoch, lsn: id.last, log: id}, true
	}
	m := generationName.FindStringSubmatch(name)
	if m == nil {
		return o, false
	}
	n, _ := strconv.ParseUint(m[1], 16, 64) // 16 digits always fit
	o = generationObject{epoch: epoch(n), owner: m[2] == "owner", closed: m[2] == "closed", gap: m[2] == "gap", base: m[3] != "", verified: m[4] != ""}
	if o.base {
		n, _ = strconv.ParseUint(m[3], 16, 64)
		o.lsn = wal.LSN(n)
	}
	return o, true
}

// partName returns the name of the part with a sum, in hex.
func partName(sum string) string { return partDir + sum + ".zst" }

// isPartName is the name of a part.
var isPartName = regexp.MustCompile(`^seg/[0-9a-f]{64}\.zst$`).MatchString

// random returns 32 random hex digits.
func random() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails
	return hex.EncodeToString(b[:])
}
