package main

import (
	"crypto/tls"
	"errors"
	"fmt"
	"os"
	"sync/atomic"
	"time"

	"kvd/server"
)

// security is the users and certificates of a server. Their files are read at the
// start and on reload.
type security struct {
	cfg         *serveConfig
	logins      *server.Logins // of both protocols together
	tls         *tls.Config    // nil: no TLS
	certificate atomic.Pointer[tls.Certificate]
}

func newSecurity(cfg *serveConfig) (*security, error) {
	s := &security{cfg: cfg}
	users, err := s.loadUsers()
	if err != nil {
		return nil, err
	}
	s.logins = server.NewLogins(users)
	if err := s.loadCertificate(); err != nil {
		return nil, err
	}
	if cfg.cert == "" {
		return s, nil
	}
	s.tls = &tls.Config{
		MinVersion:     tls.VersionTLS13,
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return s.certificate.Load(), nil },
	}
	if cfg.clientCA != "" {
		if s.tls.ClientCAs, err = loadPool(cfg.clientCA); err != nil {
			return nil, err
		}
		s.tls.ClientAuth = tls.RequireAndVerifyClientCert
	}
	return s, nil
}

// expires returns when the certificate expires; zero: there is none.
func (s *security) expires() time.Time {
	c := s.certificate.Load()
	if c == nil || c.Leaf == nil {
		return time.Time{}
	}
	return c.Leaf.NotAfter
}

func (s *security) loadUsers() (*server.Users, error) {
	if s.cfg.users == "" {
		return nil, nil
	}
	f, err := os.Open(s.cfg.users)
	if err != nil {
		return nil, fmt.Errorf("users: %w", err)
	}
	defer f.Close()
	users, err := server.ParseUsers(f)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", s.cfg.users, err)
	}
	return users, nil
}

func (s *security) loadCertificate() error {
	if s.cfg.cert == "" {
		return nil
	}
	pair, err := tls.LoadX509KeyPair(s.cfg.cert, s.cfg.key)
	if err != nil {
		return fmt.Errorf("certificate %s: %w", s.cfg.cert, err)
	}
	s.certificate.Store(&pair)
	return nil
}

// reload reads users and certificate again, from the files that cfg names. After an error
// the previous ones stay in force.
func (s *security) reload(cfg *serveConfig) error {
	before := s.cfg
	s.cfg = cfg
	var errs []error
	if s.cfg.users != "" {
		users, err := s.loadUsers()
		if err == nil {
			err = s.logins.SetUsers(users)
		}
		errs = append(errs, err)
	}
	errs = append(errs, s.loadCertificate())
	err := errors.Join(errs...)
	if err != nil {
		s.cfg = before
	}
	return err
}
