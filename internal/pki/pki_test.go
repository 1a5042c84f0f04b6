package pki

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"io"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// world is an authority of each kind and a directory to put certificates in.
type world struct {
	t   *testing.T
	dir string
	by  map[Kind]*Authority
}

func newWorld(t *testing.T) *world {
	w := &world{t: t, dir: t.TempDir(), by: map[Kind]*Authority{}}
	for _, k := range []Kind{Peer, Client, Operator} {
		a, err := CreateAuthority(k, testCluster)
		if err != nil {
			t.Fatal(err)
		}
		if err := a.Save(filepath.Join(w.dir, "ca")); err != nil {
			t.Fatal(err)
		}
		w.by[k] = a
	}
	return w
}

// credentials saves a leaf under a name and loads it, trusting an authority.
func (w *world) credentials(name string, leaf Leaf, trust Kind) *Credentials {
	w.t.Helper()
	c, err := LoadCredentials(w.files(name, leaf, trust))
	if err != nil {
		w.t.Fatal(err)
	}
	return c
}

func (w *world) files(name string, leaf Leaf, trust Kind) Files {
	w.t.Helper()
	f := Files{Cert: filepath.Join(w.dir, name+".crt"), Key: filepath.Join(w.dir, name+".key"),
		CAs: []string{CertFile(filepath.Join(w.dir, "ca"), trust)}}
	if err := leaf.Save(f.Cert, f.Key); err != nil {
		w.t.Fatal(err)
	}
	return f
}

func must(leaf Leaf, err error) Leaf {
	if err != nil {
		panic(err)
	}
	return leaf
}

func anybody(Name) error { return nil }

// shake does a handshake and one byte each way over loopback, and returns what each side ended with.
func (w *world) shake(server, client *tls.Config) (serverErr, clientErr error) {
	w.t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		w.t.Fatal(err)
	}
	defer l.Close()
	done := make(chan error, 1)
	go func() {
		raw, err := l.Accept()
		if err != nil {
			done <- err
			return
		}
		defer raw.Close()
		s := tls.Server(raw, server)
		_, err = io.ReadFull(s, make([]byte, 1))
		if err == nil {
			_, err = s.Write([]byte{1})
		}
		done <- err
	}()
	raw, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		w.t.Fatal(err)
	}
	c := tls.Client(raw, client)
	_, clientErr = c.Write([]byte{1})
	if clientErr == nil {
		_, clientErr = io.ReadFull(c, make([]byte, 1))
	}
	raw.Close()
	return <-done, clientErr
}

func TestAuthorityRoundTrip(t *testing.T) {
	w := newWorld(t)
	ca := filepath.Join(w.dir, "ca")
	for k, a := range w.by {
		again, err := LoadAuthority(ca, k)
		if err != nil {
			t.Fatal(err)
		}
		if again.Kind() != k || again.Cluster() != testCluster || !again.cert.Equal(a.cert) || !again.key.Equal(a.key) {
			t.Errorf("the %s authority came back different", k)
		}
	}
	if err := w.by[Peer].Save(ca); err == nil {
		t.Error("an authority was replaced")
	}
	// The key of one with the certificate of another.
	other := filepath.Join(w.dir, "mixed")
	os.MkdirAll(other, 0o700)
	copyFile(t, CertFile(ca, Client), CertFile(other, Peer), 0o644)
	copyFile(t, KeyFile(ca, Peer), KeyFile(other, Peer), 0o600)
	if _, err := LoadAuthority(other, Peer); err == nil {
		t.Error("a key was taken with another authority's certificate")
	}
	copyFile(t, KeyFile(ca, Client), filepath.Join(other, "k"), 0o600)
	os.Rename(filepath.Join(other, "k"), KeyFile(other, Peer))
	if _, err := LoadAuthority(other, Peer); err == nil {
		t.Error("the client authority was taken for the peers'")
	}
}

func copyFile(t *testing.T, from, to string, mode os.FileMode) {
	t.Helper()
	b, err := os.ReadFile(from)
	if err == nil {
		err = os.WriteFile(to, b, mode)
	}
	if err != nil {
		t.Fatal(err)
	}
}

func TestAuthoritiesSignTheirRolesOnly(t *testing.T) {
	w := newWorld(t)
	if _, err := w.by[Peer].IssueService("billing", 0); err == nil {
		t.Error("the peer authority signed a service")
	}
	if _, err := w.by[Client].IssueOperator("ann", 0); err == nil {
		t.Error("the client authority signed an operator")
	}
	for _, id := range []string{"", "A", "a/b", "../a", strings.Repeat("a", 65)} {
		if _, err := w.by[Client].IssueService(id, 0); err == nil {
			t.Errorf("a service of the name %q was signed", id)
		}
	}
}

func TestHandshakes(t *testing.T) {
	w := newWorld(t)
	stranger, err := CreateAuthority(Client, testCluster)
	if err != nil {
		t.Fatal(err)
	}
	server := w.credentials("server", must(w.by[Client].IssueNode("n1", []string{"127.0.0.1", "n1.example"}, 0)), Client)
	wantN1 := func(n Name) error {
		if n != (Name{Client, testCluster, Node, "n1"}) {
			return errors.New("not n1")
		}
		return nil
	}
	services := func(n Name) error {
		if n.Role != Service {
			return errors.New("not a service")
		}
		return nil
	}
	tests := []struct {
		name   string
		leaf   Leaf
		trust  Kind
		admit  func(Name) error
		works  bool
		change func(*tls.Config)
	}{
		{"a service", must(w.by[Client].IssueService("billing", 0)), Client, wantN1, true, nil},
		{"another authority of the same name", must(stranger.IssueService("billing", 0)), Client, wantN1, false, nil},
		{"a peer on the client listener", must(w.by[Peer].IssueNode("n2", nil, 0)), Client, wantN1, false, nil},
		{"a node as a client", must(w.by[Client].IssueNode("n2", nil, 0)), Client, wantN1, false, nil},
		{"a server of another name", must(w.by[Client].IssueService("shop", 0)), Client,
			func(n Name) error { return errors.New("not n2") }, false, nil},
		{"a client that trusts another authority", must(w.by[Client].IssueService("till", 0)), Peer, wantN1, false, nil},
		{"TLS 1.2", must(w.by[Client].IssueService("old", 0)), Client, wantN1, false,
			func(c *tls.Config) { c.MinVersion, c.MaxVersion = tls.VersionTLS12, tls.VersionTLS12 }},
		{"no certificate", must(w.by[Client].IssueService("none", 0)), Client, wantN1, false,
			func(c *tls.Config) { c.Certificates = nil }},
		{"another protocol", must(w.by[Client].IssueService("web", 0)), Client, wantN1, false,
			func(c *tls.Config) { c.NextProtos = []string{"h2"} }},
		{"no protocol", must(w.by[Client].IssueService("bare", 0)), Client, wantN1, false,
			func(c *tls.Config) { c.NextProtos = nil }},
	}
	for i, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			config := w.credentials("c"+string(rune('a'+i)), tt.leaf, tt.trust).Client(tt.admit, "sealmq/1")
			if tt.change != nil {
				tt.change(config)
			}
			serverErr, clientErr := w.shake(server.Server(services, "sealmq/1"), config)
			if works := serverErr == nil && clientErr == nil; works != tt.works {
				t.Errorf("server: %v; client: %v", serverErr, clientErr)
			}
		})
	}
}

// A service's certificate is good for dialling only: nobody can pose as a node with it.
func TestServiceCannotServe(t *testing.T) {
	w := newWorld(t)
	server := w.credentials("server", must(w.by[Client].IssueService("billing", 0)), Client)
	client := w.credentials("client", must(w.by[Client].IssueService("shop", 0)), Client)
	if _, err := w.shake(server.Server(anybody), client.Client(anybody)); err == nil {
		t.Error("a client took a service's certificate for a server's")
	}
}

// forge signs a certificate with properties that the authority itself never signs.
func (w *world) forge(kind Kind, change func(*x509.Certificate)) Leaf {
	w.t.Helper()
	a := w.by[kind]
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		w.t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: serial(), URIs: []*url.URL{Name{kind, testCluster, Service, "billing"}.URL()},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), KeyUsage: x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}
	change(template)
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, key.Public(), a.key)
	if err != nil {
		w.t.Fatal(err)
	}
	return must(a.leaf(der, key))
}

func TestOddCertificatesAreRefused(t *testing.T) {
	w := newWorld(t)
	server := w.credentials("server", must(w.by[Client].IssueNode("n1", nil, 0)), Client)
	other := Name{Client, testCluster, Service, "shop"}.URL()
	tests := map[string]func(*x509.Certificate){
		"expired":       func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Minute) },
		"not yet valid": func(c *x509.Certificate) { c.NotBefore = time.Now().Add(time.Minute) },
		"two names":     func(c *x509.Certificate) { c.URIs = append(c.URIs, other) },
		"no name":       func(c *x509.Certificate) { c.URIs = nil; c.DNSNames = []string{"billing"} },
		"server only":   func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth} },
	}
	for name, change := range tests {
		t.Run(name, func(t *testing.T) {
			leaf := w.forge(Client, change)
			// Around LoadCredentials, which refuses some of these already.
			pair, err := tls.X509KeyPair(leaf.CertPEM, leaf.KeyPEM)
			if err != nil {
				t.Fatal(err)
			}
			config := server.Client(anybody)
			config.Certificates = []tls.Certificate{pair}
			if serverErr, _ := w.shake(server.Server(anybody), config); serverErr == nil {
				t.Error("admitted")
			}
		})
	}
	config := server.Client(anybody)
	config.Certificates = []tls.Certificate{mustPair(t, w.forge(Client, func(*x509.Certificate) {}))}
	if serverErr, clientErr := w.shake(server.Server(anybody), config); serverErr != nil || clientErr != nil {
		t.Errorf("the same without anything odd: %v, %v", serverErr, clientErr)
	}
}

func mustPair(t *testing.T, leaf Leaf) tls.Certificate {
	t.Helper()
	pair, err := tls.X509KeyPair(leaf.CertPEM, leaf.KeyPEM)
	if err != nil {
		t.Fatal(err)
	}
	return pair
}

func TestReload(t *testing.T) {
	w := newWorld(t)
	files := w.files("node", must(w.by[Client].IssueNode("n1", nil, time.Hour)), Client)
	c, err := LoadCredentials(files)
	if err != nil {
		t.Fatal(err)
	}
	before := c.NotAfter()
	for name, spoil := range map[string]func() error{
		"a certificate that is none": func() error { return os.WriteFile(files.Cert, []byte("nothing"), 0o644) },
		"a key for another certificate": func() error {
			os.Remove(files.Cert)
			os.Remove(files.Key)
			return Leaf{must(w.by[Client].IssueNode("n1", nil, 0)).CertPEM, must(w.by[Client].IssueNode("n1", nil, 0)).KeyPEM}.
				Save(files.Cert, files.Key)
		},
		"a key that others may read": func() error { return os.Chmod(files.Key, 0o640) },
		"no key":                     func() error { return os.Remove(files.Key) },
	} {
		keep := snapshot(t, files)
		if err := spoil(); err != nil {
			t.Fatal(err)
		}
		if err := c.Reload(); err == nil || !strings.Contains(err.Error(), "node.") {
			t.Errorf("%s: %v, want an error that names the file", name, err)
		}
		if c.NotAfter() != before {
			t.Errorf("%s: the old certificate is gone", name)
		}
		keep()
	}
	renewed := must(w.by[Client].IssueNode("n1", nil, 48*time.Hour))
	os.Remove(files.Cert)
	os.Remove(files.Key)
	if err := renewed.Save(files.Cert, files.Key); err != nil {
		t.Fatal(err)
	}
	server := c.Server(anybody)
	if err := c.Reload(); err != nil {
		t.Fatal(err)
	}
	if !c.NotAfter().After(before) {
		t.Error("the new certificate is not used")
	}
	// A listener that was there before uses it too.
	client := w.credentials("client", must(w.by[Client].IssueService("billing", 0)), Client).Client(anybody)
	verify := client.VerifyConnection
	client.VerifyConnection = func(s tls.ConnectionState) error {
		if !s.PeerCertificates[0].NotAfter.Equal(c.NotAfter()) {
			return errors.New("old certificate")
		}
		return verify(s)
	}
	if serverErr, clientErr := w.shake(server, client); serverErr != nil || clientErr != nil {
		t.Errorf("%v, %v", serverErr, clientErr)
	}
}

// snapshot returns a function that puts the files back as they are now.
func snapshot(t *testing.T, f Files) func() {
	t.Helper()
	cert, err := os.ReadFile(f.Cert)
	if err != nil {
		t.Fatal(err)
	}
	key, err := os.ReadFile(f.Key)
	if err != nil {
		t.Fatal(err)
	}
	return func() {
		os.Remove(f.Key)
		os.Remove(f.Cert)
		if err := (Leaf{cert, key}).Save(f.Cert, f.Key); err != nil {
			t.Fatal(err)
		}
	}
}

func TestRequests(t *testing.T) {
	w := newWorld(t)
	request, key, err := NewRequest("billing")
	if err != nil {
		t.Fatal(err)
	}
	cert, err := w.by[Client].IssueRequest(request, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	c := w.credentials("asked", Leaf{cert, key}, Client)
	if want := (Name{Client, testCluster, Service, "billing"}); c.Name() != want {
		t.Errorf("the certificate names %s, want %s", c.Name(), want)
	}
	block, _ := pem.Decode(request)
	block.Bytes[len(block.Bytes)-1] ^= 1
	if _, err := w.by[Client].IssueRequest(pem.EncodeToMemory(block), 0); err == nil {
		t.Error("a request with a broken signature was signed")
	}
	if _, err := w.by[Client].IssueRequest(append(request, "more"...), 0); err == nil {
		t.Error("a request with something behind it was signed")
	}
	if _, err := w.by[Peer].IssueRequest(request, 0); err == nil {
		t.Error("the peer authority signed a service's request")
	}
	if _, _, err := NewRequest("not a name"); err == nil {
		t.Error("a request for a bad name was made")
	}
}
