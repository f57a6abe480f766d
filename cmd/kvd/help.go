package main

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// helpCommand replaces cobra's, which prints the help of kvd for an unknown topic.
func (a *app) helpCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "help [VERB|connection]",
		Short: "Print the help of a verb, or of the connection flags",
		RunE: func(c *cobra.Command, args []string) error {
			if len(args) == 1 && args[0] == "connection" {
				a.printConnectionHelp()
				return nil
			}
			topic, rest, err := c.Root().Find(args)
			if err != nil || len(rest) > 0 {
				return usageOf(c.Root(), fmt.Errorf("no help for %q", strings.Join(args, " ")))
			}
			topic.InitDefaultHelpFlag()
			return topic.Help()
		},
	}
	c.SetOut(a.out)
	return c
}

// connectionHelp stands before the connection flags.
const connectionHelp = `Every verb that works on a store takes these flags. The store is that of a server,
or with --dir a directory that no server has open.

The address is HOST:PORT, or a URL: kvd://HOST:PORT, and kvds://HOST:PORT for TLS.
A URL can name a CA file: kvds://HOST?ca=FILE. A user and a password in it
(kvds://USER:PASSWORD@HOST) are taken from KVD_URL alone, because other users of the
machine can read a command line. --server counts more than KVD_URL, and that more
than KVD_SERVER.

Flags:
`

// printConnectionHelp prints the flags that the verbs share.
func (a *app) printConnectionHelp() {
	c := &cobra.Command{Use: "connection"}
	a.addTarget(c)
	fmt.Fprint(a.out, connectionHelp+c.Flags().FlagUsages())
}

// connectionFlag is the annotation of a flag that the help of a verb leaves out.
const connectionFlag = "connection"

// shortUsage makes the usage of a verb leave out the connection flags, which all verbs have.
func shortUsage(c *cobra.Command) {
	cobra.AddTemplateFunc("verbFlags", verbFlags)
	usage := strings.ReplaceAll(c.UsageTemplate(), ".LocalFlags.FlagUsages", "(verbFlags .LocalFlags).FlagUsages")
	c.SetUsageTemplate(usage + "\nUse \"kvd help connection\" for --server, --dir, --user, TLS and --timeout.\n")
}

// verbFlags returns the flags without those of the connection.
func verbFlags(all *pflag.FlagSet) *pflag.FlagSet {
	own := pflag.NewFlagSet("", pflag.ContinueOnError)
	all.VisitAll(func(f *pflag.Flag) {
		if f.Annotations[connectionFlag] == nil {
			own.AddFlag(f)
		}
	})
	return own
}

// showFlag makes the help of a verb show a flag of the connection, which means something else there.
func showFlag(f *pflag.FlagSet, name, usage string) {
	flag := f.Lookup(name)
	flag.Usage = usage
	delete(flag.Annotations, connectionFlag)
}

// rootUsage makes the usage of kvd leave out the flags of the server. The verbs inherit it,
// and show all of theirs.
func rootUsage(c *cobra.Command) {
	cobra.AddTemplateFunc("shownFlags", shownFlags)
	usage := strings.ReplaceAll(c.UsageTemplate(), ".LocalFlags.FlagUsages", "(shownFlags .).FlagUsages")
	c.SetUsageTemplate(usage + "{{if not .HasParent}}\nUse \"kvd serve --help\" for the flags of the server, which kvd takes without a verb.\n{{end}}")
}

// shownFlags returns the flags of a command that its help shows.
func shownFlags(c *cobra.Command) *pflag.FlagSet {
	if c.HasParent() {
		return c.LocalFlags()
	}
	own := pflag.NewFlagSet("", pflag.ContinueOnError)
	for _, name := range []string{"help", "version"} {
		if f := c.LocalFlags().Lookup(name); f != nil {
			own.AddFlag(f)
		}
	}
	return own
}
