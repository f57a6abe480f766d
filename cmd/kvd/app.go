package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"syscall"

	"github.com/spf13/cobra"
	"golang.org/x/term"
)

// app is one run of the program, with its streams, terminal and environment. One
// goroutine uses it.
type app struct {
	in  io.Reader
	out *bufio.Writer // flushed by run, and by verbs that run for long
	err io.Writer

	inTTY, outTTY, errTTY bool
	width                 int // of the terminal on out, columns

	lookupEnv func(string) (string, bool)

	target target
	json   bool // --json
}

// system is the app of the real process.
func system() *app {
	a := &app{
		in: os.Stdin, out: bufio.NewWriter(os.Stdout), err: os.Stderr,
		inTTY:     term.IsTerminal(int(os.Stdin.Fd())),
		outTTY:    term.IsTerminal(int(os.Stdout.Fd())),
		errTTY:    term.IsTerminal(int(os.Stderr.Fd())),
		width:     widthDefault,
		lookupEnv: os.LookupEnv,
	}
	if width, _, err := term.GetSize(int(os.Stdout.Fd())); err == nil && width > 0 {
		a.width = width
	}
	return a
}

const widthDefault = 80

// run executes one command line and returns the code to exit with.
func (a *app) run(args []string) exitCode {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop) // a second signal ends the process at once
	return a.execute(ctx, args)
}

// execute is run with a context whose end is the interruption.
func (a *app) execute(ctx context.Context, args []string) exitCode {
	root := a.rootCommand()
	root.SetArgs(protectNumbers(args))
	err := root.ExecuteContext(ctx)
	if flushed := a.out.Flush(); err == nil && flushed != nil {
		err = fmt.Errorf("standard output: %w", flushed)
	}
	if ctx.Err() != nil && errors.Is(err, context.Canceled) {
		err = interrupted(err)
	}
	code := codeOf(err)
	if err != nil {
		a.printError(explain(err), code)
	}
	return code
}

// printError prints the error that ends the program: with --json as an object, so that a
// program reads the code and not the text.
func (a *app) printError(text string, code exitCode) {
	if !a.json {
		fmt.Fprintln(a.err, "kvd: "+text)
		return
	}
	e := json.NewEncoder(a.err)
	e.SetEscapeHTML(false)
	_ = e.Encode(errorJSON{text, code}) // what standard error does not take is nobody's to repair
}

// errorJSON is an error in JSON.
type errorJSON struct {
	Error string   `json:"error"`
	Code  exitCode `json:"code"` // the exit code
}

func (a *app) rootCommand() *cobra.Command {
	root := &cobra.Command{
		Use:     "kvd",
		Version: thisBuild().String(),
		Short:   "A key/value store with history, watches and real durability",
		Long: `kvd is a key/value store: named buckets of keys with numbered revisions, kept
history and time to live. Without a verb it starts the server: data in ./kvd-data,
reachable on the loopback interface, every write synced to disk before it is
acknowledged.

Exit codes: 0 ok, 1 other, 2 usage, 3 not found, 4 conflict or exists,
5 connection or timeout, 6 denied, 7 limit, 8 corruption, 130 interrupted.`,
		Example: `  kvd                                   serve ./kvd-data
  kvd add my-kv --history 5             make a bucket
  kvd put my-kv Key1 Value1             prints the revision
  kvd get my-kv Key1 --raw`,
		Args:          a.unknownVerb,
		SilenceErrors: true,
		SilenceUsage:  true,
	}
	root.SetIn(a.in)
	root.SetOut(a.out)
	root.SetErr(a.err)
	root.SetFlagErrorFunc(flagError)
	root.SetVersionTemplate("{{.Version}}\n")
	root.SetHelpCommand(a.helpCommand())
	root.AddGroup(
		&cobra.Group{ID: groupServer, Title: "The server:"},
		&cobra.Group{ID: groupVerbs, Title: "Buckets and keys:"},
		&cobra.Group{ID: groupCare, Title: "Maintenance:"},
	)
	rootUsage(root)
	a.addServe(root)
	for _, c := range a.verbs() {
		c.GroupID = groupVerbs
		root.AddCommand(c)
	}
	root.AddCommand(a.txnCommand(), a.kvCommand())
	for _, c := range []*cobra.Command{
		a.backupCommand(), a.restoreCommand(), a.exportCommand(), a.importCommand(),
		a.verifyCommand(), a.dumpCommand(), a.repairCommand(), a.lostCommand(), a.acceptCommand(), a.reclaimCommand(), a.benchCommand(), a.userCommand(),
		a.topCommand(), a.slowCommand(), a.connsCommand(),
	} {
		c.GroupID = groupCare
		root.AddCommand(c)
	}
	root.AddCommand(a.versionCommand())
	return root
}

// The headings in the help.
const (
	groupServer = "server"
	groupVerbs  = "verbs"
	groupCare   = "care"
)

// verbs returns the verbs of "nats kv". They stand under both kvd and kvd kv.
func (a *app) verbs() []*cobra.Command {
	return slices.Concat(
		a.bucketCommands(),
		a.writeCommands(),
		a.readCommands(),
		a.removeCommands(),
		[]*cobra.Command{a.watchCommand()},
	)
}

func (a *app) kvCommand() *cobra.Command {
	c := &cobra.Command{
		Use:     "kv",
		Short:   "The same verbs, as \"nats kv\" names them",
		Example: "  kvd kv put my-kv Key1 Value1",
		GroupID: groupVerbs,
		Args:    a.unknownVerb,
		RunE:    func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	c.AddCommand(a.verbs()...)
	return c
}

// unknownVerb refuses the arguments of a command that takes verbs only.
func (a *app) unknownVerb(c *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	text := fmt.Sprintf("unknown verb %q", args[0])
	if near := suggestion(c, args[0]); near != "" {
		text += fmt.Sprintf(", did you mean %q?", near)
	}
	return usageOf(c, errors.New(text))
}
