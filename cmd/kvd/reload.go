package main

import (
	"slices"

	"kvd/server"
)

// reloaded are the settings that a reload applies. A file of users or certificates can be
// another one then, but neither appear nor vanish.
var reloaded = []string{"users", "tls-cert", "tls-key", "log-level", "shutdown-timeout"}

// reload reads settings, users and certificate again.
func (d *daemon) reload() {
	d.manager.notify("RELOADING=1")
	defer d.manager.notify("READY=1")
	cfg, err := d.load()
	if err == nil {
		err = d.security.reload(d.cfg.reloadedBy(cfg))
	}
	if err != nil {
		d.log.Error("reload failed; previous settings, users and certificate stay in force", "cause", err)
		d.auditReload(err)
		return
	}
	if names := d.cfg.needRestart(cfg); len(names) > 0 {
		d.log.Warn("changed settings need a restart", "settings", names)
	}
	d.cfg = d.cfg.reloadedBy(cfg)
	d.level.Set(d.cfg.level)
	d.log.Info("users and certificate reloaded", "log-level", d.cfg.level)
	d.auditReload(nil)
}

// auditReload logs a reload as an administrative act.
func (d *daemon) auditReload(err error) {
	server.Act{What: "users and certificate reloaded", Err: err}.Log(d.log, "by", "SIGHUP")
}

// reloadedBy returns the settings in force after a reload of others.
func (cfg *serveConfig) reloadedBy(to *serveConfig) *serveConfig {
	c := *cfg
	c.level, c.shutdownTimeout = to.level, to.shutdownTimeout
	if cfg.users != "" && to.users != "" {
		c.users = to.users
	}
	if cfg.cert != "" && to.cert != "" {
		c.cert, c.key = to.cert, to.key
	}
	return &c
}

// needRestart returns the names of the settings that differ and that a reload does not apply.
func (cfg *serveConfig) needRestart(to *serveConfig) []string {
	var names []string
	for name, value := range to.values {
		before := cfg.values[name]
		if before != value && (!slices.Contains(reloaded, name) || (before == "") != (value == "")) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}
