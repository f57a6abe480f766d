// Package nats measures kvd's front end for NATS' clients beside nats-server, with the
// same client, nats.go, in one run. It holds nothing but benchmarks.
package nats
