package main

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"kvd/server"
)

func (a *app) userCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "user",
		Short: "Edit the users file of a server",
		Long: `Edit the users file that kvd serve --users names. A running server reloads it on
SIGHUP. Operations that are not granted are denied.

` + grantsHelp,
		Example: "  kvd user add bob --users users.txt --allow 'cfg-*=read-only'",
		Args:    a.unknownVerb,
		RunE:    func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	c.AddCommand(a.userAddCommand(), a.userPasswdCommand(), a.userRmCommand(), a.userLsCommand())
	return c
}

func (a *app) userAddCommand() *cobra.Command {
	var file usersFile
	var f force
	var grants []string
	var key string
	c := &cobra.Command{
		Use:   "add NAME",
		Short: "Add a user, or replace one with -f",
		Long: `Add a user. The password is asked for on a terminal, and read from the first line
of standard input elsewhere. With -f an existing user gets the new password, and
the new grants if there is any --allow. With --nkey the user has no password, and
logs in on the NATS port alone by signing with the seed of that key.

` + grantsHelp,
		Example: `  kvd user add bob --allow 'cfg-*=read-only' --allow my-kv=get,put,del < password
  kvd user add app --allow 'my-kv/app.>=read-write' < password
  kvd user add alice --nkey UAB… --allow '*=read-only'`,
		Args: takes(1, 1),
		RunE: func(c *cobra.Command, args []string) error {
			if err := checkNewUser(c, args[0], key, grants); err != nil {
				return err
			}
			if err := file.read(mayCreate); err != nil {
				return err
			}
			at := file.find(args[0])
			if at >= 0 && !f {
				return fmt.Errorf("%w: %q in %s; -f replaces password and grants, \"kvd user passwd\" the password alone", errUserExists, args[0], file.name)
			}
			credential, err := a.newCredential(args[0], key)
			if err != nil {
				return err
			}
			if at >= 0 && len(grants) == 0 {
				grants = strings.Fields(file.lines[at])[2:]
			}
			if len(grants) == 0 {
				fmt.Fprintf(a.err, "kvd: warning: user %q has no grants and may do nothing: add --allow BUCKETS=VERBS\n", args[0])
			}
			line := strings.Join(append([]string{args[0], credential}, grants...), " ")
			if at >= 0 {
				file.lines[at] = line
			} else {
				file.lines = append(file.lines, line)
			}
			return file.write()
		},
	}
	file.addFlag(a, c)
	f.addFlag(c)
	c.Flags().StringVar(&key, "nkey", "", "public key of the user, U…, instead of a password")
	c.Flags().StringArrayVar(&grants, "allow", nil, "grant as BUCKETS=VERBS or BUCKETS/KEYS=VERBS; may be repeated")
	return c
}

// grantsHelp explains grants.
const grantsHelp = `A grant is BUCKETS=VERBS, or BUCKETS/KEYS=VERBS for some of the keys. In BUCKETS, *
stands for any characters. KEYS is one pattern of keys, as "kvd ls" takes it: * is
any one token, and > at the end is one or more. VERBS are joined by commas:

  get         read keys: get, history, ls, count
  put         write keys: put, create, update, touch
  del         delete keys: del, purge
  watch       watch keys: watch
  admin       the bucket as a whole: add, edit, del BUCKET, compact, reclaim, accept
  read-only   get and watch
  read-write  get, put, del and watch
  all         every verb

"kvd info" and "kvd ls" show the buckets in which a user has any grant. "kvd revert"
needs get and put, "kvd lost" needs get without KEYS. admin takes no KEYS. A list or
a watch needs one grant that covers its whole pattern.`

// checkNewUser returns an error for a name, a key or a grant that a users file cannot have.
func checkNewUser(c *cobra.Command, name, key string, grants []string) error {
	if err := server.CheckUserName(name); err != nil {
		return usageOf(c, err)
	}
	if key != "" {
		if err := server.CheckPublicKey(key); err != nil {
			return usageOf(c, fmt.Errorf("--nkey: %w", err))
		}
	}
	for _, g := range grants {
		if err := server.CheckGrant(g); err != nil {
			return usageOf(c, err)
		}
	}
	return nil
}

func (a *app) userPasswdCommand() *cobra.Command {
	var file usersFile
	c := &cobra.Command{
		Use:   "passwd NAME",
		Short: "Change the password of a user",
		Long: `Change the password of a user; the grants stay. The password is asked for on a
terminal, and read from the first line of standard input elsewhere. Connections of
the user have no permissions from the next reload (SIGHUP) on, until they log in
again.`,
		Example:           "  kvd user passwd bob < password",
		Args:              takes(1, 1),
		ValidArgsFunction: file.completeUser,
		RunE: func(_ *cobra.Command, args []string) error {
			at, err := file.mustFind(args[0])
			if err != nil {
				return err
			}
			hash, err := a.newHash(args[0])
			if err != nil {
				return err
			}
			fields := strings.Fields(file.lines[at])
			file.lines[at] = strings.Join(append([]string{fields[0], hash}, fields[min(2, len(fields)):]...), " ")
			return file.write()
		},
	}
	file.addFlag(a, c)
	return c
}

// newCredential returns the public key, or the hash of a new password.
func (a *app) newCredential(name, key string) (string, error) {
	if key != "" {
		return key, nil
	}
	return a.newHash(name)
}

// newHash asks for a new password, and returns its hash.
func (a *app) newHash(name string) (string, error) {
	password, err := a.newPassword(name)
	if err != nil {
		return "", err
	}
	return server.HashPassword(password)
}

// newPassword asks for a password twice on a terminal, and reads one line elsewhere.
func (a *app) newPassword(name string) (string, error) {
	if !a.inTTY {
		line, err := bufio.NewReader(a.in).ReadString('\n')
		switch password := firstLine([]byte(line)); {
		case password != "":
			return password, nil
		case errors.Is(err, io.EOF):
			return "", errors.New("no password on standard input")
		case err != nil:
			return "", fmt.Errorf("read the password: %w", err)
		}
		return "", errEmptyPassword
	}
	ask := func(prompt string) ([]byte, error) {
		fmt.Fprint(a.err, prompt)
		defer fmt.Fprintln(a.err)
		return term.ReadPassword(int(os.Stdin.Fd()))
	}
	first, err := ask(fmt.Sprintf("Password for %s: ", name))
	if err != nil {
		return "", fmt.Errorf("read the password: %w", err)
	}
	again, err := ask("Repeat password: ")
	switch {
	case err != nil:
		return "", fmt.Errorf("read the password: %w", err)
	case len(first) == 0:
		return "", errEmptyPassword
	case !bytes.Equal(first, again):
		return "", errors.New("the two passwords differ")
	}
	return string(first), nil
}

var errEmptyPassword = errors.New("the password is empty")

func (a *app) userRmCommand() *cobra.Command {
	var file usersFile
	c := &cobra.Command{
		Use:               "rm NAME",
		Short:             "Remove a user",
		Example:           "  kvd user rm bob",
		Args:              takes(1, 1),
		ValidArgsFunction: file.completeUser,
		RunE: func(_ *cobra.Command, args []string) error {
			at, err := file.mustFind(args[0])
			if err != nil {
				return err
			}
			file.lines = slices.Delete(file.lines, at, at+1)
			return file.write()
		},
	}
	file.addFlag(a, c)
	return c
}

func (a *app) userLsCommand() *cobra.Command {
	var file usersFile
	c := &cobra.Command{
		Use:     "ls",
		Short:   "List users and their grants",
		Example: "  kvd user ls --users users.txt",
		Args:    takes(0, 0),
		RunE: func(*cobra.Command, []string) error {
			if err := file.read(mustExist); err != nil {
				return err
			}
			t := a.newList("Users", "Name", "Grants")
			for _, line := range file.lines {
				fields := strings.Fields(line)
				if len(fields) < 2 || strings.HasPrefix(fields[0], "#") {
					continue
				}
				if a.json {
					if err := a.printJSON(userJSON{fields[0], fields[2:]}); err != nil {
						return err
					}
					continue
				}
				t.add(fields[0], strings.Join(fields[2:], " "))
			}
			t.end()
			return nil
		},
	}
	file.addFlag(a, c)
	a.addJSON(c)
	return c
}

// userJSON is a user in JSON, without the hash.
type userJSON struct {
	Name   string   `json:"name"`
	Grants []string `json:"grants"`
}
