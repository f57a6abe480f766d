//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"kvd/bench/workload"
)

var (
	natsPeer    = workload.Peer{Name: "nats", Kind: workload.Server, Version: installed("nats-server"), Open: openNATS}
	kvdNATSPeer = workload.Peer{Name: "kvd-nats", Kind: workload.Server, Version: thisTree, Open: openKVDNATS}
)

// natsEngine is a server that NATS' Go client talks to: nats-server, or kvd.
type natsEngine struct {
	*process
	conn   *nats.Conn
	stream jetstream.JetStream
	bucket jetstream.KeyValue
}

// natsConfig has nats-server sync before it acknowledges.
const natsConfig = `
listen: "127.0.0.1:%s"
jetstream { store_dir: %q, sync_interval: always }
`

func openNATS(dir string) (workload.Engine, error) {
	port, err := freePort()
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	config := filepath.Join(dir, "nats.conf")
	if err := os.WriteFile(config, fmt.Appendf(nil, natsConfig, port, dir), 0o600); err != nil {
		return nil, err
	}
	p, err := start(answers("127.0.0.1:"+port), "nats-server", "-c", config, "-l", filepath.Join(dir, "log"))
	if err != nil {
		return nil, err
	}
	return connectNATS(p, port)
}

func openKVDNATS(dir string) (workload.Engine, error) {
	port, err := freePort()
	if err != nil {
		return nil, err
	}
	p, err := startKVD(dir, "--nats", port)
	if err != nil {
		return nil, err
	}
	return connectNATS(p, port)
}

func connectNATS(p *process, port string) (e *natsEngine, err error) {
	e = &natsEngine{process: p}
	defer func() {
		if err != nil {
			err = errors.Join(err, e.Close())
		}
	}()
	if e.conn, err = nats.Connect("nats://127.0.0.1:" + port); err != nil {
		return e, err
	}
	if e.stream, err = jetstream.New(e.conn, jetstream.WithPublishAsyncMaxPending(2*workload.Batch)); err != nil {
		return e, err
	}
	e.bucket, err = e.stream.CreateOrUpdateKeyValue(context.Background(), jetstream.KeyValueConfig{Bucket: bucketName})
	return e, err
}

func (e *natsEngine) Put(key string, value []byte) error {
	_, err := e.bucket.Put(context.Background(), key, value)
	return err
}

func (e *natsEngine) PutAll(keys []string, values [][]byte) error {
	acks := make([]jetstream.PubAckFuture, len(keys))
	for i, key := range keys {
		var err error
		if acks[i], err = e.stream.PublishAsync("$KV."+bucketName+"."+key, values[i]); err != nil {
			return err
		}
	}
	for _, ack := range acks {
		select {
		case <-ack.Ok():
		case err := <-ack.Err():
			return err
		}
	}
	return nil
}

func (e *natsEngine) Get(key string) ([]byte, error) {
	entry, err := e.bucket.Get(context.Background(), key)
	if errors.Is(err, jetstream.ErrKeyNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return entry.Value(), nil
}

func (e *natsEngine) Keys(fn func(key []byte)) error {
	keys, err := e.bucket.ListKeys(context.Background())
	if err != nil {
		return err
	}
	for key := range keys.Keys() {
		fn([]byte(key))
	}
	return nil
}

func (e *natsEngine) Close() error {
	if e.conn != nil {
		e.conn.Close()
	}
	return e.stop()
}
