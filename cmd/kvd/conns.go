package main

import (
	"fmt"
	"net/http"
	"strconv"

	"github.com/spf13/cobra"

	"kvd/server/admin"
)

func (a *app) connsCommand() *cobra.Command {
	var addr string
	c := &cobra.Command{
		Use:   "conns",
		Short: "List or close the connections of a server",
		Long: `List the open connections of a server: ID, protocol, address, user and since when.
On a server with users it needs a user with "admin" on "*".`,
		Example: `  kvd conns
  kvd conns kill 17`,
		Args: a.unknownVerb,
		RunE: func(c *cobra.Command, _ []string) error {
			var list []admin.Connection
			if err := a.askAdmin(c.Context(), addr, http.MethodGet, "/api/v1/conns", nil, &list); err != nil {
				return err
			}
			return a.printConns(list)
		},
	}
	a.addAdmin(c, &addr)
	a.addJSON(c)
	c.AddCommand(a.killCommand())
	return c
}

func (a *app) killCommand() *cobra.Command {
	var addr string
	c := &cobra.Command{
		Use:     "kill ID",
		Short:   "Close a connection at once",
		Long:    "Close a connection at once. Its client may connect again.",
		Example: "  kvd conns kill 17",
		Args:    takes(1, 1),
		RunE: func(c *cobra.Command, args []string) error {
			id, err := strconv.ParseUint(args[0], 10, 64)
			if err != nil {
				return usageOf(c, fmt.Errorf("%q is not the ID of a connection: \"kvd conns\" lists them", args[0]))
			}
			var killed admin.Connection
			if err := a.askAdmin(c.Context(), addr, http.MethodDelete, fmt.Sprintf("/api/v1/conns/%d", id), nil, &killed); err != nil {
				return err
			}
			if a.json {
				return a.printJSON(&killed)
			}
			return nil
		},
	}
	a.addAdmin(c, &addr)
	a.addJSON(c)
	return c
}

func (a *app) printConns(list []admin.Connection) error {
	t := a.newList("Connections", "ID", "Protocol", "Address", "User", "Since")
	for i := range list {
		c := &list[i]
		if a.json {
			if err := a.printJSON(c); err != nil {
				return err
			}
			continue
		}
		t.add(c.ID, c.Protocol, c.Remote, c.User, t.time(c.Since))
	}
	if !a.json {
		t.end()
	}
	return nil
}
