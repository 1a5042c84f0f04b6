// Package local is a whole cluster on this machine: it makes the tree of files, chooses ports, starts the nodes inside
// this process or as processes of their own, kills and restarts them, and leaves neither a process nor a file behind.
//
// It knows the tree, what a node's configuration says, and how a node is started and ended. It must not know clients,
// end-to-end keys or messages: whoever makes identities puts them beside what this package made.
//
// Laws:
//
//   - A directory holds a whole tree or nothing: it is made under another name and renamed.
//   - Nothing secret lies under data/, and nothing of the clients'.
//   - Nodes that this package starts listen on loopback addresses only.
//   - A node never outlives its Cluster; on systems that allow it, neither does one outlive this process.
//
// The tree (what is marked * is made by others):
//
//	DIR/context.toml *               names the nodes, the authority and an identity; written last
//	DIR/ca/                          authorities: client, peer, operator, each .crt and .key
//	DIR/id/NAME/ *                   one identity
//	DIR/nodes/n1/config.toml         what `sealmq server` reads
//	DIR/nodes/n1/root.key            opens data/
//	DIR/nodes/n1/tls/                certificates of its three listeners
//	DIR/nodes/n1/log                 what the node says
//	DIR/nodes/n1/data/               everything the node keeps, sealed
package local

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"sync"

	"github.com/sealmq/sealmq/broker"
)

// Cluster is a tree and the nodes that run from it. Its methods may be called from several goroutines.
type Cluster struct {
	Dir   string
	Nodes []*Node

	// Binary starts nodes as processes of this program; empty starts them inside this process.
	Binary string
	// Logger gives a node inside this process its log; a process writes its own to nodes/NAME/log.
	Logger func(node string) *slog.Logger
	// Fatal is told when the disk of a node inside this process fails.
	Fatal func(node string, err error)
}

// Node is one node of a Cluster.
type Node struct {
	Name    string
	Dir     string // DIR/nodes/NAME
	Options broker.Options

	mu      sync.Mutex
	running instance
}

// An instance is a node that was started.
type instance interface {
	ready(ctx context.Context) error // returns when the node takes requests, or says why it never will
	stop(ctx context.Context) error  // lets it finish what it has begun
	kill()                           // ends it as a power cut of this one program would; returns when it is gone
	ended() <-chan struct{}
	pid() int // 0 inside this process
}

// ErrNotRunning is the answer to stopping or killing a node that is not started.
var ErrNotRunning = errors.New("node is not running")

// Open is a cluster whose tree stands already. Each node's options come from its configuration file.
func Open(dir string, nodes []broker.Options) *Cluster {
	c := &Cluster{Dir: dir}
	for _, o := range nodes {
		c.Nodes = append(c.Nodes, newNode(dir, o))
	}
	return c
}

func newNode(dir string, o broker.Options) *Node {
	return &Node{Name: o.Node, Dir: NodeDir(dir, o.Node), Options: o}
}

// NodeDir is where a node's files are.
func NodeDir(dir, node string) string { return filepath.Join(dir, "nodes", node) }

// ConfigFile is a node's configuration.
func (n *Node) ConfigFile() string { return filepath.Join(n.Dir, "config.toml") }

// LogFile is where the node's log goes.
func (n *Node) LogFile() string { return filepath.Join(n.Dir, "log") }

// Node returns the node of that name.
func (c *Cluster) Node(name string) (*Node, error) {
	for _, n := range c.Nodes {
		if n.Name == name {
			return n, nil
		}
	}
	return nil, fmt.Errorf("no node %q in this cluster", name)
}

// Start starts every node that is not running and returns when all are ready. If one fails, all are ended again.
func (c *Cluster) Start(ctx context.Context) error {
	for _, n := range c.Nodes {
		if err := c.launch(n); err != nil {
			c.Close()
			return err
		}
	}
	for _, n := range c.Nodes {
		if err := n.waitReady(ctx); err != nil {
			c.Close()
			return err
		}
	}
	return nil
}

// StartNode starts one node and returns when it is ready.
func (c *Cluster) StartNode(ctx context.Context, name string) error {
	n, err := c.Node(name)
	if err != nil {
		return err
	}
	if err := c.launch(n); err != nil {
		return err
	}
	return n.waitReady(ctx)
}

// Kill ends one node at once, without letting it finish anything.
func (c *Cluster) Kill(name string) error {
	n, err := c.Node(name)
	if err != nil {
		return err
	}
	running := n.take()
	if running == nil {
		return fmt.Errorf("killing %s: %w", name, ErrNotRunning)
	}
	running.kill()
	return nil
}

// Stop lets every node finish what it has begun and ends it. Nodes that have not ended when ctx has are killed.
func (c *Cluster) Stop(ctx context.Context) error {
	errs := make([]error, len(c.Nodes))
	var wait sync.WaitGroup
	for i, n := range c.Nodes {
		running := n.take()
		if running == nil {
			continue
		}
		wait.Go(func() {
			if err := running.stop(ctx); err != nil {
				running.kill()
				errs[i] = fmt.Errorf("stopping %s: %w", n.Name, err)
			}
		})
	}
	wait.Wait()
	return errors.Join(errs...)
}

// Close ends every node at once.
func (c *Cluster) Close() {
	var wait sync.WaitGroup
	for _, n := range c.Nodes {
		if running := n.take(); running != nil {
			wait.Go(running.kill)
		}
	}
	wait.Wait()
}

// Remove ends every node and deletes the tree.
func (c *Cluster) Remove() error {
	c.Close()
	return os.RemoveAll(c.Dir)
}

// PIDs are the processes of the running nodes; empty when they run inside this one.
func (c *Cluster) PIDs() map[string]int {
	pids := map[string]int{}
	for _, n := range c.Nodes {
		n.mu.Lock()
		if n.running != nil && n.running.pid() != 0 {
			pids[n.Name] = n.running.pid()
		}
		n.mu.Unlock()
	}
	return pids
}

func (c *Cluster) launch(n *Node) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.running != nil {
		select {
		case <-n.running.ended(): // it ended by itself
		default:
			return nil
		}
	}
	if err := checkListeners(n.Options); err != nil {
		return err
	}
	var err error
	if c.Binary == "" {
		n.running, err = c.startInside(n)
	} else {
		n.running, err = startProcess(c.Binary, n)
	}
	if err != nil {
		n.running = nil
		return fmt.Errorf("starting %s: %w", n.Name, err)
	}
	return nil
}

func (n *Node) waitReady(ctx context.Context) error {
	n.mu.Lock()
	running := n.running
	n.mu.Unlock()
	if running == nil {
		return fmt.Errorf("waiting for %s: %w", n.Name, ErrNotRunning)
	}
	if err := running.ready(ctx); err != nil {
		return fmt.Errorf("waiting for %s: %w", n.Name, err)
	}
	return nil
}

// take makes the caller the one who ends the running instance.
func (n *Node) take() instance {
	n.mu.Lock()
	defer n.mu.Unlock()
	running := n.running
	n.running = nil
	return running
}

// CheckIdle says whether the nodes could be started: broker.ErrInUse if one runs already, a PortError or
// ErrNotLoopback if one could not listen. It changes nothing.
func (c *Cluster) CheckIdle() error {
	// Whoever starts a cluster twice is told so, not that its ports are taken.
	for _, n := range c.Nodes {
		if broker.InUse(n.Options.DataDir) {
			return fmt.Errorf("%s is running: %w", n.Name, broker.ErrInUse)
		}
	}
	for _, n := range c.Nodes {
		if err := checkListeners(n.Options); err != nil {
			return err
		}
	}
	return nil
}

// checkListeners refuses addresses that other machines could reach, and ports that are taken.
func checkListeners(o broker.Options) error {
	for _, l := range []struct{ what, address string }{
		{"client", o.Client.Address}, {"peer", o.Peer.Address}, {"operator", o.Operator.Address},
	} {
		if l.address == "" {
			continue
		}
		if err := checkLoopback(l.address); err != nil {
			return fmt.Errorf("%s listener of %s: %w", l.what, o.Node, err)
		}
		if err := checkFree(l.address, l.what, o.Node); err != nil {
			return err
		}
	}
	return nil
}

// ErrNotLoopback refuses an address that other machines could reach.
var ErrNotLoopback = errors.New("not a loopback address")

func checkLoopback(address string) error {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return fmt.Errorf("%s: %w", address, err)
	}
	if ip := net.ParseIP(host); host != "localhost" && (ip == nil || !ip.IsLoopback()) {
		return fmt.Errorf("%s: %w", address, ErrNotLoopback)
	}
	return nil
}
