// Package nats compares kvd's front end for NATS clients with nats-server, with the same
// client, nats.go, in one run. It has only benchmarks.
//
//	go test -run '^$' -bench 'Put|Get' -benchtime 8000x
//	go test -run '^$' -bench GetMany -benchtime 200x
//	go test -run '^$' -bench 'Snapshot|Ls' -benchtime 5x     # KVD_BENCH_KEYS=1000000 for a million keys
//	go test -run '^$' -bench History -benchtime 1500x
//	go test -run '^$' -bench Watchers -benchtime 1000x
//	go test -run '^$' -bench Publish -benchtime 100000x
//	go test -run '^$' -bench Buckets -benchtime 1025x
//	go test -run '^$' -bench SlowestPut -benchtime 100000x
//	go test -run '^$' -bench '^BenchmarkConsume$' -benchtime 20x
//	go test -run '^$' -bench 'IdleConsumers/server=kvd' -benchtime 10000x
//
// Client and servers share one process and its processors. server=floor shows the client's
// part of a figure: this server answers with prepared bytes, so only the client and the
// sockets take time. server=floor-synced also syncs a block of 4 KiB once for all publishes
// that it has read: a put takes that long with a server that only makes it durable.
package nats
