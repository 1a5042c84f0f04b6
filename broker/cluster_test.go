package broker_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sealmq/sealmq/broker"
	"github.com/sealmq/sealmq/internal/local"
	"github.com/sealmq/sealmq/internal/pki"
	"github.com/sealmq/sealmq/wire"
)

// patience is how long a test waits for what has to happen.
const patience = 30 * time.Second

// cluster is a cluster in this process, and the authorities that let anybody in as anybody.
type cluster struct {
	dir   string
	id    [16]byte
	roots *x509.CertPool
	logs  logs
	nodes map[string]broker.Options
	names []string // of nodes

	mu      sync.Mutex
	running map[string]*broker.Broker
	certs   map[string]tls.Certificate
}

// logs keeps what all nodes say.
type logs struct {
	mu     sync.Mutex
	text   strings.Builder
	looked int
}

func (l *logs) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(b)
}

func (l *logs) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// faults is what a node says when it finds that it has one.
var faults = []string{"request failed", "to be answered twice", "cannot be delivered", "cannot read what"}

// errors fails the test if a node has said that something is wrong with it since this was asked last.
func (l *logs) errors(t *testing.T) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for line := range strings.Lines(l.text.String()[l.looked:]) {
		for _, fault := range faults {
			if strings.Contains(line, fault) {
				t.Error(line)
			}
		}
	}
	l.looked = l.text.Len()
}

// newCluster provisions and starts a cluster. change may change what a node is told.
func newCluster(dir string, nodes, groups int, change func(*broker.Options)) (*cluster, error) {
	tree, err := local.Provision(local.Options{Dir: filepath.Join(dir, "tree"), Nodes: nodes, Groups: groups,
		Version: "test"})
	if err != nil {
		return nil, err
	}
	c := &cluster{
		dir: tree.Dir, roots: x509.NewCertPool(), nodes: map[string]broker.Options{},
		running: map[string]*broker.Broker{}, certs: map[string]tls.Certificate{},
	}
	for _, kind := range []pki.Kind{pki.Client, pki.Operator} {
		pem, err := os.ReadFile(pki.CertFile(local.CADir(c.dir), kind))
		if err != nil {
			return nil, err
		}
		c.roots.AppendCertsFromPEM(pem)
	}
	for _, n := range tree.Nodes {
		o := n.Options
		c.id = o.Cluster
		o.Logger = slog.New(slog.NewTextHandler(&c.logs, nil)).With("at", n.Name)
		o.Fatal = func(err error) { panic(fmt.Sprintf("%s: %v", n.Name, err)) }
		// Small segments, because tests look at every byte of them.
		o.JournalSegmentBytes = 1 << 20
		if change != nil {
			change(&o)
		}
		if err := errors.Join(os.RemoveAll(o.DataDir), broker.Format(o)); err != nil {
			return nil, err
		}
		c.nodes[n.Name] = o
		c.names = append(c.names, n.Name)
	}
	return c, c.start(c.names...)
}

// start starts nodes and waits until they are ready.
func (c *cluster) start(names ...string) error {
	for _, name := range names {
		b, err := broker.Open(c.nodes[name])
		if err != nil {
			return fmt.Errorf("starting %s: %w", name, err)
		}
		c.mu.Lock()
		c.running[name] = b
		c.mu.Unlock()
	}
	for _, name := range names {
		for until := time.Now().Add(patience); !c.node(name).Ready(); time.Sleep(5 * time.Millisecond) {
			if time.Now().After(until) {
				return fmt.Errorf("%s is not ready", name)
			}
		}
	}
	return nil
}

func (c *cluster) node(name string) *broker.Broker {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.running[name]
}

func (c *cluster) take(name string) *broker.Broker {
	c.mu.Lock()
	defer c.mu.Unlock()
	b := c.running[name]
	delete(c.running, name)
	return b
}

// kill ends nodes at once; none named means all.
func (c *cluster) kill(names ...string) {
	if len(names) == 0 {
		names = c.up()
	}
	var all sync.WaitGroup
	for _, name := range names {
		if b := c.take(name); b != nil {
			all.Go(func() { b.Close() })
		}
	}
	all.Wait()
}

// stop ends nodes in order; none named means all.
func (c *cluster) stop(names ...string) error {
	if len(names) == 0 {
		names = c.up()
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	errs := make([]error, len(names))
	var all sync.WaitGroup
	for i, name := range names {
		if b := c.take(name); b != nil {
			all.Go(func() { errs[i] = b.Shutdown(ctx) })
		}
	}
	all.Wait()
	return errors.Join(errs...)
}

// up returns the nodes that run.
func (c *cluster) up() (names []string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for name := range c.running {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// startCluster starts a cluster for one test.
func startCluster(t *testing.T, nodes, groups int, change func(*broker.Options)) *cluster {
	t.Helper()
	c, err := newCluster(t.TempDir(), nodes, groups, change)
	if c != nil {
		t.Cleanup(func() { c.kill() })
	}
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// common is a cluster of three nodes that tests share which do not stop nodes.
var common sharedCluster

type sharedCluster struct {
	once sync.Once
	dir  string
	c    *cluster
	err  error
}

func (s *sharedCluster) get(t *testing.T) *cluster {
	t.Helper()
	s.once.Do(func() {
		if s.dir, s.err = os.MkdirTemp("", "sealmq-broker-*"); s.err == nil {
			s.c, s.err = newCluster(s.dir, 3, 2, nil)
		}
	})
	if s.err != nil {
		t.Fatal(s.err)
	}
	t.Cleanup(func() { s.c.logs.errors(t) })
	return s.c
}

func (s *sharedCluster) close() error {
	if s.c == nil {
		return s.err
	}
	return errors.Join(s.c.stop(), os.RemoveAll(s.dir))
}

// certificate returns the certificate of a principal: "operator/NAME" is an operator, "node/NAME" shows a node's own.
func (c *cluster) certificate(t testing.TB, principal string) tls.Certificate {
	t.Helper()
	c.mu.Lock()
	defer c.mu.Unlock()
	if cert, ok := c.certs[principal]; ok {
		return cert
	}
	cert, err := c.issue(principal, 0)
	if err != nil {
		t.Fatal(err)
	}
	c.certs[principal] = cert
	return cert
}

func (c *cluster) issue(principal string, lifetime time.Duration) (tls.Certificate, error) {
	kind, name := pki.Client, principal
	if operator, ok := strings.CutPrefix(principal, "operator/"); ok {
		kind, name = pki.Operator, operator
	}
	a, err := pki.LoadAuthority(local.CADir(c.dir), kind)
	if err != nil {
		return tls.Certificate{}, err
	}
	var leaf pki.Leaf
	if kind == pki.Operator {
		leaf, err = a.IssueOperator(name, lifetime)
	} else {
		leaf, err = a.IssueService(name, lifetime)
	}
	if err != nil {
		return tls.Certificate{}, err
	}
	return tls.X509KeyPair(leaf.CertPEM, leaf.KeyPEM)
}

// tlsConfig is that of a client with a certificate.
func (c *cluster) tlsConfig(certs ...tls.Certificate) *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS13, NextProtos: []string{wire.ALPN}, Certificates: certs, RootCAs: c.roots,
		ServerName: "127.0.0.1",
	}
}

// dial connects to a node as a principal and says hello.
func (c *cluster) dial(t testing.TB, node, principal string) *testConn {
	t.Helper()
	raw := c.handshake(t, node, c.certificate(t, principal))
	tc := newTestConn(t, raw)
	reply := tc.call(&wire.Hello{MinVersion: 1, MaxVersion: 1, Client: "test", Cluster: c.id})
	hello, ok := reply.(*wire.HelloReply)
	if !ok {
		t.Fatalf("hello was answered by %#v", reply)
	}
	tc.hello = hello
	return tc
}

func (c *cluster) handshake(t testing.TB, node string, certs ...tls.Certificate) *tls.Conn {
	t.Helper()
	d := tls.Dialer{Config: c.tlsConfig(certs...)}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	raw, err := d.DialContext(ctx, "tcp", c.nodes[node].Client.Address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { raw.Close() })
	return raw.(*tls.Conn)
}

// groupOf returns the group of a mailbox name.
func (c *cluster) groupOf(name string) uint16 {
	groups := c.nodes[c.names[0]].Groups
	return 1 + uint16(int(wire.SlotOf(name))*groups/wire.Slots)
}

// leaderOf returns the node that leads a group, as soon as it says so itself.
func (c *cluster) leaderOf(t testing.TB, group uint16) string {
	t.Helper()
	found := ""
	eventually(t, "a leader", func() bool {
		for _, node := range c.up() {
			conn := c.dial(t, node, "operator/looker")
			m := conn.call(&wire.SlotMap{}).(*wire.SlotMapReply)
			conn.close()
			for _, l := range m.Leaders {
				if l.Group == group && l.Node == node {
					found = node
					return true
				}
			}
		}
		return false
	})
	return found
}

// leading connects as a principal to the leader of a mailbox's group.
func (c *cluster) leading(t testing.TB, principal, mailbox string) *testConn {
	t.Helper()
	return c.dial(t, c.leaderOf(t, c.groupOf(mailbox)), principal)
}

// follower connects to a node that does not lead a mailbox's group.
func (c *cluster) follower(t testing.TB, principal, mailbox string) *testConn {
	t.Helper()
	leader := c.leaderOf(t, c.groupOf(mailbox))
	i := slices.IndexFunc(c.up(), func(n string) bool { return n != leader })
	return c.dial(t, c.up()[i], principal)
}

// grant gives rights and waits until every node knows.
func (c *cluster) grant(t testing.TB, subject string, actions wire.Actions, resource string) [8]byte {
	t.Helper()
	conn := c.dial(t, c.leaderOf(t, 0), "operator/admin")
	defer conn.close()
	id := retry[*wire.GrantAddReply](t, conn, &wire.GrantAdd{Subject: subject, Actions: actions, Resource: resource}).ID
	c.awaitGrant(t, id, true)
	return id
}

// awaitGrant waits until every node has, or has not, a grant.
func (c *cluster) awaitGrant(t testing.TB, id [8]byte, there bool) {
	t.Helper()
	for _, node := range c.up() {
		conn := c.dial(t, node, "operator/admin")
		eventually(t, "grants on "+node, func() bool {
			reply, ok := conn.call(&wire.GrantList{Limit: wire.PageItems}).(*wire.GrantListReply)
			return ok && slices.ContainsFunc(reply.Items, func(g wire.Grant) bool { return g.ID == id }) == there
		})
		conn.close()
	}
}

// mailbox makes a mailbox that owner owns, and returns how it is addressed.
func (c *cluster) mailbox(t testing.TB, owner, name string) wire.MailboxRef {
	t.Helper()
	ref := wire.MailboxRef{Slot: wire.SlotOf(name), ID: random16()}
	conn := c.leading(t, owner, name)
	defer conn.close()
	m := &wire.MailboxCreate{Items: []wire.MailboxNew{{Name: name, ID: ref.ID}}}
	reply := retry[*wire.MailboxCreateReply](t, conn, m)
	if reply.Items[0].Code != wire.CodeOK {
		t.Fatalf("making %s: %v", name, reply.Items[0].Code)
	}
	return ref
}

// owned makes a principal that owns one mailbox.
func (c *cluster) owned(t testing.TB, owner, name string) wire.MailboxRef {
	t.Helper()
	c.grant(t, owner, wire.ActionManage, name)
	return c.mailbox(t, owner, name)
}

// eventually asks until the answer is yes.
func eventually(t testing.TB, what string, ask func() bool) {
	t.Helper()
	for until := time.Now().Add(patience); !ask(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(until) {
			t.Fatalf("waited for %s in vain", what)
		}
	}
}

// tryDial connects as a principal, nil if that does not work now.
func (c *cluster) tryDial(principal, node string) *testConn {
	c.mu.Lock()
	cert, ok := c.certs[principal]
	c.mu.Unlock()
	if !ok {
		return nil
	}
	d := tls.Dialer{Config: c.tlsConfig(cert)}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	raw, err := d.DialContext(ctx, "tcp", c.nodes[node].Client.Address)
	if err != nil {
		return nil
	}
	conn := newTestConn(nil, raw.(*tls.Conn))
	if _, err := conn.tryCall(&wire.Hello{MinVersion: 1, MaxVersion: 1}); err != nil {
		raw.Close()
		return nil
	}
	return conn
}
