// Package nats measures kvd's front end for NATS' clients beside nats-server, with the
// same client, nats.go, in one run. It holds nothing but benchmarks.
//
//	go test -run '^$' -bench 'Put|Get' -benchtime 8000x
//	go test -run '^$' -bench 'Snapshot|Ls' -benchtime 5x     # KVD_BENCH_KEYS=1000000 for a million keys
//	go test -run '^$' -bench History -benchtime 1500x
//	go test -run '^$' -bench Watchers -benchtime 1000x
//	go test -run '^$' -bench Publish -benchtime 100000x
//	go test -run '^$' -bench Buckets -benchtime 1025x
//	go test -run '^$' -bench SlowestPut -benchtime 100000x
//
// Client and servers share one process and its processors. How much of a figure is the
// client's shows server=floor: a server that answers with what it made beforehand, so
// that nothing is left but the client and the sockets. server=floor-synced is that with
// one sync of a block of 4 KiB for all publishes that it reads at a time: what a put
// takes whose server does nothing but make it durable.
package nats
