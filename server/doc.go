// Package server is shared by all front ends of kvd: listeners, limits, users, TLS and
// shutdown. A [Protocol] serves a connection; packages kvd/server/line and
// kvd/server/nats have one each.
//
//	srv, err := server.New(protocol, server.Options{Addr: "127.0.0.1:5830"})
//	l, err := srv.Listen()
//	go srv.Serve(l)
//	…
//	err = srv.Shutdown(ctx)
//
// # Who may connect
//
// An address that is not loopback is refused without users and TLS, unless
// [Options.Insecure] is set. At most [Options.MaxConns] connections are served at a
// time, and at most [Options.MaxConnsPerAddr] from one address; the second limit does
// not apply to loopback. Servers with the same [ConnLimit] share a further limit. Further
// connections get an error and are closed. When the
// system has no descriptor left, accepting pauses; open connections are not affected.
//
// # Users
//
// The users file has one line for each user: name, bcrypt hash or public key, and grants. Operations that
// are not granted are denied, with a [DeniedError] that names the missing grant.
//
//	# name  hash                       grants: buckets=verbs or buckets/keys=verbs
//	alice   $2a$10$N9qo8uLOickgx2ZM…   my-kv=get,put,del,watch  cfg-*=read-only
//	app     $2a$10$Ek3Gw0c9lqT1Z2Jx…   my-kv/app.>=get,put
//	admin   $2a$10$lkRk1ZMY0GZ5Jz1r…   *=all
//	kim     UDXU4RCSJNZOIQHZNWXHXOR…   my-kv=read-only
//
// In a pattern of buckets * stands for any characters. The verbs stand behind the last "=":
//
//	get         read keys, histories and lists of keys
//	put         write values
//	del         delete and purge keys
//	watch       watch keys
//	admin       create, edit and delete the bucket; remove markers; reclaim disk space
//	read-only   get, watch
//	read-write  get, put, del, watch
//	all         every verb
//
// The keys are one pattern, with the syntax of kv.Match; admin takes none. An operation on
// one key needs a grant that matches the key. An operation on patterns needs for each of them
// one grant that covers every key that it can match: nothing is left out in silence. What
// concerns a bucket as a whole needs a grant without keys. A user sees the buckets in which
// there is any grant.
//
// A user with a public key, an nkey that begins with U, has no password, and logs in with a
// protocol that has signatures.
//
// [Logins.SetUsers] replaces all users at once. It affects open connections too: their user
// loses all permissions if the new users do not have the user, or have another password.
//
// Servers that have the same [Logins] share users and limits. A login takes the same time
// whether the name exists or not. Attempts as one user from one address are slowed: five are
// free at once, then there is one more every 200 ms. Further ones wait up to a second, or are
// refused without a check. Half of the processors hash passwords, for one address after the
// other. So others behind an address that sends wrong passwords can log in.
//
// A password that was right costs no hash for a minute: a keyed hash of it is in memory. Equal
// attempts of one address at the same time share one check. SetUsers forgets what was verified.
//
// # Shutdown
//
// Shutdown stops accepting, lets every connection finish the commands that it has
// read, and closes it. If the context of Shutdown ends first, the other connections are
// closed at once.
//
// A panic while a connection is served closes that connection and is logged. A panic
// inside the store ends the process, because a commit may be half done.
//
// # Why
//
// No user database: a file of lines can be written by hand, reviewed as a diff,
// and mounted as a secret.
//
// Attempts are slowed by user and address together (IPv6 by /64). By user alone, anyone could
// lock a user out; by address alone, anyone behind it. A wait that doubles with each failure
// did that: beside four wrong passwords a second nobody else was ever admitted.
package server
