package backup

import (
	"context"
	"io"

	"kvd/bucket/cut"
	"kvd/bucket/progress"
	"kvd/kv"
)

// Verified is what [Verify] found.
type Verified struct {
	Content *cut.Content
	Damage  int // places of the store that were damaged when the backup was made
	Damages []*kv.CorruptError
}

// StageVerify and StageRestore are the stages of the two: bytes of files.
const (
	StageVerify  progress.Stage = "verifying"
	StageRestore progress.Stage = "restoring"
)

// Verify reads a whole archive and checks every bit of it. name is what errors call it. The errors are
// those of [Open] and of ctx. report is called now and then; nil: it is not.
func Verify(ctx context.Context, name string, r io.Reader, report func(progress.Progress)) (Verified, error) {
	a, err := Open(name, r)
	if err != nil {
		return Verified{}, err
	}
	defer a.Close()
	v := Verified{Content: a.Content()}
	meter := progress.Start(StageVerify, v.Content.Bytes(), report)
	err = a.Files(ctx, func(f cut.File, data io.Reader) error {
		n, err := io.Copy(io.Discard, data)
		meter.Add(n)
		return err
	})
	v.Damage, v.Damages = a.Damage()
	return v, err
}
