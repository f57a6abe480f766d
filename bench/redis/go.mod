module kvd/bench/redis

go 1.26.0

replace kvd => ../..

require (
	golang.org/x/sys v0.49.0
	kvd v0.0.0-00010101000000-000000000000
)
