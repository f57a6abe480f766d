// Package server is what every front end of kvd shares: listeners, limits,
// users, TLS, and an orderly end. What is spoken on a connection is a [Protocol];
// package kvd/server/line has one.
//
//	srv, err := server.New(protocol, server.Options{Addr: "127.0.0.1:5830"})
//	l, err := srv.Listen()
//	go srv.Serve(l)
//	…
//	err = srv.Shutdown(ctx)
//
// # Who may connect
//
// An address that is not loopback is refused unless there are users and TLS, or
// [Options.Insecure] says that this is known. At most [Options.MaxConns]
// connections are served at a time, and at most [Options.MaxConnsPerAddr] from one
// address; loopback has no limit of the second kind. The others are told and
// closed. Where the system has no descriptor left, accepting pauses, and whoever
// is connected notices nothing.
//
// # Users
//
// A file names the users, a line each: name, bcrypt hash, and what they may do in
// which buckets. Whatever is not granted is denied.
//
//	# name  hash                       grants: buckets=verbs
//	alice   $2a$10$N9qo8uLOickgx2ZM…   my-kv=get,put,del,watch  cfg-*=get
//	admin   $2a$10$lkRk1ZMY0GZ5Jz1r…   *=get,put,del,watch,admin
//
// In a bucket pattern * stands for any run of characters. [Server.SetUsers]
// replaces all users at once and holds for connections that are there: who is
// gone, or has another password, may do nothing from then on.
//
// A login costs the same time whether the name exists or not. After a few failures
// the address has to wait before the next attempt is looked at, twice as long each
// time, up to half a minute; attempts meanwhile cost no hashing.
//
// # The end
//
// Shutdown stops accepting, lets every connection finish the commands that it has
// read, and closes it. If its context ends first, the rest is cut off.
//
// A panic while a connection is served closes that connection and is logged. A
// panic inside the store is passed on and ends the process: half a commit must
// not be lived with.
//
// # Why
//
// No user database: a file of lines can be written by hand, reviewed as a diff,
// and mounted as a secret.
//
// The wait after failures is by address, IPv6 by /64, not by name: by name, anyone
// could lock a user out from anywhere.
package server
