// Package kvtest states the semantics of [kv.Store] as a suite of tests. Every
// store passes it: the embedded engine, the client of a server, and, as the
// oracle that keeps the suite honest, a real nats-server behind the adapter in
// the module kvd/kv/kvtest/jetstream.
//
// A store's own test is one call:
//
//	func TestConformance(t *testing.T) {
//		kvtest.Run(t, kvtest.Harness{Open: func(t *testing.T) kv.Store { … }})
//	}
//
// Each fact is one subtest named as the sentence it checks, grouped by what it
// is about, so that one can be run alone:
//
//	go test -run 'TestConformance/create/over_a_delete_marker'
//
// # Differences
//
// A store that cannot keep a fact names the [Difference] and the reason in its
// Harness. The fact is not left out then: it asserts what such a store does
// instead. A difference that does not hold fails, so the list stays true.
//
// # Optional parts
//
// The facts of [kv.Submitter] run for a store that implements it, those about
// closing for a store with a method Close() error, and those about reopening if
// the Harness has Reopen. The facts of [kv.Poller] run where a watch made with
// [kv.Notify] implements it.
//
// # What is not here
//
// The suite sets no clock: facts about expiry wait in real time for the shortest
// TTL that a store takes, and look for what must have come of it, so what happens
// at the very instant is the engine's to prove. It never waits for a time to pass
// otherwise, but for events, and a store that owes one too long has failed.
// Durability is the engine's to prove, by crashing.
//
// # Why
//
// All facts share one store and each makes buckets of its own: a store under
// test may be a server whose start costs more than the whole suite. Only facts
// about listings of buckets, closing and reopening open another.
//
// The suite must be able to fail. Its own test runs it against a small store in
// memory, which passes, and then against the same store with one bug at a time,
// each of which must make the fact that it breaks fail.
package kvtest
