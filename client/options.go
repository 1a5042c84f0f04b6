package client

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/sealmq/sealmq/envelope"
)

// Names of the files in an identity's directory.
const (
	identityFile    = "identity.key"
	certificateFile = "client.crt"
	keyFile         = "client.key"
	keyringDir      = "keyring"
	pinsFile        = "pins.toml"
)

// minSessionFor is the shortest life of a session. Ends are stated in minutes and rounded down: less could be nothing.
const minSessionFor = 2 * time.Minute

// Options say which cluster to connect to and as whom. [FromContext] takes them from files.
type Options struct {
	// Nodes are addresses (host:port) by node id. One that answers is enough: it knows the others.
	Nodes map[string]string
	// Cluster is the id of the cluster in 32 hexadecimal digits; empty for whichever answers.
	Cluster string
	// CA holds the authority that signs the nodes' certificates.
	CA *x509.CertPool
	// Certificate is what the client proves to nodes who it is with.
	Certificate *tls.Certificate
	// Identity signs and seals. Without one, nothing can be sent or received.
	Identity *envelope.Identity
	// KeyStore holds the private keys of the mailboxes that are read. Without one, nothing can be received.
	KeyStore *KeyStore
	// Pins hold the identity keys of others by name. Without a file they last as long as the client.
	Pins *Pins

	// SessionFor is how long messages to a mailbox are sealed in one session before the next is opened: 1 h unless set,
	// from 2 min to 24 h. A mailbox takes only so many sessions of a sender at a time, and every process opens its own:
	// a program that is run for a moment, and often, does well with short ones.
	SessionFor time.Duration

	// Logger is told about connections, rotated keys and refused messages; nil for silence. Lines carry no mailbox
	// names, bodies or keys.
	Logger *slog.Logger
	// Name is how the software calls itself to nodes, sealmq-go unless set.
	Name string

	contextPath string
	as          string
	certificate func() (*tls.Certificate, error)
	dial        func(ctx context.Context, address string) (net.Conn, error)
	lookEvery   time.Duration // for signs of life on connections
}

// FromContext takes the options from a context file and the identity's directory that it names. The files are read by
// [Connect]. Fields that are set afterwards win over the files.
func FromContext(path string) Options { return Options{contextPath: path} }

// As picks another identity than the context's: the directory of that name beside it.
func (o Options) As(name string) Options {
	o.as = name
	return o
}

// load fills in what files say.
func (o Options) load() (Options, error) {
	if o.contextPath != "" {
		file, err := LoadContext(o.contextPath)
		if err != nil {
			return o, err
		}
		if o, err = o.merge(file); err != nil {
			return o, err
		}
	}
	if o.certificate == nil && o.Certificate != nil {
		certificate := o.Certificate
		o.certificate = func() (*tls.Certificate, error) { return certificate, nil }
	}
	if o.Pins == nil {
		o.Pins = NewPins()
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.dial == nil {
		o.dial = dialTCP
	}
	if o.Name == "" {
		o.Name = "sealmq-go"
	}
	if o.SessionFor == 0 {
		o.SessionFor = envelope.DefaultSessionLifetime
	}
	if o.lookEvery == 0 {
		o.lookEvery = answerTimeout / 4
	}
	return o, o.check()
}

func (o Options) check() error {
	if err := checkNodes(o.Nodes); err != nil {
		return err
	}
	switch b, err := hex.DecodeString(o.Cluster); {
	case o.CA == nil:
		return fmt.Errorf("the CA is not set")
	case o.certificate == nil:
		return fmt.Errorf("the Certificate is not set")
	case o.Cluster != "" && (err != nil || len(b) != 16):
		return fmt.Errorf("the Cluster must be an id of 32 hexadecimal digits")
	case o.SessionFor < minSessionFor || o.SessionFor > envelope.MaxSessionLifetime:
		return fmt.Errorf("SessionFor must be from %v to %v", minSessionFor, envelope.MaxSessionLifetime)
	}
	return nil
}

// merge takes from the context what is not set yet.
func (o Options) merge(file *Context) (Options, error) {
	if o.as != "" && (o.as != filepath.Base(o.as) || strings.HasPrefix(o.as, ".")) {
		return o, fmt.Errorf("%q is not the name of an identity", o.as)
	}
	if o.Nodes == nil {
		o.Nodes = maps.Clone(file.Nodes)
	}
	if o.Cluster == "" {
		o.Cluster = file.Cluster
	}
	var err error
	if o.CA == nil {
		if o.CA, err = readPool(file.CAFile()); err != nil {
			return o, fmt.Errorf("client authority: %w", err)
		}
	}
	dir := file.IdentityDir(o.as)
	if o.Certificate == nil {
		o.certificate, err = certificateFiles(filepath.Join(dir, certificateFile), filepath.Join(dir, keyFile))
		if err != nil {
			return o, err
		}
	}
	if o.Identity == nil {
		if o.Identity, err = ReadIdentity(filepath.Join(dir, identityFile)); err != nil {
			return o, err
		}
	}
	if o.KeyStore == nil {
		if o.KeyStore, err = OpenKeyStore(filepath.Join(dir, keyringDir)); err != nil {
			return o, err
		}
	}
	if o.Pins == nil {
		if o.Pins, err = OpenPins(filepath.Join(dir, pinsFile)); err != nil {
			return o, err
		}
	}
	return o, nil
}

// ReadIdentity reads a private identity file. It refuses one that others may read.
func ReadIdentity(path string) (*envelope.Identity, error) {
	const maxBytes = 64 << 10
	b, _, err := readSecret(path, maxBytes)
	if err != nil {
		return nil, fmt.Errorf("identity: %w", err)
	}
	id, err := envelope.ParseIdentity(b)
	if err != nil {
		return nil, fmt.Errorf("identity: %s: %w", path, err)
	}
	return id, nil
}

// WriteIdentity writes a private identity file that must not be there yet.
func WriteIdentity(path string, id *envelope.Identity) error {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("identity: %w", err)
	}
	if _, err = f.Write(id.Marshal()); err == nil {
		err = f.Sync()
	}
	if closed := f.Close(); err == nil {
		err = closed
	}
	if err != nil {
		os.Remove(path)
		return fmt.Errorf("identity: %w", err)
	}
	return nil
}
