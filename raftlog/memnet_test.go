package raftlog

import (
	"context"
	"errors"
	"io"
	"net"
	"sync"
)

// memNet is a network in memory. Connections are synchronous pipes; paths between two nodes can be cut (connections
// break, dialling fails) or frozen (nothing moves and nobody is told).
type memNet struct {
	mu        sync.Mutex
	listeners map[string]*memListener
	cutPaths  map[[2]string]bool
	frozen    map[[2]string]chan struct{}
	conns     map[*memConn]struct{}
}

func newMemNet() *memNet {
	return &memNet{
		listeners: make(map[string]*memListener), cutPaths: make(map[[2]string]bool),
		frozen: make(map[[2]string]chan struct{}), conns: make(map[*memConn]struct{}),
	}
}

func path(a, b string) [2]string { return [2]string{min(a, b), max(a, b)} }

type memListener struct {
	net     *memNet
	address string
	node    string
	queue   chan net.Conn
	once    sync.Once
	closed  chan struct{}
}

func (n *memNet) listen(node, address string) *memListener {
	l := &memListener{net: n, node: node, address: address, queue: make(chan net.Conn), closed: make(chan struct{})}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.listeners[address] = l
	return l
}

func (l *memListener) Accept() (net.Conn, error) {
	select {
	case c := <-l.queue:
		return c, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

func (l *memListener) Close() error {
	l.once.Do(func() {
		close(l.closed)
		l.net.mu.Lock()
		if l.net.listeners[l.address] == l {
			delete(l.net.listeners, l.address)
		}
		l.net.mu.Unlock()
	})
	return nil
}

func (l *memListener) Addr() net.Addr { return memAddr(l.address) }

type memAddr string

func (a memAddr) Network() string { return "mem" }
func (a memAddr) String() string  { return string(a) }

// dialer returns the Dial of a node.
func (n *memNet) dialer(from string) func(context.Context, string, string) (net.Conn, error) {
	return func(ctx context.Context, _, address string) (net.Conn, error) {
		n.mu.Lock()
		l := n.listeners[address]
		bad := l == nil || n.cutPaths[path(from, l.node)]
		n.mu.Unlock()
		if bad {
			return nil, errors.New("connection refused")
		}
		a, b := net.Pipe()
		near := &memConn{Conn: a, net: n, local: from, remote: l.node, closed: make(chan struct{})}
		far := &memConn{Conn: b, net: n, local: l.node, remote: from, closed: make(chan struct{})}
		n.mu.Lock()
		n.conns[near], n.conns[far] = struct{}{}, struct{}{}
		n.mu.Unlock()
		select {
		case l.queue <- far:
			return near, nil
		case <-l.closed:
		case <-ctx.Done():
		}
		near.Close()
		far.Close()
		return nil, errors.New("connection refused")
	}
}

type memConn struct {
	net.Conn
	net           *memNet
	local, remote string
	once          sync.Once
	closed        chan struct{}
	lost          chan struct{} // set when the host at one end has lost its power: never closed
}

func (c *memConn) PeerNode() (string, error) { return c.remote, nil }

func (c *memConn) Write(b []byte) (int, error) {
	for {
		c.net.mu.Lock()
		ice := c.ice()
		c.net.mu.Unlock()
		if ice == nil {
			return c.Conn.Write(b)
		}
		select {
		case <-ice:
		case <-c.closed:
			return 0, io.ErrClosedPipe
		}
	}
}

// ice returns what stops the connection, nil if nothing does. The caller holds the network's lock.
func (c *memConn) ice() chan struct{} {
	if c.lost != nil {
		return c.lost
	}
	return c.net.frozen[path(c.local, c.remote)]
}

func (c *memConn) Close() error {
	c.once.Do(func() {
		close(c.closed)
		c.net.mu.Lock()
		delete(c.net.conns, c)
		ice := c.ice()
		lost := c.lost != nil
		c.net.mu.Unlock()
		if ice == nil { // nobody hears of a connection that is closed behind ice
			c.Conn.Close()
			return
		}
		c.Conn.SetDeadline(past)
		if lost {
			return
		}
		go func() {
			<-ice
			c.Conn.Close()
		}()
	})
	return nil
}

// cut breaks the paths between a node and the others.
func (n *memNet) cut(node string, others ...string) {
	n.mu.Lock()
	var broken []*memConn
	for _, o := range others {
		n.cutPaths[path(node, o)] = true
		for c := range n.conns {
			if path(c.local, c.remote) == path(node, o) {
				broken = append(broken, c)
			}
		}
	}
	n.mu.Unlock()
	for _, c := range broken {
		c.Close()
	}
}

// freeze stops everything between a node and the others.
func (n *memNet) freeze(node string, others ...string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, o := range others {
		if n.frozen[path(node, o)] == nil {
			n.frozen[path(node, o)] = make(chan struct{})
		}
	}
}

// lose makes the connections that a node has now silent for ever, as when its host loses power.
func (n *memNet) lose(node string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for c := range n.conns {
		if c.local == node || c.remote == node {
			c.lost = make(chan struct{})
		}
	}
}

// heal undoes every cut and freeze.
func (n *memNet) heal() {
	n.mu.Lock()
	defer n.mu.Unlock()
	clear(n.cutPaths)
	for _, ice := range n.frozen {
		close(ice)
	}
	clear(n.frozen)
}
