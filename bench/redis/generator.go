//go:build linux

package main

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"net"
	"runtime"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// generator loads a server from one thread, like redis-benchmark: each connection sends a
// number of commands with one write, reads until all are answered, and sends the next ones.
type generator struct {
	addr  string
	conns int
	depth int // commands in flight on a connection
	dialect
	command []byte        // with digits for the key's number
	digits  int           // offset of the digits in command
	keys    int           // numbers of keys are below it
	tail    []byte        // the end of every reply
	warm    time.Duration // time before counting begins
	counted time.Duration
}

// keyDigits is the number of digits of a key, as redis-benchmark -r makes them.
const keyDigits = 12

// lane is one connection.
type lane struct {
	fd      int
	out     []byte // commands of one write; their number is depth
	in      []byte
	filled  int // bytes in in
	waiting int // replies that are missing
}

// run returns the number of answered commands per second.
func (g *generator) run() (perSecond float64, err error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	poll, err := unix.EpollCreate1(0)
	if err != nil {
		return 0, err
	}
	defer unix.Close(poll)
	lanes := make([]*lane, g.conns)
	for i := range lanes {
		if lanes[i], err = g.open(poll, i); err != nil {
			return 0, err
		}
		defer unix.Close(lanes[i].fd)
	}
	random := rand.New(rand.NewPCG(1, 2))
	for _, l := range lanes {
		if err := g.send(l, random); err != nil {
			return 0, err
		}
	}
	var begin time.Time
	count := 0
	start := time.Now()
	events := make([]unix.EpollEvent, len(lanes))
	for {
		n, err := wait(poll, events)
		if err != nil {
			return 0, err
		}
		for _, e := range events[:n] {
			l := lanes[e.Fd]
			answered, err := g.receive(l)
			if err != nil {
				return 0, err
			}
			count += answered
			if l.waiting == 0 {
				if err := g.send(l, random); err != nil {
					return 0, err
				}
			}
		}
		switch now := time.Now(); {
		case begin.IsZero() && now.Sub(start) >= g.warm:
			begin, count = now, 0
		case !begin.IsZero() && now.Sub(begin) >= g.counted:
			return float64(count) / now.Sub(begin).Seconds(), nil
		}
	}
}

// open connects and prepares the commands.
func (g *generator) open(poll, i int) (*lane, error) {
	conn, err := net.Dial("tcp", g.addr)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	raw, err := conn.(*net.TCPConn).File() // a second descriptor
	if err != nil {
		return nil, err
	}
	defer raw.Close()
	fd, err := unix.Dup(int(raw.Fd()))
	if err != nil {
		return nil, err
	}
	if err := unix.SetNonblock(fd, true); err != nil {
		return nil, err
	}
	l := &lane{fd: fd, out: bytes.Repeat(g.command, g.depth), in: make([]byte, 256<<10)}
	return l, unix.EpollCtl(poll, unix.EPOLL_CTL_ADD, fd, &unix.EpollEvent{Events: unix.EPOLLIN, Fd: int32(i)})
}

// send gives each command a key and writes them. Sixty-four commands fit into the send buffer
// of a connection without outstanding replies.
func (g *generator) send(l *lane, random *rand.Rand) error {
	for at := g.digits; at < len(l.out); at += len(g.command) {
		n := random.Uint32N(uint32(g.keys))
		for d := keyDigits - 1; d >= 0; d-- {
			l.out[at+d] = byte('0' + n%10)
			n /= 10
		}
	}
	l.waiting = g.depth
	n, err := unix.Write(l.fd, l.out)
	if err == nil && n < len(l.out) {
		err = fmt.Errorf("a write of %d bytes took %d", len(l.out), n)
	}
	return err
}

// receive reads the available bytes and counts the replies.
func (g *generator) receive(l *lane) (answered int, err error) {
	n, err := unix.Read(l.fd, l.in[l.filled:])
	switch {
	case err == syscall.EAGAIN || err == syscall.EINTR:
		return 0, nil
	case err != nil:
		return 0, err
	case n == 0:
		return 0, fmt.Errorf("the server closed the connection")
	}
	l.filled += n
	at := 0
	for l.waiting > 0 {
		size, err := g.reply(l.in[at:l.filled])
		if err != nil {
			return answered, err
		}
		if size == 0 {
			break
		}
		if at += size; !bytes.HasSuffix(l.in[:at], g.tail) {
			return answered, fmt.Errorf("a reply is %q", l.in[at-size:at])
		}
		l.waiting--
		answered++
	}
	l.filled = copy(l.in, l.in[at:l.filled])
	return answered, nil
}

// wait calls epoll_wait without notifying Go's scheduler, which has nothing else to run.
func wait(poll int, events []unix.EpollEvent) (int, error) {
	for {
		n, _, errno := unix.RawSyscall6(unix.SYS_EPOLL_PWAIT, uintptr(poll),
			uintptr(unsafe.Pointer(&events[0])), uintptr(len(events)), ^uintptr(0), 0, 0)
		if errno == 0 {
			return int(n), nil
		}
		if errno != syscall.EINTR {
			return 0, errno
		}
	}
}
