package main

import (
	"net"
	"strings"
)

// notifier tells the service manager the state of the server, over the socket that
// NOTIFY_SOCKET names: see sd_notify(3). An empty one tells nobody.
type notifier string

// notify sends assignments such as READY=1. It ignores errors: the server does not
// depend on the manager.
func (n notifier) notify(assignments ...string) {
	if n == "" {
		return
	}
	name := string(n)
	if name[0] == '@' { // Linux' abstract namespace
		name = "\x00" + name[1:]
	}
	conn, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Name: name, Net: "unixgram"})
	if err != nil {
		return
	}
	defer func() { _ = conn.Close() }() // the message is sent by then
	_, _ = conn.Write([]byte(strings.Join(assignments, "\n")))
}
