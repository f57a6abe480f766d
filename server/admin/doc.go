// Package admin is the HTTP listener of kvd for operation: health, metrics and, if
// configured, profiles.
//
//	/livez         200 while the process runs
//	/readyz        200 and remarks once the store is recovered and served, and no bucket is
//	               in doubt after damage but those served stale; otherwise 503 and the reason
//	/healthz       200 if the store is served, and every bucket accepts writes, is not in
//	               doubt, served stale or not, and has no lost value; otherwise 503, the
//	               bucket and the reason
//	/metrics       metrics in the format of Prometheus
//	/debug/pprof/  profiles of the Go runtime, with Options.Pprof only
//
// There is no login and no encryption: an address that is not loopback is refused
// unless Options.Insecure allows it. The listener shows no keys and no values; the
// metrics contain names of buckets.
//
// # Metrics
//
// Labels: op is the operation of a client, and result its outcome (ok, not_found,
// conflict, limit, invalid, error).
//
//	kvd_operations_total{op,result,bucket}     counter    operations answered
//	kvd_damaged_reads_total{bucket}            counter    entries and answers that are an error because of damage
//	kvd_cas_conflicts_total                    counter    writes refused because of their condition
//	kvd_operation_duration_seconds{kind}       histogram  see below
//	kvd_fsync_duration_seconds                 histogram  making a group of writes durable
//	kvd_commit_batch_size                      histogram  records per sync
//	kvd_commit_bytes_total                     counter    bytes appended to the log
//	kvd_expired_keys_total                     counter    keys that expired
//	kvd_compaction_runs_total{result}          counter    done, or given up
//	kvd_compaction_bytes_total{what}           counter    read, written and freed on disk
//	kvd_compaction_pause_seconds_total         counter    time compactions spent throttled
//	kvd_scrub_bytes_total                      counter    bytes of segments that the scrub has read (--scrub)
//	kvd_scrub_damages_total                    counter    places that it found damaged, again in each pass
//	kvd_scrub_passes_total                     counter    complete passes over all segments
//	kvd_scrub_progress_ratio                   gauge      part that the present pass has done, 0 to 1
//	kvd_buckets                                gauge      number of buckets
//	kvd_keys{bucket}                           gauge      keys with a value
//	kvd_values{bucket}                         gauge      records kept, including markers
//	kvd_bucket_bytes{bucket,state}             gauge      live: of kept records; dead: other bytes in its files
//	kvd_revision{bucket}                       gauge      newest revision
//	kvd_watchers{bucket}                       gauge      active watches
//	kvd_watch_lag_revisions{bucket}            gauge      revisions that the slowest watch has not read
//	kvd_bucket_writable{bucket}                gauge      1, or 0 after a fault
//	kvd_bucket_in_doubt{bucket}                gauge      1 if damage may have taken records, otherwise 0
//	kvd_records_damaged{bucket}                gauge      records missing, where their number is known, or lost
//	kvd_serve_stale{bucket}                    gauge      1 if served as if nothing were in doubt (--serve-stale)
//	kvd_bucket_info{bucket,storage,sync}       gauge      1; sync="interval" acknowledges before the sync
//	kvd_connections{protocol}                  gauge      open connections: line or nats
//	kvd_store_files_open                       gauge      files that the store has open
//	kvd_store_files_max                        gauge      files that the store may have open at most: --max-files
//	kvd_clock_leap_seconds                     gauge      leap of the wall clock that nobody accepted; 0: none
//	kvd_clock_suspended_seconds                gauge      suspension of the machine since the open; on Linux
//	kvd_ready                                  gauge      1 if /readyz answers 200
//	kvd_build_info{version,revision,goversion} gauge      1
//
// and the metrics of the Go runtime and of the process.
//
// The durations are those of calls into the store, without the network. kind is read
// (one in 16 is timed), write or admin. One write call carries all pipelined writes of
// a connection, which share a sync.
//
// 256 buckets have series of their own: the first by name, and for counters the first
// that were used. The others are summed under bucket="".
//
// # Why
//
// A server with a bucket in doubt is not ready, although it serves the other buckets and
// what is not in doubt of this one: a client that is sent elsewhere gets its answers, and
// one that stays gets errors, but no wrong answer.
//
// Operations are counted by a kv.Store around the engine's, and not in the engine: the
// engine stays free of metrics, and all front ends are counted alike. Counting
// allocates nothing, and adds less to a read of 350 ns than a shared machine can show
// (BenchmarkGet). Reading the clock twice for each read would show.
package admin
