// Package pki makes and checks the certificates of a cluster: three authorities with three trust domains, names in
// certificates, and TLS configurations that admit exactly the names they are told to.
//
// It knows X.509 and TLS, and the PEM files they lie in. It must not know rights, protocols or what a name may do.
//
// Laws:
//
//   - TLS 1.3 only, session tickets off, and every decision about a peer in VerifyConnection, which runs on resumed
//     and on full handshakes alike.
//   - A certificate says who its holder is in exactly one URI name; host names and addresses in it mean nothing here.
//   - A name counts only if the authority of its own trust domain signed the certificate, also where several
//     authorities are trusted: a client certificate can never be a peer's or an operator's.
//   - A private key that others may read is refused, and a certificate file that does not load changes nothing.
//
// The name in a certificate:
//
//	spiffe://<peer|client|operator>.<cluster, 32 hex digits>/<node|svc|operator>/<id>
//
// The peer authority signs nodes; the client authority signs services, and nodes as the servers that services dial; the
// operator authority signs operators, and nodes as the servers of the operator listener.
package pki

import (
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"net/url"
	"strings"
)

// Kind names an authority.
type Kind string

// The three authorities of a cluster.
const (
	Peer     Kind = "peer"
	Client   Kind = "client"
	Operator Kind = "operator"
)

// Role is what the holder of a certificate is.
type Role string

// The roles. An authority signs only those that its kind allows.
const (
	Node    Role = "node"
	Service Role = "svc"
	Human   Role = "operator"
)

var roles = map[Kind][]Role{
	Peer:     {Node},
	Client:   {Node, Service},
	Operator: {Node, Human},
}

// ErrName means that a certificate does not carry exactly one well-formed name.
var ErrName = errors.New("certificate does not carry exactly one SealMQ name")

// Name is who a certificate says its holder is.
type Name struct {
	Kind    Kind
	Cluster [16]byte
	Role    Role
	ID      string
}

// CheckID refuses an id that is not 1 to 64 characters of a-z, 0-9, '-', '_' and '.', beginning with a letter or digit.
func CheckID(id string) error {
	if len(id) == 0 || len(id) > 64 {
		return fmt.Errorf("%q must have 1 to 64 characters", id)
	}
	for i, c := range []byte(id) {
		letter := c >= 'a' && c <= 'z' || c >= '0' && c <= '9'
		if !letter && (i == 0 || c != '-' && c != '_' && c != '.') {
			return fmt.Errorf("%q may only have a-z, 0-9, '-', '_' and '.', and begins with a letter or digit", id)
		}
	}
	return nil
}

func (n Name) check() error {
	for _, r := range roles[n.Kind] {
		if r == n.Role {
			return CheckID(n.ID)
		}
	}
	return fmt.Errorf("the %s authority does not sign a %s", n.Kind, n.Role)
}

// URL returns the name as it stands in a certificate.
func (n Name) URL() *url.URL {
	return &url.URL{Scheme: "spiffe", Host: string(n.Kind) + "." + hex.EncodeToString(n.Cluster[:]),
		Path: "/" + string(n.Role) + "/" + n.ID}
}

func (n Name) String() string { return n.URL().String() }

// ParseName reads what [Name.URL] writes, and nothing else.
func ParseName(u *url.URL) (Name, error) {
	kind, cluster, _ := strings.Cut(u.Host, ".")
	role, id, _ := strings.Cut(strings.TrimPrefix(u.Path, "/"), "/")
	n := Name{Kind: Kind(kind), Role: Role(role), ID: id}
	raw, err := hex.DecodeString(cluster)
	if err != nil || len(raw) != len(n.Cluster) {
		return Name{}, ErrName
	}
	copy(n.Cluster[:], raw)
	if n.check() != nil || n.URL().String() != u.String() {
		return Name{}, ErrName
	}
	return n, nil
}

// NameOf returns the name that a certificate carries.
func NameOf(c *x509.Certificate) (Name, error) {
	if len(c.URIs) != 1 {
		return Name{}, ErrName
	}
	return ParseName(c.URIs[0])
}

// authorityOf returns kind and cluster of the authority whose certificate c is: its one URI name is the trust domain.
func authorityOf(c *x509.Certificate) (Name, error) {
	notOne := errors.New("is not the certificate of a SealMQ authority")
	if !c.IsCA || len(c.URIs) != 1 {
		return Name{}, notOne
	}
	// A name in the trust domain must parse; the authority's own is that domain without a path.
	member := *c.URIs[0]
	member.Path = "/" + string(Node) + "/any"
	name, err := ParseName(&member)
	if err != nil || c.URIs[0].String() != domainOf(name.Kind, name.Cluster).String() {
		return Name{}, notOne
	}
	return Name{Kind: name.Kind, Cluster: name.Cluster}, nil
}

// domainOf returns the trust domain of an authority.
func domainOf(kind Kind, cluster [16]byte) *url.URL {
	u := Name{Kind: kind, Cluster: cluster}.URL()
	u.Path = ""
	return u
}
