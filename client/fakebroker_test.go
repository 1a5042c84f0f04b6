package client

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sealmq/sealmq/envelope"
	"github.com/sealmq/sealmq/wire"
)

// fakeCluster is nodes that speak the protocol over TLS and share their mailboxes in memory: what a cluster does, as
// far as a client can tell, without a log. Its faults are hooks on requests.
type fakeCluster struct {
	id      [16]byte
	ca      *fakeCA
	groups  int
	tcp     bool
	sink    bool // sends are answered and forgotten
	undated bool // nothing ends by time
	// lookEvery is for clients whose tests run over weeks: pings by the million would tell nothing.
	lookEvery time.Duration

	mu       sync.Mutex
	nodes    map[string]*fakeNode
	leaders  map[uint16]string
	boxes    map[string]*fakeBox
	grants   []wire.Grant
	limits   wire.Limits
	skew     time.Duration
	ttl      time.Duration
	undying  bool // messages past their end are delivered all the same
	incarn   uint64
	observed []observed
	// intercept decides what happens to a request, nil for nothing special.
	intercept func(r *fakeRequest) fault
	running   sync.WaitGroup
	closed    bool
}

// observed is a request that a node took, in order.
type observed struct {
	node      string
	principal string
	message   wire.Message
}

// fakeRequest is a request before it is handled.
type fakeRequest struct {
	node      *fakeNode
	principal string
	t         wire.Type
	message   wire.Message
}

// fault is what becomes of a request.
type fault struct {
	before  bool          // the connection is cut before anything happens
	after   bool          // it happens and the connection is cut instead of answering
	silent  bool          // it happens, and nothing is ever answered on this connection again
	mute    bool          // it happens and is not answered
	failure *wire.Failure // it does not happen and this is answered
}

type fakeNode struct {
	f        *fakeCluster
	id       string
	address  string
	listener net.Listener
	config   *tls.Config
	down     bool
	conns    map[*fakeConn]struct{}
}

type fakeConn struct {
	node      *fakeNode
	tls       *tls.Conn
	principal string

	mu     sync.Mutex
	out    []byte
	wake   chan struct{}
	closed bool
	deaf   bool
	subs   map[uint32]*fakeReceiver
	told   map[[16]byte]bool
}

func newFake(t testing.TB, nodes int) *fakeCluster { return startFake(t, nodes, false) }

func startFake(t testing.TB, nodes int, tcp bool) *fakeCluster {
	f := makeFake(nodes, tcp)
	t.Cleanup(f.close)
	return f
}

func makeFake(nodes int, tcp bool) *fakeCluster {
	f := &fakeCluster{
		groups: 3, tcp: tcp, incarn: 7, ttl: 14 * 24 * time.Hour,
		nodes: map[string]*fakeNode{}, leaders: map[uint16]string{}, boxes: map[string]*fakeBox{},
		limits: wire.Limits{BodyBytes: wire.BodyBytes, FrameBytes: wire.FrameBytes, BatchItems: 64, InFlightRequests: 512,
			InFlightBytes: 16 << 20, Subscriptions: 64, WaitMillis: wire.WaitMillis, NotAfterMaxMillis: 14 * 86_400_000},
	}
	rand.Read(f.id[:])
	f.ca = newFakeCA(f.id)
	for i := range nodes {
		f.addNode(fmt.Sprintf("n%d", i+1))
	}
	for g := range f.groups {
		f.leaders[uint16(g)] = fmt.Sprintf("n%d", g%nodes+1)
	}
	return f
}

func (f *fakeCluster) addNode(id string) *fakeNode {
	n := &fakeNode{f: f, id: id, address: id + ":7420", conns: map[*fakeConn]struct{}{}}
	pair := f.ca.issue("node/" + id)
	n.config = &tls.Config{
		MinVersion: tls.VersionTLS13, Certificates: []tls.Certificate{pair}, ClientAuth: tls.RequireAndVerifyClientCert,
		ClientCAs: f.ca.pool, NextProtos: []string{wire.ALPN}, SessionTicketsDisabled: true,
		DynamicRecordSizingDisabled: true,
	}
	if f.tcp {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			panic(err)
		}
		n.listener, n.address = l, l.Addr().String()
		f.running.Go(func() {
			for {
				raw, err := l.Accept()
				if err != nil {
					return
				}
				n.serve(raw)
			}
		})
	}
	f.nodes[id] = n
	return n
}

func (f *fakeCluster) close() {
	f.mu.Lock()
	f.closed = true
	var conns []*fakeConn
	for _, n := range f.nodes {
		for c := range n.conns {
			conns = append(conns, c)
		}
		if n.listener != nil {
			n.listener.Close()
		}
	}
	for _, b := range f.boxes {
		b.stopTimers()
	}
	f.mu.Unlock()
	for _, c := range conns {
		c.close()
	}
	f.running.Wait()
}

// dial is the client's way to the nodes.
func (f *fakeCluster) dial(ctx context.Context, address string) (net.Conn, error) {
	f.mu.Lock()
	var node *fakeNode
	for _, n := range f.nodes {
		if n.address == address {
			node = n
		}
	}
	refused := node == nil || node.down || f.closed
	f.mu.Unlock()
	if refused {
		return nil, errors.New("connection refused")
	}
	if f.tcp {
		return dialTCP(ctx, address)
	}
	a, b := net.Pipe()
	node.serve(b)
	return a, nil
}

func (n *fakeNode) serve(raw net.Conn) {
	c := &fakeConn{node: n, tls: tls.Server(raw, n.config), wake: make(chan struct{}, 1), subs: map[uint32]*fakeReceiver{},
		told: map[[16]byte]bool{}}
	n.f.mu.Lock()
	n.conns[c] = struct{}{}
	n.f.mu.Unlock()
	n.f.running.Go(c.read)
	n.f.running.Go(c.write)
}

// setDown takes a node away, with all its connections, or brings it back.
func (f *fakeCluster) setDown(id string, down bool) {
	f.mu.Lock()
	n := f.nodes[id]
	n.down = down
	var conns []*fakeConn
	for c := range n.conns {
		conns = append(conns, c)
	}
	f.mu.Unlock()
	if down {
		for _, c := range conns {
			c.close()
		}
	}
}

// lead makes a node the leader of every mail group, or of none.
func (f *fakeCluster) lead(id string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for g := range f.groups {
		if id == "" {
			delete(f.leaders, uint16(g))
		} else {
			f.leaders[uint16(g)] = id
		}
	}
	for _, b := range f.boxes {
		b.loseReceivers()
	}
}

// onRequest sets the hook on requests.
func (f *fakeCluster) onRequest(hook func(r *fakeRequest) fault) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.intercept = hook
}

// taken returns the requests of a type that were taken.
func taken[M wire.Message](f *fakeCluster) []M {
	f.mu.Lock()
	defer f.mu.Unlock()
	var all []M
	for _, o := range f.observed {
		if m, ok := o.message.(M); ok {
			all = append(all, m)
		}
	}
	return all
}

func (f *fakeCluster) now() time.Time { return time.Now().Add(f.skew) }

func (c *fakeConn) close() {
	c.mu.Lock()
	was := c.closed
	c.closed = true
	c.mu.Unlock()
	if was {
		return
	}
	c.tls.NetConn().Close()
	select {
	case c.wake <- struct{}{}:
	default:
	}
	f := c.node.f
	f.mu.Lock()
	delete(c.node.conns, c)
	for _, r := range c.subs {
		r.leave()
	}
	f.mu.Unlock()
}

func (c *fakeConn) answer(request uint32, m wire.Message) {
	c.mu.Lock()
	c.out = wire.AppendFrame(c.out, request, m)
	c.mu.Unlock()
	select {
	case c.wake <- struct{}{}:
	default:
	}
}

func (c *fakeConn) write() {
	var buf []byte
	for range c.wake {
		c.mu.Lock()
		buf, c.out = c.out, buf[:0]
		closed := c.closed
		c.mu.Unlock()
		if closed {
			return
		}
		if len(buf) > 0 {
			if _, err := c.tls.Write(buf); err != nil {
				c.close()
				return
			}
		}
	}
}

func (c *fakeConn) read() {
	defer c.close()
	frames := wire.NewFrameReader(c.tls)
	if err := c.tls.HandshakeContext(context.Background()); err != nil {
		return
	}
	uri := c.tls.ConnectionState().PeerCertificates[0].URIs[0]
	c.principal = strings.TrimPrefix(uri.Path, "/svc/")
	t, request, payload, err := frames.Next()
	if err != nil || t != wire.TypeHello {
		return
	}
	var hello wire.Hello
	if hello.Decode(payload) != nil {
		return
	}
	f := c.node.f
	f.mu.Lock()
	reply := &wire.HelloReply{Version: wire.Version, Limits: f.limits, Cluster: f.id, Incarnation: f.incarn,
		Node: c.node.id, Proofs: wire.ProofCertificate, TimeMillis: f.now().UnixMilli(), Principal: c.principal}
	f.mu.Unlock()
	c.answer(request, reply)
	frames.SetLimit(wire.FrameBytes)
	if f.sink {
		f.serveSink(c, frames)
		return
	}
	for {
		t, request, payload, err := frames.Next()
		if err != nil {
			return
		}
		// The payload is copied: hooks and mailboxes keep what they are given.
		m, err := wire.Decode(t, append([]byte(nil), payload...))
		if err != nil {
			c.answer(0, &wire.Failure{Code: wire.CodeBadRequest, Detail: err.Error()})
			return
		}
		if !c.handle(request, m) {
			return
		}
	}
}

// handle reports false if the connection is to be cut.
func (c *fakeConn) handle(request uint32, m wire.Message) bool {
	f := c.node.f
	f.mu.Lock()
	var what fault
	if f.intercept != nil {
		hook := f.intercept
		f.mu.Unlock()
		what = hook(&fakeRequest{c.node, c.principal, m.Type(), m})
		f.mu.Lock()
	}
	defer f.mu.Unlock()
	switch {
	case c.deaf:
		return true
	case what.before:
		return false
	case what.failure != nil:
		c.answer(request, what.failure)
		return true
	}
	f.observed = append(f.observed, observed{c.node.id, c.principal, m})
	reply := c.do(request, m)
	if what.after {
		return false
	}
	c.deaf = c.deaf || what.silent
	if reply != nil && !c.deaf && !what.mute {
		c.answer(request, reply)
	}
	return true
}

func refuseWith(code wire.Code) *wire.Failure { return &wire.Failure{Code: code} }

// options returns the options of a service with files of its own.
func (f *fakeCluster) options(t testing.TB, name string) Options {
	id, err := envelope.NewIdentity(name)
	if err != nil {
		t.Fatal(err)
	}
	keys, err := OpenKeyStore(t.TempDir() + "/keyring")
	if err != nil {
		t.Fatal(err)
	}
	return f.optionsFor(name, id, keys)
}

func (f *fakeCluster) optionsFor(name string, id *envelope.Identity, keys *KeyStore) Options {
	certificate := f.ca.issue("svc/" + name)
	o := Options{
		Nodes: map[string]string{}, Cluster: hex.EncodeToString(f.id[:]), CA: f.ca.pool, Certificate: &certificate,
		Identity: id, KeyStore: keys, Name: "test", dial: f.dial, lookEvery: f.lookEvery,
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	for id, n := range f.nodes {
		o.Nodes[id] = n.address
	}
	return o
}

// client connects a service.
func (f *fakeCluster) client(t testing.TB, name string) *Client {
	return connect(t, f.options(t, name))
}

func connect(t testing.TB, o Options) *Client {
	t.Helper()
	c, err := Connect(context.Background(), o)
	if err != nil {
		t.Fatalf("connecting: %v", err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// mustCreate makes a mailbox with keys.
func mustCreate(t testing.TB, c *Client, name string, opts ...CreateOption) Mailbox {
	t.Helper()
	m, err := c.CreateMailbox(context.Background(), name, opts...)
	if err != nil {
		t.Fatalf("creating a mailbox: %v", err)
	}
	return m
}
