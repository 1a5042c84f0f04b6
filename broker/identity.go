package broker

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io/fs"
	"slices"

	"github.com/sealmq/sealmq/internal/pki"
)

// operatorPrefix begins the principal of everybody with an operator certificate. A service cannot have such a
// principal: '/' is not allowed in its name.
const operatorPrefix = "operator/"

// principalOf returns who the client listener takes a connection for.
func principalOf(s tls.ConnectionState) (string, error) {
	name, err := pki.PeerName(s)
	if err != nil {
		return "", err
	}
	if name.Role == pki.Human {
		return operatorPrefix + name.ID, nil
	}
	return name.ID, nil
}

// identities are the certificates that a node shows on its listeners, and the rules by which it admits others.
type identities struct {
	client, peer, operator *identity // operator is nil if its listener is off
}

// identity is the certificate of one listener.
type identity struct {
	*pki.Credentials
	section string // of the configuration
	files   pki.Files
	trusts  []pki.Kind // which authority each of files.CAs is
	want    pki.Name
}

func loadIdentities(o *Options) (*identities, error) {
	load := func(section string, t TLSFiles, kind pki.Kind) (*identity, error) {
		id := &identity{
			section: section, files: pki.Files{Cert: t.Cert, Key: t.Key, CAs: []string{t.CA}}, trusts: []pki.Kind{kind},
			want: pki.Name{Kind: kind, Cluster: o.Cluster, Role: pki.Node, ID: o.Node},
		}
		if t.OperatorCA != "" {
			id.files.CAs, id.trusts = append(id.files.CAs, t.OperatorCA), append(id.trusts, pki.Operator)
		}
		var err error
		id.Credentials, err = id.load()
		return id, err
	}
	// Whoever mends one certificate wants to know of the others, too.
	var ids identities
	var errs [3]error
	ids.client, errs[0] = load("client", o.Client.TLS, pki.Client)
	ids.peer, errs[1] = load("peer", o.Peer.TLS, pki.Peer)
	if o.Operator.Address != "" || o.OperatorListener != nil {
		ids.operator, errs[2] = load("operator", o.Operator.TLS, pki.Operator)
	}
	if err := errors.Join(errs[:]...); err != nil {
		return nil, err
	}
	return &ids, nil
}

// load reads the files and checks that they are this node's.
func (id *identity) load() (*pki.Credentials, error) {
	c, err := pki.LoadCredentials(id.files)
	if err != nil {
		return nil, &ConfigError{Option: id.option(err), Reason: err.Error()}
	}
	if c.Name() != id.want {
		return nil, &ConfigError{id.section + ".cert", fmt.Sprintf("names %s, this node is %s", c.Name(), id.want)}
	}
	return c, id.checkAuthorities()
}

// checkAuthorities refuses an authority that cannot vouch for anybody here: with it a listener would run that turns
// everybody away.
func (id *identity) checkAuthorities() error {
	for i, path := range id.files.CAs {
		all, err := pki.Authorities(path)
		for _, a := range all {
			if a.Kind != id.trusts[i] || a.Cluster != id.want.Cluster {
				err = fmt.Errorf("%s: is the %s authority of cluster %x, not the %s one of %x", path, a.Kind, a.Cluster,
					id.trusts[i], id.want.Cluster)
			}
		}
		if err != nil {
			return &ConfigError{id.authorityOption(i), err.Error()}
		}
	}
	return nil
}

// option is the setting that names the file which an error is about.
func (id *identity) option(err error) string {
	var file *pki.FileError
	var system *fs.PathError
	path := ""
	if errors.As(err, &file) {
		path = file.Path
	} else if errors.As(err, &system) {
		path = system.Path
	}
	if path == id.files.Key {
		return id.section + ".key"
	}
	if i := slices.Index(id.files.CAs, path); i >= 0 {
		return id.authorityOption(i)
	}
	return id.section + ".cert"
}

func (id *identity) authorityOption(i int) string { return string(id.trusts[i]) + ".ca" }

// reload reads all certificates again. One that does not load, or is another node's, changes nothing and is named in
// the error.
func (ids *identities) reload() error {
	var errs []error
	for _, id := range []*identity{ids.client, ids.peer, ids.operator} {
		if id == nil {
			continue
		}
		_, err := id.load()
		if err == nil {
			err = id.Reload()
		}
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// strangerError refuses whoever shows a certificate that is not for this listener.
type strangerError struct {
	name     pki.Name
	listener string
	withName bool // whether the text may say who it was
}

func (e *strangerError) Error() string {
	who := fmt.Sprintf("a %s certificate for the role %s", e.name.Kind, e.name.Role)
	if e.withName {
		who = e.name.String()
	}
	return fmt.Sprintf("%s may not use the %s listener of this cluster", who, e.listener)
}

// admitClient lets services and operators of this cluster in.
func admitClient(o *Options) func(pki.Name) error {
	return func(n pki.Name) error {
		service := n.Kind == pki.Client && n.Role == pki.Service
		operator := n.Kind == pki.Operator && n.Role == pki.Human
		if n.Cluster != o.Cluster || !service && !operator {
			return &strangerError{n, "client", o.LogNames}
		}
		return nil
	}
}

// admitOperator lets operators of this cluster in.
func admitOperator(o *Options) func(pki.Name) error {
	return func(n pki.Name) error {
		if n.Cluster != o.Cluster || n.Kind != pki.Operator || n.Role != pki.Human {
			return &strangerError{n, "operator", o.LogNames}
		}
		return nil
	}
}

// admitPeer lets the named node of this cluster in, or any if node is empty.
func admitPeer(o *Options, node string) func(pki.Name) error {
	return func(n pki.Name) error {
		if n.Cluster != o.Cluster || n.Kind != pki.Peer || n.Role != pki.Node || node != "" && n.ID != node {
			return &strangerError{n, "peer", o.LogNames}
		}
		return nil
	}
}
