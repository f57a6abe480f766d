package admin

import (
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
)

// knownHost passes on the requests whose header Host is an IP address, localhost or one of the
// names, and answers others with 421. A page whose own name leads to this address (DNS rebinding)
// sends its name there. The port is free: a container's may be mapped to another one. Probes are
// answered under any name: they show nothing but health.
func knownHost(names []string, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !slices.Contains(probes, r.URL.Path) && !isKnownHost(r.Host, names) {
			http.Error(w, "this name of the server is not known: --admin-host makes it known", http.StatusMisdirectedRequest)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// probes are the paths of health.
var probes = []string{"/livez", "/readyz", "/healthz"}

func isKnownHost(host string, names []string) bool {
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	host = strings.ToLower(strings.Trim(host, "[]"))
	if _, err := netip.ParseAddr(host); err == nil || host == "localhost" {
		return true
	}
	return slices.Contains(names, host)
}
