package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/spf13/cobra"
)

// errUnhealthy is a server that answers that it is not well.
var errUnhealthy = errors.New("unhealthy")

const healthTimeout = 3 * time.Second

func (a *app) healthCommand() *cobra.Command {
	var addr string
	c := &cobra.Command{
		Use:   "health",
		Short: "Ask a server whether it is well",
		Long: `Ask the admin address of a server whether it serves and takes writes. The exit
code is 0 if it does and 5 if not. An address of all interfaces is asked on the
loopback one, so that the server's own settings do inside its container.`,
		Example: "  kvd health --admin 127.0.0.1:8222",
		GroupID: groupServer,
		Args:    takes(0, 0),
		RunE: func(c *cobra.Command, _ []string) error {
			ctx, cancel := context.WithTimeout(c.Context(), healthTimeout)
			defer cancel()
			answer, err := askHealth(ctx, addr)
			if err != nil {
				return err
			}
			fmt.Fprintln(a.out, answer)
			return nil
		},
	}
	c.Flags().StringVar(&addr, "admin", a.env("KVD_ADMIN", adminDefault), "admin address of the server (KVD_ADMIN)")
	return c
}

// askHealth returns what a server says of its health, as an error if it is not
// well.
func askHealth(ctx context.Context, addr string) (string, error) {
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return "", fmt.Errorf("admin address %q: %w", addr, err)
	}
	if ip := net.ParseIP(host); host == "" || ip != nil && ip.IsUnspecified() {
		host = "127.0.0.1"
	}
	url := "http://" + net.JoinHostPort(host, port) + "/healthz"
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return "", err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return "", err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(io.LimitReader(response.Body, 4<<10))
	if err != nil {
		return "", err
	}
	answer := strings.TrimSpace(string(body))
	if response.StatusCode != http.StatusOK {
		return "", fmt.Errorf("%w: %s answers %s: %s", errUnhealthy, addr, response.Status, answer)
	}
	return answer, nil
}
