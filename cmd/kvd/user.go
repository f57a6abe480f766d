package main

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"kvd/kv"
	"kvd/server"
)

func (a *app) userCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "user",
		Short: "Edit the users file of a server",
		Long: `Edit the users file that kvd serve --users names. A running server reloads it on
SIGHUP. Operations that are not granted are denied.`,
		Example: "  kvd user add bob --users users.txt --allow 'cfg-*=get,watch'",
		Args:    a.unknownVerb,
		RunE:    func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	c.AddCommand(a.userAddCommand(), a.userRmCommand(), a.userLsCommand())
	return c
}

// usersFile is the lines of a users file, so that comments and order are kept.
type usersFile struct {
	name  string
	lines []string
}

func (u *usersFile) addFlag(a *app, c *cobra.Command) {
	c.Flags().StringVar(&u.name, "users", a.env("KVD_USERS", "users"), "users file (KVD_USERS)")
	_ = c.MarkFlagFilename("users") // it exists
}

// read reads the file. With mayCreate, a missing file is empty.
func (u *usersFile) read(m missing) error {
	b, err := os.ReadFile(u.name)
	if errors.Is(err, fs.ErrNotExist) && m == mayCreate {
		return nil
	}
	if err != nil {
		return fmt.Errorf("users: %w", err)
	}
	if text := strings.TrimSuffix(string(b), "\n"); text != "" {
		u.lines = strings.Split(text, "\n")
	}
	return nil
}

// find returns the line of a user, or -1.
func (u *usersFile) find(name string) int {
	return slices.IndexFunc(u.lines, func(line string) bool {
		fields := strings.Fields(line)
		return len(fields) > 0 && fields[0] == name
	})
}

// write replaces the file as a whole, so that a server never reads half of it. It
// refuses content that a server would refuse.
func (u *usersFile) write() error {
	content := []byte(strings.Join(u.lines, "\n") + "\n")
	if _, err := server.ParseUsers(bytes.NewReader(content)); err != nil {
		return fmt.Errorf("%s is unchanged: %w", u.name, err)
	}
	f, err := os.CreateTemp(filepath.Dir(u.name), filepath.Base(u.name)+".*.tmp") // mode 0600
	if err != nil {
		return fmt.Errorf("users: %w", err)
	}
	defer os.Remove(f.Name()) // if it still exists after an error
	_, err = f.Write(content)
	if err == nil {
		err = f.Sync()
	}
	if closed := f.Close(); err == nil {
		err = closed
	}
	if err == nil {
		err = os.Rename(f.Name(), u.name)
	}
	if err != nil {
		return fmt.Errorf("users: %w", err)
	}
	return nil
}

func (a *app) userAddCommand() *cobra.Command {
	var file usersFile
	var f force
	var grants []string
	c := &cobra.Command{
		Use:   "add NAME",
		Short: "Add a user, or replace one with -f",
		Long: `Add a user. The password is asked for on a terminal, and read from the first line
of standard input elsewhere. A grant is a bucket name, in which * stands for any
characters, and the operations allowed there: get, put, del, watch, admin.`,
		Example: "  kvd user add bob --allow 'cfg-*=get,watch' --allow my-kv=get,put,del < password",
		Args:    takes(1, 1),
		RunE: func(_ *cobra.Command, args []string) error {
			if err := file.read(mayCreate); err != nil {
				return err
			}
			at := file.find(args[0])
			if at >= 0 && !f {
				return &userExistsError{name: args[0], file: file.name}
			}
			password, err := a.newPassword(args[0])
			if err != nil {
				return err
			}
			hash, err := server.HashPassword(password)
			if err != nil {
				return err
			}
			line := strings.Join(append([]string{args[0], hash}, grants...), " ")
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
	c.Flags().StringArrayVar(&grants, "allow", nil, "grant as BUCKETS=VERBS; may be repeated")
	return c
}

// userExistsError refuses to add a user twice.
type userExistsError struct{ name, file string }

func (e *userExistsError) Error() string {
	return fmt.Sprintf("user %q exists in %s: use -f to replace password and grants", e.name, e.file)
}

// Unwrap gives it the exit code of a conflict.
func (e *userExistsError) Unwrap() error { return kv.ErrKeyExists }

// newPassword asks for a password twice on a terminal, and reads one line elsewhere.
func (a *app) newPassword(name string) (string, error) {
	if !a.inTTY {
		line, err := bufio.NewReader(a.in).ReadString('\n')
		if password := firstLine([]byte(line)); password != "" {
			return password, nil
		}
		return "", fmt.Errorf("no password on standard input: %w", err)
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
		return "", errors.New("the password is empty")
	case !bytes.Equal(first, again):
		return "", errors.New("the two passwords differ")
	}
	return string(first), nil
}

// errNoUser is the error for a user that is not in the file.
var errNoUser = errors.New("user not found")

func (a *app) userRmCommand() *cobra.Command {
	var file usersFile
	c := &cobra.Command{
		Use:     "rm NAME",
		Short:   "Remove a user",
		Example: "  kvd user rm bob",
		Args:    takes(1, 1),
		RunE: func(_ *cobra.Command, args []string) error {
			if err := file.read(mustExist); err != nil {
				return err
			}
			at := file.find(args[0])
			if at < 0 {
				return fmt.Errorf("%w: %q in %s", errNoUser, args[0], file.name)
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
