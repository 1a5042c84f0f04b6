package pki

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"sync/atomic"
	"time"
)

// Files are the PEM files that one side of a connection proves itself and checks the other with.
type Files struct {
	Cert, Key string
	CAs       []string // authorities whose certificates the other side may show
}

// Credentials are loaded files, which may be loaded again while connections are being made.
type Credentials struct {
	files  Files
	loaded atomic.Pointer[loaded]
}

type loaded struct {
	cert  tls.Certificate
	leaf  *x509.Certificate
	roots *x509.CertPool
}

// LoadCredentials reads and checks the files.
func LoadCredentials(files Files) (*Credentials, error) {
	c := &Credentials{files: files}
	return c, c.Reload()
}

// Reload reads the files again. On an error what was loaded before stays.
func (c *Credentials) Reload() error {
	key, err := readKey(c.files.Key)
	if err != nil {
		return err
	}
	certs, err := readCerts(c.files.Cert)
	if err != nil {
		return err
	}
	l := &loaded{leaf: certs[0], roots: x509.NewCertPool(), cert: tls.Certificate{PrivateKey: key, Leaf: certs[0]}}
	if !key.PublicKey.Equal(certs[0].PublicKey) {
		return &FileError{c.files.Cert, "does not belong to the key in " + c.files.Key}
	}
	if _, err := NameOf(l.leaf); err != nil {
		return &FileError{c.files.Cert, err.Error()}
	}
	if time.Now().After(l.leaf.NotAfter) {
		return &FileError{c.files.Cert, "expired on " + l.leaf.NotAfter.UTC().Format(time.RFC3339)}
	}
	for _, cert := range certs {
		l.cert.Certificate = append(l.cert.Certificate, cert.Raw)
	}
	for _, path := range c.files.CAs {
		cas, err := readCerts(path)
		if err != nil {
			return err
		}
		for _, ca := range cas {
			l.roots.AddCert(ca)
		}
	}
	c.loaded.Store(l)
	return nil
}

// Name returns who the credentials say their holder is.
func (c *Credentials) Name() Name {
	n, _ := NameOf(c.loaded.Load().leaf)
	return n
}

// NotAfter returns when the certificate expires.
func (c *Credentials) NotAfter() time.Time { return c.loaded.Load().leaf.NotAfter }

// Server returns the configuration of a listener that admits whoever shows a certificate of a listed authority with a
// name that admit accepts. Files loaded later are used from the next handshake on.
func (c *Credentials) Server(admit func(Name) error, protocols ...string) *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS13, SessionTicketsDisabled: true,
		GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) {
			l := c.loaded.Load()
			return &tls.Config{
				MinVersion: tls.VersionTLS13, SessionTicketsDisabled: true, NextProtos: protocols,
				Certificates: []tls.Certificate{l.cert}, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: l.roots,
				VerifyConnection: func(s tls.ConnectionState) error { return check(s, protocols, admit) },
			}, nil
		},
	}
}

// Client returns the configuration of one dial to whoever shows a certificate of a listed authority with a name that
// admit accepts. Host names are not looked at: a name says more than an address.
func (c *Credentials) Client(admit func(Name) error, protocols ...string) *tls.Config {
	l := c.loaded.Load()
	return &tls.Config{
		MinVersion: tls.VersionTLS13, SessionTicketsDisabled: true, NextProtos: protocols,
		Certificates: []tls.Certificate{l.cert},
		// The chain is verified in VerifyConnection, against our roots and without a host name.
		InsecureSkipVerify: true,
		VerifyConnection: func(s tls.ConnectionState) error {
			if len(s.PeerCertificates) == 0 {
				return errors.New("server showed no certificate")
			}
			intermediates := x509.NewCertPool()
			for _, cert := range s.PeerCertificates[1:] {
				intermediates.AddCert(cert)
			}
			if _, err := s.PeerCertificates[0].Verify(x509.VerifyOptions{
				Roots: l.roots, Intermediates: intermediates, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
			}); err != nil {
				return fmt.Errorf("checking the server's certificate: %w", err)
			}
			return check(s, protocols, admit)
		},
	}
}

func check(s tls.ConnectionState, protocols []string, admit func(Name) error) error {
	if len(protocols) > 0 && s.NegotiatedProtocol == "" {
		return errors.New("the other side did not name our protocol in the handshake")
	}
	name, err := PeerName(s)
	if err != nil {
		return err
	}
	return admit(name)
}

// PeerName returns who the other side of a connection proved to be.
func PeerName(s tls.ConnectionState) (Name, error) {
	if len(s.PeerCertificates) == 0 {
		return Name{}, errors.New("no certificate was shown")
	}
	return NameOf(s.PeerCertificates[0])
}
