package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/spf13/cobra"
)

// errUnhealthy is the answer of a server that is not healthy.
var errUnhealthy = errors.New("unhealthy")

const healthTimeout = 3 * time.Second

func (a *app) healthCommand() *cobra.Command {
	var addr string
	c := &cobra.Command{
		Use:   "health",
		Short: "Check the health of a server",
		Long: `Ask a server at its admin address whether it is ready, accepts writes, and has
nothing lost or in doubt after damage. The exit code is 0 if so, and 5 if not. For
an address of all interfaces, such as 0.0.0.0:8222, the loopback interface is used,
so that the check works with the settings of the server in the same container.`,
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

// askHealth returns the answer of a server about its health. If the server is not
// healthy, the answer is in the error.
func askHealth(ctx context.Context, addr string) (string, error) {
	url, err := adminURL(addr, "/healthz")
	if err != nil {
		return "", err
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return "", err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return "", explainAdmin(addr, err)
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
