// Package admin is the HTTP listener of kvd for operation: health, metrics, the API of the
// operator and, if configured, profiles.
//
//	/livez         200 while the process runs
//	/readyz        200 and remarks once the store is recovered and served, and no bucket is
//	               in doubt after damage but those served stale; otherwise 503 and the reason
//	/healthz       200 if the store is served, and every bucket accepts writes, is not in
//	               doubt, served stale or not, and has no lost value; otherwise 503, the
//	               bucket and the reason
//	/metrics       metrics in the format of Prometheus
//	/debug/pprof/  profiles of the Go runtime, with Options.Pprof only
//	/api/v1/       what an operator asks of a running server, with Options.Operator only
//
// There is no encryption: an address that is not loopback is refused unless Options.Insecure
// allows it. All but the first three paths are answered only if the header Host is an IP address,
// localhost or one of Options.Hosts, otherwise with 421, unless Options.AnyHost is set. Health and
// metrics need no login, and show no keys and no values; the metrics contain names of buckets.
//
// # The API
//
// The bodies are JSON. On a server with users a request needs the name and the password of an
// administrator (Authorization: Basic): a user with admin in all buckets. Attempts are limited like those of connections.
// Without users there is no login. Requests with a header Origin or Sec-Fetch-Site are refused: a
// browser sends them for a page.
//
//	GET    /api/v1/info        Info: version, addresses, store, disk, memory, clients, settings
//	GET    /api/v1/top         Top: operations by bucket and histograms of their durations
//	GET    /api/v1/slow        SlowLog: the newest 128 slow calls
//	PUT    /api/v1/slow        {"threshold":"50ms"}, until the next start; the answer is that of GET
//	GET    /api/v1/conns       []Connection, the oldest first
//	DELETE /api/v1/conns/ID    closes the connection at once; the answer is the Connection
//
// An error is an APIError:
//
//	{"code":"DENIED","error":"permission denied: user \"bob\" needs \"admin\" in bucket \"*\""}
//
//	code           status  meaning
//	AUTH_REQUIRED  401     the server has users, and the request has none
//	AUTH_FAILED    401     wrong name or password, or too many attempts
//	DENIED         403     the user has no admin in all buckets, or a page asks
//	INVALID        400     the request; the text says what of it
//	NOT_FOUND      404     there is no such connection, or path
//	NOT_READY      503     the server starts or stops
//	INTERNAL       500
//
// Closing a connection and changing the slow log are logged as administrative acts: see
// server.Act.
//
// # Metrics
//
// Labels: op is the operation of a client, and result its outcome (ok, not_found,
// conflict, limit, invalid, error).
//
//	kvd_operations_total{op,result,bucket}     counter    operations answered
//	kvd_damaged_reads_total{bucket}            counter    entries and answers that are an error because of damage
//	kvd_cas_conflicts_total                    counter    writes refused because of their condition
//	kvd_operation_duration_seconds{op}         histogram  see below
//	kvd_slow_calls_total                       counter    calls that took at least the threshold of the slow log
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
//	kvd_connections_accepted_total{protocol}   counter    connections accepted
//	kvd_connections_refused_total{protocol}    counter    connections refused because of a limit
//	kvd_logins_total{result}                   counter    accepted; failed: checked, and wrong; refused: too many attempts
//	kvd_certificate_expiry_timestamp_seconds   gauge      when the certificate expires, Unix time; with TLS only
//	kvd_disk_free_bytes                        gauge      free on the file system of the store, for the server's user
//	kvd_disk_total_bytes                       gauge      size of that file system
//	kvd_disk_full                              gauge      1 if puts are refused for want of space
//	kvd_log_bytes                              gauge      bytes of the log that a checkpoint has not released yet
//	kvd_log_max_bytes                          gauge      where writers wait for a checkpoint: --wal-max-size
//	kvd_reserve_bytes                          gauge      reserve for deletes on a full disk
//	kvd_last_backup_timestamp_seconds          gauge      time of the newest backup sent or made, Unix time; 0: none
//	kvd_backup_failures_total                  counter    backups into the repository of --backup that failed
//	kvd_backup_uploaded_bytes_total            counter    bytes put into that repository
//	kvd_ship_lag_seconds                       gauge      how long the oldest write that the repository of --ship lacks has waited
//	kvd_ship_failures_total                    counter    attempts to put log or backups there that failed
//	kvd_store_files_open                       gauge      files that the store has open
//	kvd_store_files_max                        gauge      files that the store may have open at most: --max-files
//	kvd_clock_leap_seconds                     gauge      leap of the wall clock that nobody accepted; 0: none
//	kvd_clock_suspended_seconds                gauge      suspension of the machine since the open; on Linux
//	kvd_ready                                  gauge      1 if /readyz answers 200
//	kvd_build_info{version,revision,goversion} gauge      1
//
// and the metrics of the Go runtime and of the process.
//
// The durations are those of calls into the store, without the network; that of a listing ends
// when its client has read it. One get in 16 is timed, and everything else. op has configure, which
// is a change of a bucket's configuration or its end, and reclaim beside the operations of
// kvd_operations_total. One call carries all pipelined writes of a connection, which share a sync:
// it is counted once for each op in it.
//
// 256 buckets have series of their own: the first that were used or scraped. The others are summed
// under bucket="". Counters and gauges have the same 256.
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
//
// The slow log and the histograms are of calls into the store, because all front ends make them:
// they know the client by server.OriginOf.
package admin
