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
	if err := c.Reload(); err != nil {
		return nil, err
	}
	return c, nil
}

// Reload reads the files again. On an error, which names the file, what was loaded before stays.
func (c *Credentials) Reload() error {
	key, err := readKey(c.files.Key)
	if err != nil {
		return err
	}
	certs, err := readCerts(c.files.Cert)
	if err != nil {
		return err
	}
	leaf := certs[0]
	if !key.PublicKey.Equal(leaf.PublicKey) {
		return &FileError{c.files.Cert, "does not belong to the key in " + c.files.Key}
	}
	if err := checkLeaf(leaf); err != nil {
		return &FileError{c.files.Cert, err.Error()}
	}
	l := &loaded{leaf: leaf, roots: x509.NewCertPool(), cert: tls.Certificate{PrivateKey: key, Leaf: leaf}}
	for _, cert := range certs {
		l.cert.Certificate = append(l.cert.Certificate, cert.Raw)
	}
	if err := l.addRoots(c.files); err != nil {
		return err
	}
	c.loaded.Store(l)
	return nil
}

func checkLeaf(leaf *x509.Certificate) error {
	if _, err := NameOf(leaf); err != nil {
		return err
	}
	switch now := time.Now(); {
	case now.After(leaf.NotAfter):
		return errors.New("expired on " + leaf.NotAfter.UTC().Format(time.RFC3339))
	case now.Before(leaf.NotBefore):
		return errors.New("is not valid before " + leaf.NotBefore.UTC().Format(time.RFC3339))
	}
	return nil
}

// addRoots reads the authorities. Each names the trust domain that it vouches for.
func (l *loaded) addRoots(files Files) error {
	for _, path := range files.CAs {
		cas, err := readCerts(path)
		if err != nil {
			return err
		}
		for _, ca := range cas {
			if _, err := authorityOf(ca); err != nil {
				return &FileError{path, err.Error()}
			}
			l.roots.AddCert(ca)
		}
	}
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
				MinVersion: tls.VersionTLS13, SessionTicketsDisabled: true, DynamicRecordSizingDisabled: true, NextProtos: protocols,
				Certificates: []tls.Certificate{l.cert}, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: l.roots,
				VerifyConnection: func(s tls.ConnectionState) error {
					return check(s, s.VerifiedChains, protocols, admit)
				},
			}, nil
		},
	}
}

// Client returns the configuration of one dial to whoever shows a certificate of a listed authority with a name that
// admit accepts. Host names are not looked at: a name says more than an address.
func (c *Credentials) Client(admit func(Name) error, protocols ...string) *tls.Config {
	l := c.loaded.Load()
	return &tls.Config{
		MinVersion: tls.VersionTLS13, SessionTicketsDisabled: true, DynamicRecordSizingDisabled: true, NextProtos: protocols,
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
			chains, err := s.PeerCertificates[0].Verify(x509.VerifyOptions{
				Roots: l.roots, Intermediates: intermediates, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
			})
			if err != nil {
				return fmt.Errorf("checking the server's certificate: %w", err)
			}
			return check(s, chains, protocols, admit)
		},
	}
}

func check(
	s tls.ConnectionState, chains [][]*x509.Certificate, protocols []string, admit func(Name) error,
) error {
	if len(protocols) > 0 && s.NegotiatedProtocol == "" {
		return errors.New("the other side did not name our protocol in the handshake")
	}
	name, err := PeerName(s)
	if err != nil {
		return err
	}
	if !vouched(name, chains) {
		return fmt.Errorf("%s: the certificate is not signed by the authority of that name", name)
	}
	return admit(name)
}

// vouched reports whether one of the verified chains ends at the authority that the name belongs to. A listener may
// trust several authorities; without this the key of the least of them could make certificates of any.
func vouched(name Name, chains [][]*x509.Certificate) bool {
	for _, chain := range chains {
		domain, err := authorityOf(chain[len(chain)-1])
		if err == nil && domain.Kind == name.Kind && domain.Cluster == name.Cluster {
			return true
		}
	}
	return false
}

// PeerName returns who the other side of a connection proved to be.
func PeerName(s tls.ConnectionState) (Name, error) {
	if len(s.PeerCertificates) == 0 {
		return Name{}, errors.New("no certificate was shown")
	}
	return NameOf(s.PeerCertificates[0])
}
