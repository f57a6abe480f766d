package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"kvd/kv"
	"kvd/kv/msglog"
)

// bucketCommands are the verbs on whole buckets.
func (a *app) bucketCommands() []*cobra.Command {
	return []*cobra.Command{a.addCommand(), a.editCommand(), a.infoCommand(), a.lsCommand(), a.countCommand()}
}

func (a *app) addCommand() *cobra.Command {
	var flags configFlags
	c := &cobra.Command{
		Use:     "add BUCKET",
		Aliases: []string{"new"},
		Short:   "Create a bucket",
		Long: `Create a bucket and print its configuration. If a bucket of that name exists with
the same configuration, nothing changes; with another configuration it is a
conflict (exit code 4).`,
		Example: "  kvd add my-kv --history 5 --ttl 7d --description 'session tokens'",
		Args:    takes(1, 1),
		RunE: func(c *cobra.Command, args []string) error {
			cfg, err := flags.config(c, kv.Config{Bucket: args[0]})
			if err != nil {
				return err
			}
			if err := msglog.CheckUnreserved(cfg.Bucket); err != nil {
				return err
			}
			return a.withStore(c.Context(), mayCreate, func(ctx context.Context, s store) error {
				ctx, cancel := context.WithTimeout(ctx, a.target.wait())
				defer cancel()
				b, err := s.CreateBucket(ctx, cfg)
				if err != nil {
					return err
				}
				return a.printStatus(ctx, b)
			})
		},
	}
	flags.addFlags(c)
	a.addTarget(c)
	a.addJSON(c)
	return c
}

func (a *app) editCommand() *cobra.Command {
	var flags configFlags
	var f force
	c := &cobra.Command{
		Use:   "edit BUCKET",
		Short: "Change a bucket's configuration",
		Long: `Change the settings that the flags name, and keep the others. A shorter history
removes the revisions beyond it at once, and a shorter TTL the values that are older;
they cannot be restored. Where that is so, it asks for confirmation.`,
		Example:           "  kvd edit my-kv --history 10",
		Args:              takes(1, 1),
		ValidArgsFunction: a.completeArgs(completeBucket),
		RunE: func(c *cobra.Command, args []string) error {
			return a.withStore(c.Context(), mustExist, func(ctx context.Context, s store) error {
				ctx, cancel := context.WithTimeout(ctx, a.target.wait())
				defer cancel()
				b, err := s.Bucket(ctx, args[0])
				if err != nil {
					return err
				}
				status, err := b.Status(ctx)
				if err != nil {
					return err
				}
				cfg, err := flags.config(c, status.Config)
				if err != nil {
					return err
				}
				if ok, err := a.confirmEdit(c, f, b, &status, &cfg); !ok {
					return err
				}
				ctx, cancel = context.WithTimeout(c.Context(), a.target.wait()) // the answer may have taken longer
				defer cancel()
				if b, err = s.UpdateBucket(ctx, cfg); err != nil {
					return err
				}
				return a.printStatus(ctx, b)
			})
		},
	}
	flags.addFlags(c)
	f.addFlag(c)
	a.addTarget(c)
	a.addJSON(c)
	return c
}

// configFlags is the configuration of a bucket as flags.
type configFlags struct {
	history       int
	ttl           ageFlag
	markerTTL     ageFlag
	maxValueSize  sizeFlag
	maxBucketSize sizeFlag
	description   string
	storage       string
	compress      bool
	metadata      []string
	sync          string
	syncInterval  ageFlag
	replicas      int
}

// refusedFlags are flags of the nats program that a single node cannot act on.
var refusedFlags = []string{
	"tags", "cluster", "placement-preferred", "mirror", "mirror-domain", "source",
	"republish-source", "republish-destination",
}

func (f *configFlags) addFlags(c *cobra.Command) {
	flags := c.Flags()
	flags.IntVar(&f.history, "history", 1, "revisions to keep of each key, 1 to 64")
	flags.Var(&f.ttl, "ttl", "time after which values expire (30s, 12h, 7d); 0s: never")
	flags.Var(&f.markerTTL, "marker-ttl", "time to keep expiry markers (default 15m)")
	flags.Var(&f.maxValueSize, "max-value-size", "largest value (64KB, 1MB), at most 64MB")
	flags.Var(&f.maxBucketSize, "max-bucket-size", "most bytes of records to keep in the bucket; -1: no limit")
	flags.StringVar(&f.description, "description", "", "text to store with the bucket")
	flags.StringVar(&f.storage, "storage", "file", "file, or memory (lost at a restart)")
	flags.BoolVar(&f.compress, "compress", false, "compress values")
	flags.StringArrayVar(&f.metadata, "metadata", nil, "KEY:VALUE; may be repeated")
	flags.StringVar(&f.sync, "sync", "always", "always: sync every write to disk before it is acknowledged; interval: sync soon after")
	flags.Var(&f.syncInterval, "sync-interval", "with --sync interval: time between syncs (default 100ms)")
	flags.IntVar(&f.replicas, "replicas", 1, "must be 1: kvd is a single node")
	completeEnum(c, "storage", "file", "memory")
	completeEnum(c, "sync", "always", "interval")
	for _, name := range refusedFlags {
		flags.StringArray(name, nil, "")
		_ = flags.MarkHidden(name) // it exists
	}
}

// config returns base with the changes that the flags ask for.
func (f *configFlags) config(c *cobra.Command, base kv.Config) (kv.Config, error) {
	for _, name := range refusedFlags {
		if c.Flags().Changed(name) {
			return base, usageOf(c, fmt.Errorf("--%s: kvd is a single node, and has no placement, mirrors or republishing", name))
		}
	}
	if f.replicas > 1 {
		return base, usageOf(c, fmt.Errorf("--replicas %d: kvd is a single node; a NATS JetStream cluster takes over with the same client code", f.replicas))
	}
	var err error
	set := func(name string, apply func()) {
		if c.Flags().Changed(name) {
			apply()
		}
	}
	set("history", func() {
		base.History = f.history
		if f.history < 1 { // in the contract 0 is the default
			err = &kv.LimitError{What: "history", Got: int64(f.history), Min: 1, Max: kv.MaxHistory, Err: kv.ErrInvalidConfig}
		}
	})
	set("ttl", func() { base.TTL = time.Duration(f.ttl) })
	set("marker-ttl", func() { base.MarkerTTL = time.Duration(f.markerTTL) })
	set("max-value-size", func() { base.MaxValueSize = int64(f.maxValueSize) })
	set("max-bucket-size", func() { base.MaxBytes = int64(f.maxBucketSize) })
	set("description", func() { base.Description = f.description })
	set("compress", func() { base.Compression = f.compress })
	set("sync-interval", func() { base.SyncInterval = time.Duration(f.syncInterval) })
	set("storage", func() { err = errors.Join(err, parseStorage(f.storage, &base)) })
	set("sync", func() { err = errors.Join(err, parseSync(f.sync, &base)) })
	set("metadata", func() { err = errors.Join(err, parseMetadata(f.metadata, &base)) })
	var limit *kv.LimitError
	if err != nil && !errors.As(err, &limit) {
		err = usageOf(c, err)
	}
	return base, errors.Join(err, base.Validate())
}

func parseStorage(s string, c *kv.Config) error {
	switch s {
	case "file", "f":
		c.Storage = kv.FileStorage
	case "memory", "m":
		c.Storage = kv.MemoryStorage
	default:
		return fmt.Errorf("--storage %q: must be file or memory", s)
	}
	return nil
}

func parseSync(s string, c *kv.Config) error {
	switch s {
	case "always":
		c.Sync, c.SyncInterval = kv.SyncAlways, 0
	case "interval":
		c.Sync = kv.SyncInterval
	default:
		return fmt.Errorf("--sync %q: must be always or interval", s)
	}
	return nil
}

func parseMetadata(pairs []string, c *kv.Config) error {
	c.Metadata = maps.Clone(c.Metadata)
	if c.Metadata == nil {
		c.Metadata = make(map[string]string)
	}
	for _, p := range pairs {
		key, value, ok := strings.Cut(p, ":")
		if !ok || key == "" {
			return fmt.Errorf("--metadata %q: must be KEY:VALUE", p)
		}
		if strings.HasPrefix(key, msglog.ReservedMetadata) {
			return fmt.Errorf("--metadata %q: keys that begin with %s are reserved", p, msglog.ReservedMetadata)
		}
		c.Metadata[key] = value
	}
	return nil
}

// shownMetadata returns a bucket's metadata without the keys that kvd reserves.
func shownMetadata(c *kv.Config) map[string]string {
	shown := maps.Clone(c.Metadata)
	maps.DeleteFunc(shown, func(key, _ string) bool { return strings.HasPrefix(key, msglog.ReservedMetadata) })
	return shown
}

func (a *app) infoCommand() *cobra.Command {
	var addr string
	c := &cobra.Command{
		Use:     "info [BUCKET]",
		Aliases: []string{"status", "view"},
		Short:   "Show a bucket's configuration and size, or a server",
		Long: `Show a bucket's configuration and size. Without BUCKET, show the server at the admin
address: version, uptime, store, disk, connections, memory and settings. On a server with
users that needs a user with "admin" on "*".`,
		Example: `  kvd info my-kv --json
  kvd info --admin 127.0.0.1:8222`,
		Args:              takes(0, 1),
		ValidArgsFunction: a.completeArgs(completeBucket),
		RunE: func(c *cobra.Command, args []string) error {
			if len(args) == 0 {
				if a.target.dir != "" {
					return usageOf(c, errors.New("BUCKET is missing"))
				}
				return a.serverInfo(c.Context(), addr)
			}
			return a.withBucket(c.Context(), args[0], a.printStatus)
		},
	}
	a.addTarget(c)
	a.addAdmin(c, &addr)
	a.addJSON(c)
	return c
}

// statusJSON is a bucket in JSON. Durations are strings such as 1h0m0s.
type statusJSON struct {
	Bucket       string            `json:"bucket"`
	ID           uint64            `json:"id"`
	Created      time.Time         `json:"created"`
	Description  string            `json:"description,omitempty"`
	History      int               `json:"history"`
	TTL          string            `json:"ttl,omitempty"`
	MarkerTTL    string            `json:"marker_ttl,omitempty"`
	MaxValueSize int64             `json:"max_value_size"`
	MaxBytes     int64             `json:"max_bucket_size"`
	Storage      string            `json:"storage"`
	Compression  bool              `json:"compression"`
	Sync         string            `json:"sync"`
	SyncInterval string            `json:"sync_interval,omitempty"`
	Metadata     map[string]string `json:"metadata,omitempty"`
	Keys         uint64            `json:"keys"`
	Values       uint64            `json:"values"`
	Bytes        uint64            `json:"bytes"`
	Disk         uint64            `json:"disk"`
	Revision     kv.Revision       `json:"revision"`
	Digest       string            `json:"digest,omitempty"` // of the records kept; empty: not known
	ClockLeap    string            `json:"clock_leap,omitempty"`
	Doubt        kv.Revision       `json:"doubt,omitempty"`
	Stale        bool              `json:"stale,omitempty"` // served in spite of it
	ReadOnly     string            `json:"read_only,omitempty"`
}

func newStatusJSON(s *kv.Status) statusJSON {
	c := &s.Config
	j := statusJSON{
		Bucket: c.Bucket, ID: s.ID, Created: s.Created.UTC(), Description: c.Description,
		History: c.History, TTL: optionalAge(c.TTL), MarkerTTL: optionalAge(c.MarkerTTL),
		MaxValueSize: c.MaxValueSize, MaxBytes: c.MaxBytes, Storage: c.Storage.String(),
		Compression: c.Compression, Sync: c.Sync.String(), SyncInterval: optionalAge(c.SyncInterval),
		Metadata: shownMetadata(c), Keys: s.Keys, Values: s.Values, Bytes: s.Bytes, Disk: s.Disk, Revision: s.Revision,
		ClockLeap: optionalAge(s.ClockLeap), Doubt: s.Doubt, Stale: s.Stale,
	}
	if s.Digest != nil {
		j.Digest = s.Digest.String()
	}
	if s.ReadOnly != nil {
		j.ReadOnly = s.ReadOnly.Error()
	}
	return j
}

func optionalAge(d time.Duration) string {
	if d == 0 {
		return ""
	}
	return d.String()
}

// printStatus describes a bucket.
func (a *app) printStatus(ctx context.Context, b kv.Bucket) error {
	s, err := b.Status(ctx)
	if err != nil {
		return err
	}
	if a.json {
		return a.printJSON(newStatusJSON(&s))
	}
	c := &s.Config
	fmt.Fprintf(a.out, "Information for Key-Value Store Bucket %s created %s\n", c.Bucket, s.Created.Local().Format(timeLayout))
	a.printFields("Configuration", [][2]string{
		{"Bucket Name", c.Bucket},
		{"Description", c.Description},
		{"History Kept", fmt.Sprint(c.History)},
		{"Maximum Age", ageText(c.TTL)},
		{"Expiry Marker Age", markerAgeText(c)},
		{"Maximum Value Size", bytesText(uint64(c.MaxValueSize))},
		{"Maximum Bucket Size", limitText(c.MaxBytes)},
		{"Compressed", fmt.Sprint(c.Compression)},
		{"Storage", c.Storage.String()},
		{"Acknowledged", promise(c)},
	})
	a.printFields("State", [][2]string{
		{"Keys", fmt.Sprint(s.Keys)},
		{"Values Stored", fmt.Sprint(s.Values)},
		{"Bucket Size", bytesText(s.Bytes)},
		{"On Disk", diskText(&s)},
		{"Newest Revision", fmt.Sprint(s.Revision)},
		{"Digest", digestText(&s)},
		{"Bucket ID", fmt.Sprint(s.ID)},
	})
	if metadata := shownMetadata(c); len(metadata) > 0 {
		var fields [][2]string
		for _, k := range slices.Sorted(maps.Keys(metadata)) {
			fields = append(fields, [2]string{k, metadata[k]})
		}
		a.printFields("Metadata", fields)
	}
	if s.ClockLeap != 0 {
		a.printFields("Clock", [][2]string{{"Leap", leapText(s.ClockLeap)}})
	}
	if faults := faultsOf(&s); len(faults) > 0 {
		a.printFields("Fault", faults)
	}
	return nil
}

// digestText describes the digest of the records kept.
func digestText(s *kv.Status) string {
	if s.Digest == nil {
		return "not known"
	}
	return s.Digest.String()
}

// faultsOf returns what is wrong with a bucket.
func faultsOf(s *kv.Status) (faults [][2]string) {
	if s.Doubt != 0 {
		faults = append(faults, [2]string{"In doubt", doubtText(s)})
	}
	if s.Stale {
		faults = append(faults, [2]string{"Served stale", staleText})
	}
	if s.ReadOnly != nil {
		faults = append(faults, [2]string{"Read-only", s.ReadOnly.Error()})
	}
	return faults
}

// doubtText says how far a bucket is in doubt.
func doubtText(s *kv.Status) string {
	return fmt.Sprintf("records%s may be missing (\"kvd lost %s\" lists them)", strings.TrimPrefix(upTo(s.Doubt), " as a whole"), s.Config.Bucket)
}

// staleText is what a bucket that is served stale means for its clients.
const staleText = "reads and conditions go by the records that are known: values may be old, deleted keys may be back"

// printFields prints names and values under a heading. It omits empty values.
func (a *app) printFields(heading string, fields [][2]string) {
	fmt.Fprintf(a.out, "\n%s:\n\n", heading)
	for _, f := range fields {
		if f[1] != "" {
			fmt.Fprintf(a.out, "%23s: %s\n", f[0], f[1])
		}
	}
}

// markerAgeText is how long expiry markers stay. It is empty for a message log, which
// has none; here only the name of the bucket shows what it is.
func markerAgeText(c *kv.Config) string {
	if strings.HasPrefix(c.Bucket, msglog.ReservedBucket) {
		return ""
	}
	return ageText(c.MarkerTTL)
}

// diskText says what a bucket's files take, and for what.
func diskText(s *kv.Status) string {
	if s.Disk == 0 {
		return bytesText(0)
	}
	return fmt.Sprintf("%s (%.0f%% live)", bytesText(s.Disk), 100*min(1, float64(s.Bytes)/float64(s.Disk)))
}

// promise says when a bucket's writes are acknowledged.
func promise(c *kv.Config) string {
	switch {
	case c.Storage == kv.MemoryStorage:
		return "at once: in memory, lost at a restart"
	case c.Sync == kv.SyncInterval:
		return fmt.Sprintf("before the sync (sync=interval): a crash can lose the writes of the last %v", c.SyncInterval)
	}
	return "after the sync to disk (sync=always)"
}

func ageText(d time.Duration) string {
	if d == 0 {
		return "unlimited"
	}
	return d.String()
}

func limitText(n int64) string {
	if n < 0 {
		return "unlimited"
	}
	return bytesText(uint64(n))
}
