package main

import (
	"fmt"

	"github.com/spf13/cobra"
)

func (a *app) configCommand() *cobra.Command {
	c := &cobra.Command{
		Use:     "config",
		Short:   "Show or check the settings of a server",
		Example: "  kvd config show --config /etc/kvd.toml",
		GroupID: groupServer,
		Args:    a.unknownVerb,
		RunE:    func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	c.AddCommand(a.configShowCommand(), a.configCheckCommand())
	return c
}

// settingJSON is a setting in JSON.
type settingJSON struct {
	Name   string `json:"name"`
	Value  string `json:"value"`
	Origin string `json:"origin"`
}

func (a *app) configShowCommand() *cobra.Command {
	ss := newSettings()
	c := &cobra.Command{
		Use:   "show",
		Short: "Print every setting, its value and its origin",
		Long: `Print every setting, its value and its origin: a flag, an environment variable,
the file or the default. The output is a table on a terminal, and tab-separated
lines elsewhere.`,
		Example: "  KVD_LISTEN=:0 kvd config show",
		Args:    takes(0, 0),
		RunE: func(c *cobra.Command, _ []string) error {
			if err := ss.load(c, a.lookupEnv); err != nil {
				return err
			}
			t := a.newList("Settings", "Setting", "Value", "Origin")
			for _, s := range ss {
				if a.json {
					if err := a.printJSON(settingJSON{s.name, s.value, s.origin}); err != nil {
						return err
					}
					continue
				}
				t.add(s.name, s.value, s.origin)
			}
			t.end()
			return nil
		},
	}
	ss.addFlags(c)
	a.addJSON(c)
	return c
}

func (a *app) configCheckCommand() *cobra.Command {
	ss := newSettings()
	c := &cobra.Command{
		Use:     "check",
		Short:   "Check the settings, and the users and certificates that they name",
		Example: "  kvd config check --config /etc/kvd.toml",
		Args:    takes(0, 0),
		RunE: func(c *cobra.Command, _ []string) error {
			cfg, err := ss.config(c, a.lookupEnv)
			if err != nil {
				return err
			}
			if _, err := newSecurity(cfg); err != nil {
				return err
			}
			fmt.Fprintln(a.err, "Configuration OK.")
			return nil
		},
	}
	ss.addFlags(c)
	return c
}
