package main

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/BurntSushi/toml"
	"github.com/spf13/cobra"

	"kvd/bucket"
	"kvd/kv"
)

// setting is one setting of a server. Its value is that of the flag --name, of the
// environment variable KVD_NAME, of name in the file, or the default: the first that
// is set counts.
type setting struct {
	name  string
	def   string
	usage string
	bool  bool // true or false: the flag alone means true
	list  bool // names, joined by commas: the flag may be repeated, the file may have an array

	value  string
	origin string // where the value comes from, for people
}

func (s *setting) env() string {
	return "KVD_" + strings.ToUpper(strings.ReplaceAll(s.name, "-", "_"))
}

const (
	dataDefault   = "./kvd-data"
	listenDefault = serverDefault
	natsDefault   = "127.0.0.1:4222"
	adminDefault  = "127.0.0.1:8222"
)

// originDefault is the origin of a setting that is not set.
const originDefault = "default"

// settings are all of them, in the order in which they are shown.
type settings []*setting

func newSettings() settings {
	return settings{
		{name: "data", def: dataDefault, usage: "directory of the store"},
		{name: "listen", def: listenDefault, usage: "address of the line protocol; port 0 picks a free one, empty: off"},
		{name: "nats", def: natsDefault, usage: "address for NATS clients; port 0 picks a free one, empty: off"},
		{name: "nats-max-payload", def: "1MiB", usage: "largest message of NATS clients, up to 64MiB"},
		{name: "nats-conn-memory", def: "64MiB", usage: "memory for the subscriptions and consumers of one NATS connection"},
		{name: "admin", def: adminDefault, usage: "address of health, metrics and the API of the operator over HTTP; empty: off"},
		{name: "admin-host", list: true, usage: "names by which HTTP clients may ask the admin address, beside localhost and IP addresses; may be repeated"},
		{name: "metrics", usage: "further address of health and metrics alone, for scrapers on other machines; empty: off"},
		{name: "slow", def: "100ms", usage: "duration from which on a call into the store is in the slow log; 0: none"},
		{name: "users", usage: "users file, see \"kvd user\"; empty: no login, full access for everyone"},
		{name: "tls-cert", usage: "certificate file; switches TLS on"},
		{name: "tls-key", usage: "key file of the certificate"},
		{name: "tls-client-ca", usage: "CA file that client certificates must be signed by"},
		{name: "insecure", def: "false", bool: true, usage: "allow addresses that are not loopback without users and TLS, and an S3 endpoint that is http on another machine"},
		{name: "accept-clock", def: "false", bool: true, usage: "trust a clock that is more than a day ahead of the store: what expired meanwhile is removed"},
		{name: "pprof", def: "false", bool: true, usage: "serve profiles under /debug/pprof on the admin address"},
		{name: "serve-stale", list: true, usage: "buckets to serve in spite of damage, by what is known: values may be old; '*': all; may be repeated"},
		{name: "scrub", def: "0", usage: "period in which all files of records are read and verified, such as 30d; 0: never"},
		{name: "backup", usage: "repository in which the server makes backups: a directory or s3://bucket/prefix; empty: none"},
		{name: "backup-every", def: "24h", usage: "time between two backups"},
		{name: "backup-keep", def: "7d", usage: "how far back backups are kept"},
		{name: "backup-rate", def: "64MiB", usage: "bytes that a backup reads in a second; 0: no bound"},
		{name: "ship", usage: "repository to which the server copies its log, with backups: every state can be restored; empty: none"},
		{name: "ship-interval", def: "1s", usage: "how long a write waits at most until it is shipped"},
		{name: "ship-base", def: "24h", usage: "time between two backups of --ship"},
		{name: "ship-keep", def: "7d", usage: "how far back every state is kept"},
		{name: "s3-endpoint", usage: "URL of the S3 service; empty: AWS_ENDPOINT_URL, or AWS"},
		{name: "log-level", def: "info", usage: "debug, info, warn or error"},
		{name: "log-format", def: "auto", usage: "text, json, or auto: text on a terminal"},
		{name: "shutdown-timeout", def: "10s", usage: "time for connections to finish when the server stops"},
		{name: "wal-file-size", def: "16MiB", usage: "largest size of one file of the write-ahead log; it begins with small ones"},
		{name: "wal-max-size", def: "128MiB", usage: "size of the whole write-ahead log; writers wait when it is full"},
		{name: "reserve-size", def: "64MiB", usage: "most disk space kept for deletes on a full disk, an eighth of the data from 1 MiB on; 0: none"},
		{name: "max-files", def: "0", usage: "files that the store may have open at a time, at least 38; connections get what is left of the process's limit; 0: half of the limit"},
	}
}

// addFlags gives a command a flag for each setting, and --config.
func (ss settings) addFlags(c *cobra.Command) {
	f := c.Flags()
	f.String("config", "", "TOML file of settings (KVD_CONFIG)")
	_ = c.MarkFlagFilename("config", "toml") // it exists
	for _, s := range ss {
		usage := fmt.Sprintf("%s (%s)", s.usage, s.env())
		switch {
		case s.bool:
			f.Bool(s.name, s.def == "true", usage)
		case s.list:
			f.Var(new(namesFlag), s.name, usage)
		default:
			f.String(s.name, s.def, usage)
		}
	}
	completeEnum(c, "log-level", "debug", "info", "warn", "error")
	completeEnum(c, "log-format", "auto", "text", "json")
}

// load gives every setting its value and origin.
func (ss settings) load(c *cobra.Command, lookupEnv func(string) (string, bool)) error {
	file, err := ss.readFile(c, lookupEnv)
	if err != nil {
		return err
	}
	for _, s := range ss {
		if flag := c.Flags().Lookup(s.name); flag.Changed {
			s.value, s.origin = flag.Value.String(), "--"+s.name
		} else {
			s.resolve(file, lookupEnv)
		}
	}
	return nil
}

// resolve finds the value of a setting whose flag is not set.
func (s *setting) resolve(file settingsFile, lookupEnv func(string) (string, bool)) {
	env, inEnv := lookupEnv(s.env())
	fromFile, inFile := file.values[s.name]
	switch {
	case inEnv:
		s.value, s.origin = env, s.env()
	case inFile:
		s.value, s.origin = fromFile, file.name
	default:
		s.value, s.origin = s.def, originDefault
	}
}

// settingsFile is the content of a configuration file.
type settingsFile struct {
	name   string
	values map[string]string
}

// readFile reads the file that --config or KVD_CONFIG names, if any. An unknown key is
// an error: it may be a misspelt setting.
func (ss settings) readFile(c *cobra.Command, lookupEnv func(string) (string, bool)) (settingsFile, error) {
	name, _ := c.Flags().GetString("config") // it exists
	if env, ok := lookupEnv("KVD_CONFIG"); name == "" && ok {
		name = env
	}
	f := settingsFile{name: name, values: make(map[string]string)}
	if name == "" {
		return f, nil
	}
	text, err := os.ReadFile(name)
	if err != nil {
		return f, usageOf(c, fmt.Errorf("configuration: %w", err))
	}
	var raw map[string]any
	if _, err := toml.Decode(string(text), &raw); err != nil {
		return f, usageOf(c, fmt.Errorf("configuration %s: %w", name, err))
	}
	for key, value := range raw {
		i := slices.IndexFunc(ss, func(s *setting) bool { return s.name == key })
		if i < 0 {
			err = errors.Join(err, fmt.Errorf("%s: unknown setting %q: \"kvd config show\" lists all", name, key))
			continue
		}
		text, bad := ss[i].fromFile(value)
		if bad != nil {
			err = errors.Join(err, fmt.Errorf("%s: %w", name, bad))
		}
		f.values[key] = text
	}
	if err != nil {
		return f, usageOf(c, err)
	}
	return f, nil
}

// fromFile returns a value of the file as text.
func (s *setting) fromFile(value any) (string, error) {
	switch value := value.(type) {
	case string:
		return value, nil
	case bool, int64:
		return fmt.Sprint(value), nil
	case []any:
		if s.list {
			return joinNames(s.name, value)
		}
	}
	if s.list {
		return "", fmt.Errorf("%s must be a string or an array of strings", s.name)
	}
	return "", fmt.Errorf("%s must be a string, a number, true or false", s.name)
}

func joinNames(setting string, values []any) (string, error) {
	var names namesFlag
	for _, v := range values {
		name, ok := v.(string)
		if !ok {
			return "", fmt.Errorf("%s must be an array of strings", setting)
		}
		_ = names.Set(name) // it takes every string
	}
	return string(names), nil
}

// namesFlag is names joined by commas. A repeated flag adds to them. It implements
// pflag.Value.
type namesFlag string

// Set adds names.
func (f *namesFlag) Set(s string) error {
	if *f != "" && s != "" {
		*f += ","
	}
	*f += namesFlag(s)
	return nil
}

func (f *namesFlag) String() string { return string(*f) }

// Type names the argument in the help.
func (f *namesFlag) Type() string { return "names" }

// parseBuckets reads names of buckets, or * for all.
func parseBuckets(s string) ([]string, error) {
	if s == "" {
		return nil, nil
	}
	names := strings.Split(s, ",")
	for _, name := range names {
		if name == bucket.ServeStaleAll {
			continue
		}
		if err := kv.CheckBucketName(name); err != nil {
			return nil, err
		}
	}
	return names, nil
}

// reader parses values of settings, and collects the errors.
type reader struct {
	settings settings
	errs     []error
}

func (r *reader) find(name string) *setting {
	i := slices.IndexFunc(r.settings, func(s *setting) bool { return s.name == name })
	return r.settings[i] // an unknown name is a mistake of this program
}

func (r *reader) text(name string) string { return r.find(name).value }

// read parses a value. Its error names the origin of the value.
func read[T any](r *reader, name string, parse func(string) (T, error)) T {
	s := r.find(name)
	v, err := parse(s.value)
	if err != nil {
		r.errs = append(r.errs, fmt.Errorf("%s, from %s: %w", name, s.origin, err))
	}
	return v
}

// parseFiles reads a number of files.
func parseFiles(s string) (int, error) {
	n, err := strconv.Atoi(s)
	if err != nil || n < 0 {
		return 0, fmt.Errorf("%q is not a number of files", s)
	}
	return n, nil
}

// parseBool reads true or false. An empty string is false.
func parseBool(s string) (bool, error) {
	if s == "" {
		return false, nil
	}
	b, err := strconv.ParseBool(s)
	if err != nil {
		return false, fmt.Errorf("%q: must be true or false", s)
	}
	return b, nil
}

func parseLevel(s string) (slog.Level, error) {
	var l slog.Level
	if err := l.UnmarshalText([]byte(s)); err != nil {
		return l, fmt.Errorf("%q: must be debug, info, warn or error", s)
	}
	return l, nil
}

func parseFormat(s string) (logFormat, error) {
	switch f := logFormat(s); f {
	case formatAuto, formatText, formatJSON:
		return f, nil
	}
	return "", fmt.Errorf("%q: must be auto, text or json", s)
}

// parseScrub parses the period of the scrub: 0, or at least a second.
func parseScrub(s string) (time.Duration, error) {
	d, err := parseAge(s)
	if err == nil && d != 0 && d < time.Second {
		err = fmt.Errorf("%q: must be 0 or at least 1s", s)
	}
	return d, err
}

func parsePositive(s string) (time.Duration, error) {
	d, err := parseAge(s)
	if err == nil && d <= 0 {
		err = fmt.Errorf("%q: must be above 0", s)
	}
	return d, err
}
