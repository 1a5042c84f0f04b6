package local

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/sealmq/sealmq/broker"
	"github.com/sealmq/sealmq/internal/atrest"
)

// Options says which cluster Provision makes.
type Options struct {
	Dir         string          // the tree; must not exist, or be an empty directory
	Nodes       int             // how many nodes on this machine, when Members is empty
	Port        int             // client port of n1, with Nodes; 0 picks free ports
	Members     []broker.Member // the nodes of a cluster on several hosts
	Groups      int             // mail groups; 4 unless set
	RaftTimeout time.Duration   // 500 ms with Nodes, 2 s with Members unless set
	Version     string
}

// ErrExists refuses a directory that holds something.
var ErrExists = errors.New("exists already and is not empty")

// OptionError says which option a tree cannot be made with.
type OptionError struct {
	Option string // dir, nodes, port or groups
	Value  any
	Reason string
}

func (e *OptionError) Error() string { return fmt.Sprintf("%s %v: %s", e.Option, e.Value, e.Reason) }

const (
	mostNodes     = 9
	defaultGroups = 4
	// Nodes that share one machine hear of each other's death within milliseconds; real disks stall for longer.
	timeoutHere   = 500 * time.Millisecond
	timeoutAcross = 2 * time.Second
)

// Provision makes a cluster's tree: authorities, configurations, root keys, certificates and formatted data
// directories. It starts nothing.
func Provision(o Options) (c *Cluster, err error) {
	if err := checkEmpty(o.Dir); err != nil {
		return nil, err
	}
	if o.Members == nil {
		if o.Members, err = membersHere(o.Nodes, o.Port); err != nil {
			return nil, err
		}
		o.RaftTimeout = defaultTo(o.RaftTimeout, timeoutHere)
	}
	o.RaftTimeout = defaultTo(o.RaftTimeout, timeoutAcross)
	if o.Groups = defaultTo(o.Groups, defaultGroups); o.Groups < 1 || o.Groups > broker.MaxGroups {
		return nil, &OptionError{"groups", o.Groups, fmt.Sprintf("a cluster has 1 to %d", broker.MaxGroups)}
	}
	parent := filepath.Dir(filepath.Clean(o.Dir))
	if err := os.MkdirAll(parent, 0o777); err != nil {
		return nil, cannotMake(o.Dir, err)
	}
	making, err := os.MkdirTemp(parent, "."+filepath.Base(o.Dir)+".making-*") // mode 0700
	if err != nil {
		return nil, cannotMake(o.Dir, err)
	}
	defer func() {
		if err != nil {
			os.RemoveAll(making)
		}
	}()
	var cluster [16]byte
	rand.Read(cluster[:])
	if err := makeTree(o, making, cluster); err != nil {
		return nil, fmt.Errorf("making %s: %w", o.Dir, err)
	}
	if err := os.Remove(o.Dir); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	if err := os.Rename(making, o.Dir); err != nil {
		return nil, err
	}
	c = &Cluster{Dir: o.Dir}
	for _, m := range o.Members {
		c.Nodes = append(c.Nodes, newNode(o.Dir, nodeOptions(o, o.Dir, m, cluster)))
	}
	return c, nil
}

func defaultTo[T comparable](value, otherwise T) T {
	var zero T
	if value == zero {
		return otherwise
	}
	return value
}

// cannotMake says why there can be no such directory, without the names that are tried on the way.
func cannotMake(dir string, err error) error {
	var system *fs.PathError
	if errors.As(err, &system) {
		err = system.Err
	}
	return &OptionError{"dir", dir, "cannot be made: " + err.Error()}
}

func checkEmpty(dir string) error {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) || err == nil && len(entries) == 0 {
		return nil
	}
	if err != nil {
		return cannotMake(dir, err)
	}
	return fmt.Errorf("%s %w", dir, ErrExists)
}

// membersHere names n nodes of this machine.
func membersHere(n, port int) ([]broker.Member, error) {
	if n < 1 || n > mostNodes {
		return nil, &OptionError{"nodes", n, fmt.Sprintf("a cluster on one machine has 1 to %d", mostNodes)}
	}
	ports, err := choosePorts(port, n)
	if err != nil {
		return nil, err
	}
	members := make([]broker.Member, n)
	for i, p := range ports {
		members[i] = broker.Member{Node: "n" + strconv.Itoa(i+1), Client: loopback(p), Peer: loopback(p + peerOffset)}
	}
	return members, nil
}

// makeTree writes everything below dir.
func makeTree(o Options, dir string, cluster [16]byte) error {
	all, err := newAuthorities(CADir(dir), cluster)
	if err != nil {
		return err
	}
	for _, m := range o.Members {
		n := nodeOptions(o, dir, m, cluster)
		if err := makeNode(n, dir, m, all); err != nil {
			return fmt.Errorf("node %s: %w", m.Node, err)
		}
	}
	return nil
}

func makeNode(o broker.Options, tree string, m broker.Member, a authorities) error {
	dir := NodeDir(tree, m.Node)
	if err := os.MkdirAll(filepath.Join(dir, "tls"), 0o700); err != nil {
		return err
	}
	if err := atrest.NewKeyFile(o.RootKey); err != nil {
		return err
	}
	if err := a.issueNode(CADir(tree), o, m); err != nil {
		return err
	}
	if err := atrest.WriteFile(filepath.Join(dir, "config.toml"), []byte(configText(o, dir))); err != nil {
		return err
	}
	return broker.Format(o)
}

// nodeOptions is what a node of the tree at dir is told; its config.toml says the same.
func nodeOptions(o Options, dir string, m broker.Member, cluster [16]byte) broker.Options {
	dir = NodeDir(dir, m.Node)
	files := func(name string) broker.TLSFiles {
		return broker.TLSFiles{
			Cert: filepath.Join(dir, "tls", name+".crt"), Key: filepath.Join(dir, "tls", name+".key"),
			CA: filepath.Join(dir, "tls", name+"-ca.crt"),
		}
	}
	n := broker.Options{
		Node: m.Node, DataDir: filepath.Join(dir, "data"), RootKey: filepath.Join(dir, "root.key"),
		Cluster: cluster, Members: o.Members, Groups: o.Groups, RaftTimeout: o.RaftTimeout, Version: o.Version,
		Client:   broker.Listen{Address: listenAddress(m.Client), TLS: files("client")},
		Peer:     broker.Listen{Address: listenAddress(m.Peer), TLS: files("peer")},
		Operator: broker.Listen{TLS: files("operator")},
	}
	n.Client.TLS.OperatorCA = n.Operator.TLS.CA
	return n
}

// listenAddress is where a node listens that others dial at address. A host's own name often leads to a loopback
// address on that host, so a node that is dialled by name listens on all of its addresses.
func listenAddress(address string) string {
	host, port, err := net.SplitHostPort(address)
	if err != nil || net.ParseIP(host) != nil || host == "localhost" {
		return address
	}
	return net.JoinHostPort("", port)
}
