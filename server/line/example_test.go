package line_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"log"
	"net"
	"os"

	"kvd/bucket"
	"kvd/server"
	"kvd/server/line"
)

func Example() {
	dir, err := os.MkdirTemp("", "kvd")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	store, err := bucket.Open(dir, bucket.Options{})
	if err != nil {
		log.Fatal(err)
	}
	defer store.Close()

	srv, err := server.New(line.New(store, "example"), server.Options{Addr: "127.0.0.1:0"})
	if err != nil {
		log.Fatal(err)
	}
	l, err := srv.Listen()
	if err != nil {
		log.Fatal(err)
	}
	go func() { _ = srv.Serve(l) }() // until Shutdown
	defer func() { _ = srv.Shutdown(context.Background()) }()

	conn, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		log.Fatal(err)
	}
	defer conn.Close()
	_, _ = io.WriteString(conn, "ADD my-kv\r\nPUT my-kv Key1 6\r\nValue1\r\nCOUNT my-kv >\r\nQUIT\r\n")
	for answers := bufio.NewScanner(conn); answers.Scan(); {
		fmt.Println(answers.Text())
	}
	// Output:
	// +OK
	// +OK 1
	// +OK 1
	// +OK
}
