package main

import (
	"context"
	"encoding/hex"
	"os"
	"runtime"
	"time"

	"kvd/kv"
	"kvd/server"
	"kvd/server/admin"
)

// operator returns what the admin API shows and does. It reads the settings of the start, because
// a reload replaces d.cfg.
func (d *daemon) operator() *admin.Operator {
	cfg, started := d.cfg, time.Now()
	return &admin.Operator{
		Logins:  d.security.logins,
		Logger:  d.log,
		Servers: d.serving,
		Info: func(ctx context.Context) (admin.Info, error) {
			store, err := d.storeInfo(ctx, cfg)
			if err != nil {
				return admin.Info{}, err
			}
			build := thisBuild()
			free, total := diskSpace(cfg.data)
			return admin.Info{
				Version: build.Version, Revision: build.Revision, Go: build.Go, Platform: build.Platform,
				PID: os.Getpid(), Started: started.UTC(), Uptime: time.Since(started).Seconds(),
				Listen: d.addresses(), Store: store, Disk: admin.DiskInfo{Free: free, Total: total}, Memory: memoryInfo(),
				Connections: d.connectionsInfo(), Security: d.securityInfo(cfg),
				Slow: d.metrics.Slow().String(), Settings: cfg.origins,
			}, nil
		},
	}
}

// serving returns the servers of the protocols that are on, with their names.
func (d *daemon) serving() []admin.Serving {
	var on []admin.Serving
	if d.line != nil {
		on = append(on, admin.Serving{Protocol: "line", Server: d.line})
	}
	if d.nats != nil {
		on = append(on, admin.Serving{Protocol: "nats", Server: d.nats})
	}
	return on
}

func (d *daemon) addresses() admin.Addresses {
	text := func(on bool, addr func() string) string {
		if !on {
			return ""
		}
		return addr()
	}
	return admin.Addresses{
		Line:    text(d.lineAddr != nil, func() string { return d.lineAddr.String() }),
		NATS:    text(d.natsAddr != nil, func() string { return d.natsAddr.String() }),
		Admin:   text(d.adminAddr != nil, func() string { return d.adminAddr.String() }),
		Metrics: text(d.metricsAddr != nil, func() string { return d.metricsAddr.String() }),
	}
}

func (d *daemon) storeInfo(ctx context.Context, cfg *serveConfig) (admin.StoreInfo, error) {
	id, space := d.store.ID(), d.store.Space()
	info := admin.StoreInfo{
		ID: hex.EncodeToString(id[:]), Directory: absolute(cfg.data), Recovery: d.store.Report().String(),
		Log: space.Log, LogMax: space.LogMax, Reserve: space.Reserve, Full: space.Full,
	}
	info.FilesOpen, info.FilesMax = d.store.Files()
	for st, err := range d.store.Buckets(ctx) {
		if err != nil {
			return info, err
		}
		info.Buckets++
		info.Keys += st.Keys
		info.Bytes += st.Bytes
		info.Disk += st.Disk
		if st.ReadOnly != nil {
			info.ReadOnly++
		}
		if st.Doubt != 0 {
			info.InDoubt++
		}
		info.Watches += watchesOf(ctx, d.store, st.Config.Bucket)
	}
	return info, nil
}

// watchesOf returns the number of watches of a bucket. One that was deleted meanwhile has none.
func watchesOf(ctx context.Context, s kv.Store, name string) int {
	b, err := s.Bucket(ctx, name)
	if err != nil {
		return 0
	}
	w, ok := kv.As[kv.Watched](b)
	if !ok {
		return 0
	}
	count, _ := w.Watchers()
	return count
}

func memoryInfo() admin.MemoryInfo {
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return admin.MemoryInfo{Heap: m.HeapAlloc, Total: m.Sys - m.HeapReleased, Goroutines: runtime.NumGoroutine()}
}

func (d *daemon) connectionsInfo() admin.ConnectionsInfo {
	logins := d.security.logins.Counts()
	info := admin.ConnectionsInfo{LoginsAccepted: logins.Accepted, LoginsFailed: logins.Failed, LoginsRefused: logins.Refused}
	for _, s := range d.servers() {
		counts := s.Counts()
		info.Accepted += counts.Accepted
		info.Refused += counts.Refused
	}
	info.Line, info.NATS = openConns(d.line), openConns(d.nats)
	return info
}

// openConns returns the number of connections of a server; nil has none.
func openConns(s *server.Server) int {
	if s == nil {
		return 0
	}
	return s.Conns()
}

func (d *daemon) securityInfo(cfg *serveConfig) admin.SecurityInfo {
	info := admin.SecurityInfo{Users: d.security.logins.HasUsers(), TLS: d.security.tls != nil, Insecure: cfg.insecure}
	if at := d.security.expires(); !at.IsZero() {
		at = at.UTC()
		info.CertificateExpires = &at
	}
	return info
}

// space returns how the store uses its disk, for the metrics.
func (d *daemon) space() admin.Space {
	s := d.store.Space()
	free, total := diskSpace(d.dataDir)
	return admin.Space{Free: free, Total: total, Log: s.Log, LogMax: s.LogMax, Reserve: s.Reserve, Full: s.Full}
}
