package raftlog

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

const (
	defaultTimeout       = 2 * time.Second
	defaultCacheBytes    = 64 << 20
	defaultInFlightBytes = 64 << 20
	// defaultUnappliedBytes bounds what a follower takes in while its machine is behind: Raft's own queue of committed
	// entries has no bound in bytes.
	defaultUnappliedBytes = 64 << 20
)

// Member is a node of the cluster as it is at its first start.
type Member struct {
	Node, Address string
	Voter         bool
}

// Options are what a [Host] needs. Fields without a default must be set.
type Options struct {
	Cluster [16]byte
	Node    string
	// Members are the first configuration of every group, and the addresses that are dialled.
	Members []Member
	// Preferred names, group by group, who should lead first in a new cluster. A group may be absent.
	Preferred map[uint16]string
	// Log returns a group's log.
	Log func(group uint16) Log
	// Listener gives connections from other nodes, authenticated or able to authenticate in PeerName.
	Listener net.Listener
	// PeerName says which node is at the other end of an accepted connection; it may do the handshake. If it is nil the
	// connection itself must have a method PeerNode() (string, error).
	PeerName func(net.Conn) (string, error)
	// Dial connects to a node, authenticated as that node. ctx bounds the dialling only.
	Dial func(ctx context.Context, node, address string) (net.Conn, error)
	// CacheBytes bounds the entry cache of all groups. 64 MiB if 0.
	CacheBytes int64
	// InFlightBytes bounds the proposals of each group that are not answered yet. 64 MiB if 0.
	InFlightBytes int64
	// Timeout is Raft's heartbeat, election and lease timeout. 2 s if 0.
	Timeout time.Duration
	// Logger takes what there is to say; nothing is said if it is nil.
	Logger *slog.Logger
	// Fatal is called once, with the first error of a log, perhaps by the goroutine that writes the log. It must not block
	// and should end the process. It panics if nil.
	Fatal func(error)
}

// Host is what all groups of a node share: connections to the other nodes and the entry cache.
type Host struct {
	o       Options
	process [16]byte
	log     *logs
	cache   *cache

	entriesPerAppend int
	unappliedBytes   int64

	ctx    context.Context // ends when the host closes
	cancel context.CancelFunc
	work   sync.WaitGroup

	mu     sync.Mutex
	closed bool
	peers  map[string]*peer
	groups map[uint16]*Group
	// running is groups as a list that is replaced whole, for readers that must not wait.
	running atomic.Pointer[[]*Group]

	failed sync.Once
}

// NewHost connects to the other members and starts to answer them. Groups are started one by one.
func NewHost(o Options) (*Host, error) {
	if err := o.check(); err != nil {
		return nil, fmt.Errorf("raftlog options: %w", err)
	}
	h := &Host{
		o: o, log: newLogs(o.Logger), cache: newCache(o.CacheBytes),
		entriesPerAppend: maxEntriesPerAppend, unappliedBytes: defaultUnappliedBytes,
		peers: make(map[string]*peer), groups: make(map[uint16]*Group),
	}
	rand.Read(h.process[:])
	h.running.Store(new([]*Group))
	h.ctx, h.cancel = context.WithCancel(context.Background())
	for _, m := range o.Members {
		if m.Node != o.Node {
			h.peerAt(m.Node, m.Address)
		}
	}
	h.work.Go(h.accept)
	return h, nil
}

// check refuses options that cannot work and fills in defaults.
func (o *Options) check() error {
	if o.Cluster == [16]byte{} || o.Log == nil || o.Listener == nil || o.Dial == nil {
		return errors.New("one of Cluster, Log, Listener and Dial is missing")
	}
	if err := o.checkMembers(); err != nil {
		return err
	}
	if o.PeerName == nil {
		o.PeerName = peerNode
	}
	if o.CacheBytes == 0 {
		o.CacheBytes = defaultCacheBytes
	}
	if o.InFlightBytes == 0 {
		o.InFlightBytes = defaultInFlightBytes
	}
	if o.Timeout == 0 {
		o.Timeout = defaultTimeout
	}
	if o.Timeout < 20*time.Millisecond || o.CacheBytes < 0 || o.InFlightBytes < 0 {
		return errors.New("one of Timeout, CacheBytes and InFlightBytes is too small")
	}
	if o.Fatal == nil {
		o.Fatal = func(err error) { panic(err) }
	}
	return nil
}

func (o *Options) checkMembers() error {
	if err := checkConfiguration(configurationOf(o.Members)); err != nil {
		return err
	}
	voters, self := make(map[string]bool), false
	for _, m := range o.Members {
		voters[m.Node] = m.Voter
		self = self || m.Node == o.Node
	}
	if !self {
		return fmt.Errorf("node %q is not among the members", o.Node)
	}
	for g, node := range o.Preferred {
		if !voters[node] {
			return fmt.Errorf("preferred leader %q of group %d is no voter", node, g)
		}
	}
	return nil
}

// peerNode asks the connection itself.
func peerNode(c net.Conn) (string, error) {
	if p, ok := c.(interface{ PeerNode() (string, error) }); ok {
		return p.PeerNode()
	}
	return "", errors.New("connection does not say who is at its other end")
}

// Start starts a group. In a new cluster, where neither its log nor its machine has ever been used, it first writes
// the configuration. events, which may be nil, is called for every change of leadership, one call at a time, never
// under a lock, the first time perhaps before Start returns; it may propose, but must not close the host.
func (h *Host) Start(group uint16, m Machine, events func(LeaderState)) (*Group, error) {
	h.mu.Lock()
	_, exists := h.groups[group]
	refused := h.closed || exists
	if !refused {
		h.groups[group] = nil // reserved
	}
	h.mu.Unlock()
	if refused {
		return nil, fmt.Errorf("start group %d: it runs already, or the host is closed", group)
	}
	g, err := newGroup(h, group, m, events)
	h.mu.Lock()
	if err != nil {
		delete(h.groups, group)
		h.mu.Unlock()
		return nil, fmt.Errorf("start group %d: %w", group, err)
	}
	h.groups[group] = g
	running := append([]*Group{g}, *h.running.Load()...)
	h.running.Store(&running)
	closed := h.closed
	h.mu.Unlock()
	if closed { // while it was starting
		g.close()
	}
	return g, nil
}

// Close gives leaderships away, stops all groups, and closes all connections and the listener.
func (h *Host) Close() error {
	h.mu.Lock()
	closed := h.closed
	h.closed = true
	h.mu.Unlock()
	var stopping sync.WaitGroup
	for _, g := range *h.running.Load() {
		stopping.Go(g.close)
	}
	stopping.Wait()
	h.cancel()
	err := h.o.Listener.Close()
	h.work.Wait()
	if closed {
		return nil
	}
	return err
}

// Reachable reports whether votes and heartbeats can reach a node now.
func (h *Host) Reachable(node string) bool {
	if node == h.o.Node {
		return true
	}
	h.mu.Lock()
	p := h.peers[node]
	h.mu.Unlock()
	return p != nil && p.control.connected()
}

// CachedBytes returns what the entry cache holds.
func (h *Host) CachedBytes() int64 { return h.cache.usedBytes() }

func (h *Host) group(id uint16) *Group {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.groups[id]
}

// memberPeer returns the peer of a node that may connect: a member by Options, or by some group's configuration. It
// returns nil for any other.
func (h *Host) memberPeer(node string) *peer {
	h.mu.Lock()
	p := h.peers[node]
	h.mu.Unlock()
	if p != nil {
		return p
	}
	for _, g := range *h.running.Load() {
		for _, s := range g.raft.GetConfiguration().Configuration().Servers {
			if string(s.ID) == node {
				return h.peerAt(node, string(s.Address))
			}
		}
	}
	return nil
}

// peerAt returns the peer of a node, and starts to connect to it if it is new. What Options say of a member's address
// goes before what a group's configuration says: a node may have moved.
func (h *Host) peerAt(node, address string) *peer {
	for _, m := range h.o.Members {
		if m.Node == node {
			address = m.Address
		}
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	p := h.peers[node]
	if p == nil && !h.closed {
		p = &peer{node: node, address: address, conns: make(map[*conn]struct{})}
		p.control = newLink(h, p, channelControl, h.silence(channelControl))
		p.bulk = newLink(h, p, channelBulk, h.silence(channelBulk))
		h.peers[node] = p
		h.work.Go(func() { p.control.run(h.ctx) })
		h.work.Go(func() { p.bulk.run(h.ctx) })
	}
	if p != nil {
		p.moveTo(address)
	}
	return p
}

// silence is how long a connection may stand still. A bulk connection may have a socket full of entries to get rid of
// first.
func (h *Host) silence(ch channel) time.Duration {
	if ch == channelBulk {
		return 5 * h.o.Timeout
	}
	return h.o.Timeout
}

// stalled reports whether a write to any group's log has been pending for so long that this node should not pass for
// a healthy leader. The groups of a node share a disk.
func (h *Host) stalled() bool {
	for _, g := range *h.running.Load() {
		if max(g.logs.busy.pending(), g.logs.begun.pending()) > 2*h.o.Timeout {
			return true
		}
	}
	return false
}

// closeWith closes the connection when the host closes.
func (h *Host) closeWith(c *conn) (unhook func() bool) {
	return context.AfterFunc(h.ctx, func() { c.close(errClosed) })
}

// fatal reports the first error of a log, and returns it.
func (h *Host) fatal(err error) error {
	h.failed.Do(func() { h.o.Fatal(err) })
	return err
}
