package blobtest

import (
	"testing"

	"kvd/backup/blob"
)

func TestMemory(t *testing.T) { Run(t, func(*testing.T) blob.Store { return NewMemory() }) }
