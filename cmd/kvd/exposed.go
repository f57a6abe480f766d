package main

import (
	"io/fs"
	"os"
)

// What others than the owner and the group may do with a file, as bits of its mode.
const (
	othersRead  fs.FileMode = 0o004
	othersEnter fs.FileMode = 0o001
)

// warnExposed logs a warning for a data directory that others may enter, and for a users
// file that others may read. A path that cannot be looked at was an error before.
func (d *daemon) warnExposed() {
	if info, err := os.Stat(d.cfg.data); err == nil && info.Mode()&(othersEnter|othersRead) != 0 {
		d.log.Warn("others may enter the data directory: chmod o-rwx closes it", "dir", d.cfg.data, "mode", info.Mode().String())
	}
	if d.cfg.users == "" {
		return
	}
	if info, err := os.Stat(d.cfg.users); err == nil && info.Mode()&othersRead != 0 {
		d.log.Warn("others may read the users file: chmod o-rwx closes it", "file", d.cfg.users, "mode", info.Mode().String())
	}
}
