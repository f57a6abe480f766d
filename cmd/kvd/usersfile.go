package main

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"kvd/server"
)

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
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%w: %s (\"kvd user add\" makes it, --users names another)", errNoUsersFile, u.name)
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

// mustFind reads the file and returns the line of a user, who must be there.
func (u *usersFile) mustFind(name string) (int, error) {
	if err := u.read(mustExist); err != nil {
		return -1, err
	}
	at := u.find(name)
	if at < 0 {
		return -1, fmt.Errorf("%w: %q in %s", errNoUser, name, u.name)
	}
	return at, nil
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

// names returns the names of the users.
func (u *usersFile) names() []string {
	var names []string
	for _, line := range u.lines {
		if fields := strings.Fields(line); len(fields) > 0 && !strings.HasPrefix(fields[0], "#") {
			names = append(names, fields[0])
		}
	}
	return names
}

// completeUser proposes the users of the file.
func (u *usersFile) completeUser(_ *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	if len(args) > 0 || u.read(mustExist) != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	return u.names(), cobra.ShellCompDirectiveNoFileComp
}

// The errors of a users file.
var (
	errNoUsersFile = errors.New("no users file")
	errNoUser      = errors.New("user not found")
	errUserExists  = errors.New("user exists")
)
