module kvd

go 1.26.0

require (
	github.com/cespare/xxhash/v2 v2.3.0
	github.com/edsrzf/mmap-go v1.2.0
	github.com/google/btree v1.1.3
	golang.org/x/crypto v0.58.0
	golang.org/x/sys v0.49.0
)
