// Package kvtest states the semantics of [kv.Store] as a suite of tests. Every store
// passes it: the embedded engine, the client of a server, and a real nats-server behind
// the adapter in the module kvd/kv/kvtest/jetstream. The nats-server is the oracle: it
// shows that the facts are NATS' semantics.
//
// The test of a store is one call:
//
//	func TestConformance(t *testing.T) {
//		kvtest.Run(t, kvtest.Harness{Open: func(t *testing.T) kv.Store { … }})
//	}
//
// Each fact is one subtest. Its name is the sentence that it checks. Facts are grouped by
// subject, and each can be run alone:
//
//	go test -run 'TestConformance/create/over_a_delete_marker'
//
// # Differences
//
// A store that cannot keep a fact names the [Difference] and the reason in its Harness.
// The fact is still run, and asserts the behaviour of such a store. A difference that a
// store does not have fails, so the list stays true.
//
// # Optional parts
//
// The facts of [kv.Submitter] and [kv.Transactor] run for a store that implements them, those about closing for
// a store with a method Close() error, and those about reopening if the Harness has
// Reopen. The facts of [kv.Doubtful] run if buckets implement it. The facts of [kv.Poller] run if a watch made with [kv.Notify] implements it.
//
// # What is not here
//
// The suite sets no clock. Facts about expiry wait in real time for the shortest TTL that
// a store takes, and then check the result. The engine's own tests check the exact
// instant of expiry. All other facts wait for events, and never for a time to pass; a
// store fails if an event takes too long. The engine's own tests check durability, by
// crashing.
//
// # Why
//
// All facts share one store, and each makes buckets of its own, because the start of a
// server may take longer than the whole suite. Only facts about listings of buckets,
// closing and reopening open another store.
//
// The suite must be able to fail. Its own test runs it against a small store in memory,
// which passes. Then it runs it against the same store with one bug at a time. Each bug
// must make the fact that it breaks fail.
package kvtest
