// Package servers pins the servers that bench/peers compares, as tools of this module.
package servers
