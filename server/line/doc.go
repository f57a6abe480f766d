// Package line speaks kvd's line protocol over TCP.
package line
