// Package admin is kvd's HTTP listener for operators and their machines: health,
// metrics and, where asked for, profiles.
//
//	/livez         200 as long as the process answers
//	/readyz        200 once the store is recovered and serving, else 503 and why
//	/healthz       200 if ready and every bucket takes writes, else 503 and why
//	/metrics       the state and the counters, in Prometheus' format
//	/debug/pprof/  Go's profiles, only with Options.Pprof
//
// There is neither login nor encryption: an address that is not loopback is
// refused unless Options.Insecure says that this is known. Nothing that the
// listener shows is a key or a value; names of buckets are in the metrics.
//
// # Metrics
//
// Labels: op is what a client asked for, result what became of it (ok, not_found,
// conflict, limit, invalid, error).
//
//	kvd_operations_total{op,result,bucket}     counter    operations answered
//	kvd_cas_conflicts_total                    counter    writes refused by their condition
//	kvd_operation_duration_seconds{kind}       histogram  see below
//	kvd_fsync_duration_seconds                 histogram  making a group of writes durable
//	kvd_commit_batch_size                      histogram  records that shared one sync
//	kvd_commit_bytes_total                     counter    bytes of records and operations logged
//	kvd_expired_keys_total                     counter    keys that expired
//	kvd_compaction_runs_total{result}          counter    done, or given up
//	kvd_compaction_bytes_total{what}           counter    read, written, and freed: given back to the disk
//	kvd_compaction_pause_seconds_total         counter    time in which they left the disk to others
//	kvd_buckets                                gauge      buckets there are
//	kvd_keys{bucket}                           gauge      keys with a value
//	kvd_values{bucket}                         gauge      records kept, markers included
//	kvd_bucket_bytes{bucket,state}             gauge      live: of those records; dead: what else its files hold
//	kvd_revision{bucket}                       gauge      of the newest record
//	kvd_watchers{bucket}                       gauge      watches
//	kvd_watch_lag_revisions{bucket}            gauge      what the one furthest behind has not looked at
//	kvd_bucket_writable{bucket}                gauge      0 after a fault
//	kvd_bucket_info{bucket,storage,sync}       gauge      1; sync="interval" acknowledges before the sync
//	kvd_connections{protocol}                  gauge      clients of the line protocol and of NATS'
//	kvd_ready                                  gauge      what /readyz says
//	kvd_build_info{version,revision,goversion} gauge      1
//
// and those of the Go runtime and of the process.
//
// The durations are of calls into the store: kind is write (of a pipelined
// connection one call carries many writes, which is how they share a sync), read
// (one in 16 is timed) or admin. Time on the network is not in them.
//
// The first 256 buckets by name, or of the counters by first use, have series of
// their own. What the others count is under bucket="".
//
// # Why
//
// Operations are counted by a kv.Store around the engine's, and not in the
// engine: the engine stays free of metrics, and whatever front end is served
// counts alike. It allocates nothing, and what it adds to a read of 350 ns is
// lost in the noise of a shared machine (BenchmarkGet); reading the clock twice
// for each of them would not be.
package admin
