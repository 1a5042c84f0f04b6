package pki

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net/url"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"
)

// A listener that trusts two authorities must not let the key of one make certificates of the other: whoever holds the
// client authority would be an operator.
func TestAuthorityCannotVouchForAnother(t *testing.T) {
	w := newWorld(t)
	ca := filepath.Join(w.dir, "ca")
	leaf := must(w.by[Client].IssueNode("n1", nil, 0))
	files := w.files("server", leaf, Client)
	files.CAs = []string{CertFile(ca, Client), CertFile(ca, Operator)}
	server, err := LoadCredentials(files)
	if err != nil {
		t.Fatal(err)
	}
	attempts := map[string]struct {
		signer Kind
		name   Name
		admit  bool
	}{
		"the operator authority's operator": {Operator, Name{Operator, testCluster, Human, "ann"}, true},
		"the client authority's service":    {Client, Name{Client, testCluster, Service, "billing"}, true},
		"the client authority's operator":   {Client, Name{Operator, testCluster, Human, "ann"}, false},
		"the operator authority's service":  {Operator, Name{Client, testCluster, Service, "billing"}, false},
		"the client authority's peer":       {Client, Name{Peer, testCluster, Node, "n2"}, false},
		"another cluster's service":         {Client, Name{Client, [16]byte{9}, Service, "billing"}, false},
	}
	for what, tt := range attempts {
		for _, constrained := range []bool{true, false} {
			// An authority without name constraints, as other software may make them, must not matter.
			a := w.by[tt.signer]
			forge := func() Leaf {
				return w.forge(tt.signer, func(c *x509.Certificate) { c.URIs = []*url.URL{tt.name.URL()} })
			}
			config := server.Client(anybody)
			config.Certificates = []tls.Certificate{mustPair(t, forge())}
			listen := server.Server(anybody)
			if !constrained {
				listen = unconstrained(t, listen, a)
			}
			serverErr, _ := w.shake(listen, config)
			if (serverErr == nil) != tt.admit {
				t.Errorf("%s, constrained %v: %v", what, constrained, serverErr)
			}
		}
	}
}

// unconstrained makes a listener verify chains as if the authority had no name constraints, so that only our own check
// is left.
func unconstrained(t *testing.T, config *tls.Config, a *Authority) *tls.Config {
	t.Helper()
	inner, err := config.GetConfigForClient(nil)
	if err != nil {
		t.Fatal(err)
	}
	verify := inner.VerifyConnection
	c := inner.Clone()
	c.ClientAuth = tls.RequireAnyClientCert
	c.VerifyConnection = func(s tls.ConnectionState) error {
		s.VerifiedChains = [][]*x509.Certificate{{s.PeerCertificates[0], a.cert}}
		return verify(s)
	}
	return c
}

// A client must not take another authority's node for the one it dials either.
func TestServerNameNeedsItsAuthority(t *testing.T) {
	w := newWorld(t)
	ca := filepath.Join(w.dir, "ca")
	files := w.files("client", must(w.by[Operator].IssueOperator("ann", 0)), Client)
	files.CAs = []string{CertFile(ca, Client), CertFile(ca, Operator)}
	client, err := LoadCredentials(files)
	if err != nil {
		t.Fatal(err)
	}
	fake := w.forge(Client, func(c *x509.Certificate) {
		c.URIs = []*url.URL{Name{Operator, testCluster, Node, "n1"}.URL()}
		c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
	})
	config := &tls.Config{Certificates: []tls.Certificate{mustPair(t, fake)}, MinVersion: tls.VersionTLS13}
	if _, err := w.shake(config, client.Client(anybody)); err == nil {
		t.Error("the client authority's key served as a node of the operator listener")
	}
}

func TestOnlyOurAuthoritiesAreTrusted(t *testing.T) {
	w := newWorld(t)
	files := w.files("node", must(w.by[Client].IssueNode("n1", nil, 0)), Client)
	good, err := os.ReadFile(files.CAs[0])
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := os.ReadFile(files.Cert)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(w.dir, "bundle.crt")
	files.CAs = []string{path}
	for what, bundle := range map[string][]byte{
		"a leaf":                        leaf,
		"a good one, then a leaf":       append(bytes.Clone(good), leaf...),
		"a good one, then half of one":  append(bytes.Clone(good), good[:len(good)/2]...),
		"nothing":                       nil,
		"a key":                         []byte("-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"),
		"bytes that are no certificate": []byte("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"),
	} {
		if err := os.WriteFile(path, bundle, 0o644); err != nil {
			t.Fatal(err)
		}
		if _, err := LoadCredentials(files); err == nil || !strings.Contains(err.Error(), path) {
			t.Errorf("%s: %v, want an error that names the file", what, err)
		}
	}
	// Two authorities of a kind, as while one takes over from another.
	next, err := CreateAuthority(Client, testCluster)
	if err != nil {
		t.Fatal(err)
	}
	nextPEM := must(next.leaf(next.cert.Raw, next.key)).CertPEM
	if err := os.WriteFile(path, append(bytes.Clone(good), nextPEM...), 0o644); err != nil {
		t.Fatal(err)
	}
	server, err := LoadCredentials(files)
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range []*Authority{w.by[Client], next} {
		config := server.Client(anybody)
		config.Certificates = []tls.Certificate{mustPair(t, must(a.IssueService("billing", 0)))}
		if serverErr, clientErr := w.shake(server.Server(anybody), config); serverErr != nil || clientErr != nil {
			t.Errorf("one of two authorities: %v, %v", serverErr, clientErr)
		}
	}
}

func TestLeavesOutsideTheirTimeDoNotLoad(t *testing.T) {
	w := newWorld(t)
	for what, change := range map[string]func(*x509.Certificate){
		"expired on":          func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Minute) },
		"is not valid before": func(c *x509.Certificate) { c.NotBefore = time.Now().Add(time.Minute) },
	} {
		files := w.files(strings.ReplaceAll(what, " ", "-"), w.forge(Client, change), Client)
		c, err := LoadCredentials(files)
		var fileErr *FileError
		if c != nil || !errors.As(err, &fileErr) || fileErr.Path != files.Cert || !strings.Contains(err.Error(), what) {
			t.Errorf("%s: %v", what, err)
		}
	}
}

// A certificate must not claim to be good for longer than its authority is.
func TestLeafEndsWithItsAuthority(t *testing.T) {
	w := newWorld(t)
	c := w.credentials("long", must(w.by[Client].IssueService("billing", 100*365*24*time.Hour)), Client)
	if want := w.by[Client].cert.NotAfter; !c.NotAfter().Equal(want) {
		t.Errorf("good until %v, the authority until %v", c.NotAfter(), want)
	}
	c = w.credentials("default", must(w.by[Client].IssueService("billing", 0)), Client)
	if left := time.Until(c.NotAfter()); left > LeafLifetime || left < LeafLifetime-time.Hour {
		t.Errorf("by default good for %v", left)
	}
}

func TestKeysThatOthersMayRead(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("mode bits say nothing about access here")
	}
	w := newWorld(t)
	key := KeyFile(filepath.Join(w.dir, "ca"), Client)
	files := w.files("node", must(w.by[Client].IssueNode("n1", nil, 0)), Client)
	for _, path := range []string{key, files.Key} {
		info, err := os.Stat(path)
		if err != nil || info.Mode().Perm() != 0o600 {
			t.Fatalf("%s: %v, %v", path, info.Mode(), err)
		}
	}
	for _, mode := range []os.FileMode{0o640, 0o604, 0o620, 0o601} {
		for _, path := range []string{key, files.Key} {
			if err := os.Chmod(path, mode); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := LoadAuthority(filepath.Join(w.dir, "ca"), Client); err == nil || !strings.Contains(err.Error(), key) {
			t.Errorf("authority's key with mode %o: %v", mode, err)
		}
		if _, err := LoadCredentials(files); err == nil || !strings.Contains(err.Error(), files.Key) {
			t.Errorf("node's key with mode %o: %v", mode, err)
		}
	}
}

func TestKeyMustBeARegularFile(t *testing.T) {
	w := newWorld(t)
	files := w.files("node", must(w.by[Client].IssueNode("n1", nil, 0)), Client)
	files.Key = w.dir
	if err := os.Chmod(w.dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if _, err := LoadCredentials(files); err == nil || !strings.Contains(err.Error(), w.dir) {
		t.Errorf("a directory as key: %v", err)
	}
}

// Tickets are off: a second connection of the same client is a full handshake, so a decision is never older than its
// connection.
func TestNoResumption(t *testing.T) {
	w := newWorld(t)
	server := w.credentials("server", must(w.by[Client].IssueNode("n1", nil, 0)), Client)
	config := w.credentials("client", must(w.by[Client].IssueService("billing", 0)), Client).Client(anybody)
	config.ClientSessionCache = tls.NewLRUClientSessionCache(4)
	config.ServerName = "n1"
	verified := 0
	verify := config.VerifyConnection
	config.VerifyConnection = func(s tls.ConnectionState) error {
		if s.DidResume {
			t.Error("a session was resumed")
		}
		verified++
		return verify(s)
	}
	listener := server.Server(anybody) // one for all: its ticket keys would be the same
	for range 3 {
		if serverErr, clientErr := w.shake(listener, config); serverErr != nil || clientErr != nil {
			t.Fatal(serverErr, clientErr)
		}
	}
	if verified != 3 {
		t.Errorf("%d of 3 connections were decided", verified)
	}
}
