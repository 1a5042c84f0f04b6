package local

import (
	"net"
	"os"
	"path/filepath"

	"github.com/sealmq/sealmq/broker"
	"github.com/sealmq/sealmq/internal/atrest"
	"github.com/sealmq/sealmq/internal/pki"
)

// CADir is where a tree's authorities are.
func CADir(dir string) string { return filepath.Join(dir, "ca") }

// ContextFile is a tree's context.
func ContextFile(dir string) string { return filepath.Join(dir, "context.toml") }

// IdentityDir is where a tree keeps an identity.
func IdentityDir(dir, name string) string { return filepath.Join(dir, "id", name) }

var authorityKinds = []pki.Kind{pki.Client, pki.Peer, pki.Operator}

type authorities map[pki.Kind]*pki.Authority

// newAuthorities makes the three authorities and saves them in dir.
func newAuthorities(dir string, cluster [16]byte) (authorities, error) {
	all := authorities{}
	for _, kind := range authorityKinds {
		a, err := pki.CreateAuthority(kind, cluster)
		if err != nil {
			return nil, err
		}
		if err := a.Save(dir); err != nil {
			return nil, err
		}
		all[kind] = a
	}
	return all, nil
}

// issueNode gives a node a certificate from each authority, and the authorities' own to check others with.
func (a authorities) issueNode(ca string, o broker.Options, m broker.Member) error {
	for kind, l := range map[pki.Kind]broker.Listen{pki.Client: o.Client, pki.Peer: o.Peer, pki.Operator: o.Operator} {
		leaf, err := a[kind].IssueNode(o.Node, hosts(m.Client, m.Peer), 0)
		if err != nil {
			return err
		}
		if err := leaf.Save(l.TLS.Cert, l.TLS.Key); err != nil {
			return err
		}
		authority, err := os.ReadFile(pki.CertFile(ca, kind))
		if err != nil {
			return err
		}
		if err := atrest.WriteFile(l.TLS.CA, authority); err != nil {
			return err
		}
	}
	return nil
}

// hosts are the different hosts of addresses.
func hosts(addresses ...string) []string {
	var all []string
	seen := map[string]bool{}
	for _, a := range addresses {
		if host, _, err := net.SplitHostPort(a); err == nil && host != "" && !seen[host] {
			seen[host] = true
			all = append(all, host)
		}
	}
	return all
}

// Role is what an identity may be to the cluster.
type Role = pki.Role

// The roles that Issue knows.
const (
	Service  = pki.Service
	Operator = pki.Human
)

// Issue writes the certificate and key by which the identity in dir proves itself to nodes: client.crt and client.key.
// ca is the directory of the authorities.
func Issue(ca, dir, name string, role Role) error {
	kind := pki.Client
	if role == Operator {
		kind = pki.Operator
	}
	a, err := pki.LoadAuthority(ca, kind)
	if err != nil {
		return err
	}
	issue := a.IssueService
	if role == Operator {
		issue = a.IssueOperator
	}
	leaf, err := issue(name, 0)
	if err != nil {
		return err
	}
	certificate := filepath.Join(dir, "client.crt")
	if err := leaf.Save(certificate, filepath.Join(dir, "client.key")); err != nil {
		return err
	}
	// All files of an identity are its owner's only: whom it may speak as is nobody else's business.
	return os.Chmod(certificate, 0o600)
}
