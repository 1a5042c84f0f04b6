package pki

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"time"
)

const (
	authorityLifetime = 10 * 365 * 24 * time.Hour
	// LeafLifetime is how long a certificate is good for unless its issuer says otherwise.
	LeafLifetime = 365 * 24 * time.Hour
	// backdate allows for clocks that are a little behind the issuer's.
	backdate = 5 * time.Minute
)

// Authority signs certificates of one kind for one cluster.
type Authority struct {
	kind    Kind
	cluster [16]byte
	cert    *x509.Certificate
	key     *ecdsa.PrivateKey
}

// CreateAuthority makes a new authority with a key of its own.
func CreateAuthority(kind Kind, cluster [16]byte) (*Authority, error) {
	if _, known := roles[kind]; !known {
		return nil, fmt.Errorf("there is no %q authority", kind)
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	now := time.Now()
	domain := domainOf(kind, cluster)
	template := &x509.Certificate{
		SerialNumber: serial(), Subject: pkix.Name{CommonName: "SealMQ " + string(kind) + " authority"},
		URIs:      []*url.URL{domain},
		NotBefore: now.Add(-backdate), NotAfter: now.Add(authorityLifetime),
		KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign, IsCA: true, BasicConstraintsValid: true, MaxPathLenZero: true,
		// Other software that trusts this authority should take no name of another trust domain from it either.
		PermittedURIDomains: []string{domain.Host}, PermittedDNSDomainsCritical: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, fmt.Errorf("signing the %s authority: %w", kind, err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, err
	}
	return &Authority{kind: kind, cluster: cluster, cert: cert, key: key}, nil
}

func serial() *big.Int {
	n, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		panic(err) // crypto/rand does not fail
	}
	return n.Add(n, big.NewInt(1))
}

// CertFile and KeyFile are where an authority of this kind lies in a directory.
func CertFile(dir string, kind Kind) string { return filepath.Join(dir, string(kind)+".crt") }

// KeyFile is the authority's private key: whoever has it can be anybody.
func KeyFile(dir string, kind Kind) string { return filepath.Join(dir, string(kind)+".key") }

// Save writes the authority to dir, which it makes if need be, and refuses to replace one.
func (a *Authority) Save(dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	leaf, err := a.leaf(a.cert.Raw, a.key)
	if err != nil {
		return err
	}
	return leaf.Save(CertFile(dir, a.kind), KeyFile(dir, a.kind))
}

// LoadAuthority reads what Save wrote.
func LoadAuthority(dir string, kind Kind) (*Authority, error) {
	key, err := readKey(KeyFile(dir, kind))
	if err != nil {
		return nil, err
	}
	certs, err := readCerts(CertFile(dir, kind))
	if err != nil {
		return nil, err
	}
	cert := certs[0]
	domain, err := authorityOf(cert)
	if err != nil {
		return nil, &FileError{CertFile(dir, kind), err.Error()}
	}
	if domain.Kind != kind {
		return nil, &FileError{CertFile(dir, kind), fmt.Sprintf("is the %s authority, not the %s one", domain.Kind, kind)}
	}
	if !key.PublicKey.Equal(cert.PublicKey) {
		return nil, &FileError{CertFile(dir, kind), "does not belong to the key in " + KeyFile(dir, kind)}
	}
	if time.Now().After(cert.NotAfter) {
		return nil, &FileError{CertFile(dir, kind), "expired on " + cert.NotAfter.UTC().Format(time.RFC3339)}
	}
	return &Authority{kind: kind, cluster: domain.Cluster, cert: cert, key: key}, nil
}

// Kind returns which authority it is, Cluster of which cluster.
func (a *Authority) Kind() Kind { return a.kind }

// Cluster returns the id of the cluster that the authority signs for.
func (a *Authority) Cluster() [16]byte { return a.cluster }

// Leaf is a certificate and its private key.
type Leaf struct {
	CertPEM, KeyPEM []byte
}

// Save writes both files; the key is readable by its owner only. It does not replace files.
func (l Leaf) Save(certPath, keyPath string) error {
	for _, f := range []struct {
		path string
		data []byte
		mode fs.FileMode
	}{{keyPath, l.KeyPEM, 0o600}, {certPath, l.CertPEM, 0o644}} {
		if len(f.data) == 0 {
			continue
		}
		if err := os.MkdirAll(filepath.Dir(f.path), 0o700); err != nil {
			return err
		}
		out, err := os.OpenFile(f.path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, f.mode)
		if err != nil {
			return err
		}
		_, err = out.Write(f.data)
		if err = errors.Join(err, out.Sync(), out.Close()); err != nil {
			return err
		}
	}
	return nil
}

// IssueNode signs a node's certificate with a new key, good as a server and as a client.
func (a *Authority) IssueNode(node string, hosts []string, lifetime time.Duration) (Leaf, error) {
	return a.issue(Node, node, hosts, lifetime)
}

// IssueService signs the certificate of a client, with a new key.
func (a *Authority) IssueService(name string, lifetime time.Duration) (Leaf, error) {
	return a.issue(Service, name, nil, lifetime)
}

// IssueOperator signs an operator's certificate, with a new key.
func (a *Authority) IssueOperator(name string, lifetime time.Duration) (Leaf, error) {
	return a.issue(Human, name, nil, lifetime)
}

func (a *Authority) issue(role Role, id string, hosts []string, lifetime time.Duration) (Leaf, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return Leaf{}, err
	}
	der, err := a.sign(role, id, hosts, lifetime, key.Public().(*ecdsa.PublicKey))
	if err != nil {
		return Leaf{}, err
	}
	return a.leaf(der, key)
}

func (a *Authority) sign(
	role Role, id string, hosts []string, lifetime time.Duration, key *ecdsa.PublicKey,
) ([]byte, error) {
	name := Name{Kind: a.kind, Cluster: a.cluster, Role: role, ID: id}
	if err := name.check(); err != nil {
		return nil, err
	}
	if lifetime <= 0 {
		lifetime = LeafLifetime
	}
	now := time.Now()
	notAfter := now.Add(lifetime)
	if notAfter.After(a.cert.NotAfter) {
		notAfter = a.cert.NotAfter // nobody accepts it longer, so it must not say so
	}
	template := &x509.Certificate{
		SerialNumber: serial(), Subject: pkix.Name{CommonName: id}, URIs: []*url.URL{name.URL()},
		NotBefore: now.Add(-backdate), NotAfter: notAfter,
		KeyUsage: x509.KeyUsageDigitalSignature, BasicConstraintsValid: true,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}
	if role == Node {
		template.ExtKeyUsage = append(template.ExtKeyUsage, x509.ExtKeyUsageServerAuth)
	}
	for _, h := range hosts {
		if ip := net.ParseIP(h); ip != nil {
			template.IPAddresses = append(template.IPAddresses, ip)
		} else {
			template.DNSNames = append(template.DNSNames, h)
		}
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, key, a.key)
	if err != nil {
		return nil, fmt.Errorf("signing %s: %w", name, err)
	}
	return der, nil
}

func (a *Authority) leaf(der []byte, key *ecdsa.PrivateKey) (Leaf, error) {
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return Leaf{}, err
	}
	return Leaf{
		CertPEM: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}),
		KeyPEM:  pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private}),
	}, nil
}

// NewRequest makes a key and a signing request for a service of that name, for when the authority is elsewhere.
func NewRequest(name string) (requestPEM, keyPEM []byte, err error) {
	if err := CheckID(name); err != nil {
		return nil, nil, err
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, err
	}
	der, err := x509.CreateCertificateRequest(rand.Reader,
		&x509.CertificateRequest{Subject: pkix.Name{CommonName: name}}, key)
	if err != nil {
		return nil, nil, err
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, nil, err
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der}),
		pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private}), nil
}

// IssueRequest signs a request for a service. The name is the request's; nothing else in it is taken over.
func (a *Authority) IssueRequest(requestPEM []byte, lifetime time.Duration) (certPEM []byte, err error) {
	block, rest := pem.Decode(requestPEM)
	if block == nil || block.Type != "CERTIFICATE REQUEST" || len(rest) != 0 {
		return nil, errors.New("not one certificate request in PEM")
	}
	request, err := x509.ParseCertificateRequest(block.Bytes)
	if err != nil {
		return nil, err
	}
	if err := request.CheckSignature(); err != nil {
		return nil, fmt.Errorf("checking the request: %w", err)
	}
	key, ok := request.PublicKey.(*ecdsa.PublicKey)
	if !ok || key.Curve != elliptic.P256() {
		return nil, errors.New("the request's key is not on the curve P-256")
	}
	der, err := a.sign(Service, request.Subject.CommonName, nil, lifetime, key)
	if err != nil {
		return nil, err
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), nil
}
