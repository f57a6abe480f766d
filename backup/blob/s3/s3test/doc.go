// Package s3test checks package backup/blob/s3 against S3 services in the same process, and against
// a proxy in front of them that cuts connections, delays, truncates and repeats. It is a module of its
// own, so that users of kvd do not download the services.
package s3test
