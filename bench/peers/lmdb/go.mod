module kvd/bench/peers/lmdb

go 1.26.0

replace kvd => ../../..

require (
	github.com/PowerDNS/lmdb-go v1.9.3
	kvd v0.0.0-00010101000000-000000000000
)

require golang.org/x/sys v0.49.0 // indirect
