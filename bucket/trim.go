package bucket

import (
	"context"
	"fmt"

	"kvd/kv"
)

var _ kv.Trimmer = (*Bucket)(nil)

// Trim drops the oldest records; see [kv.Trimmer].
func (b *Bucket) Trim(ctx context.Context, below kv.Revision, records uint64, bytes int64) (uint64, error) {
	return 0, fmt.Errorf("%w: trimming bucket %q", kv.ErrNotSupported, b.name)
}
