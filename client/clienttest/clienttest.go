// Package clienttest gives a program's tests a real SealMQ cluster: one node inside the test's process, on a free
// loopback port, with TLS, rights, sealing and encryption at rest on. It is gone when the test ends.
//
//	func TestOrders(t *testing.T) {
//		cluster := clienttest.Start(t)
//		shop, billing := cluster.Client("shop"), cluster.Client("billing")
//		if _, err := billing.CreateMailbox(t.Context(), "billing"); err != nil {
//			t.Fatal(err)
//		}
//		...
//	}
//
// It is the one package under client that reaches the server: import it from tests only.
package clienttest

import (
	"context"
	"encoding/hex"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/sealmq/sealmq/client"
	"github.com/sealmq/sealmq/envelope"
	"github.com/sealmq/sealmq/internal/local"
)

// Cluster is a running cluster of one node.
type Cluster struct {
	// Context is the path of a context file, for code that takes one. It acts as the identity "test".
	Context string

	t    testing.TB
	tree *local.Cluster

	mu    sync.Mutex
	admin *client.Client
	known map[string]bool
}

// readyWithin is how long the node may take before the test is given up.
const readyWithin = 30 * time.Second

// operator is the identity that gives the others their rights.
const operator = "admin"

// Start starts a cluster, which ends with the test.
func Start(t testing.TB) *Cluster {
	t.Helper()
	tree, err := local.Provision(local.Options{Dir: filepath.Join(t.TempDir(), "sealmq"), Nodes: 1})
	if err != nil {
		t.Fatalf("clienttest: %v", err)
	}
	c := &Cluster{Context: local.ContextFile(tree.Dir), t: t, tree: tree, known: map[string]bool{}}
	tree.Logger = func(string) *slog.Logger {
		return slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelWarn}))
	}
	tree.Fatal = func(_ string, err error) { t.Errorf("clienttest: the node's disk failed: %v", err) }
	ctx, cancel := context.WithTimeout(t.Context(), readyWithin)
	defer cancel()
	if err := tree.Start(ctx); err != nil {
		t.Fatalf("clienttest: %v", err)
	}
	t.Cleanup(tree.Close)
	c.identity(operator, local.Operator)
	c.identity("test", local.Service)
	if err := c.saveContext(); err != nil {
		t.Fatalf("clienttest: %v", err)
	}
	if c.admin, err = client.Connect(ctx, client.FromContext(c.Context).As(operator)); err != nil {
		t.Fatalf("clienttest: %v", err)
	}
	t.Cleanup(func() { c.admin.Close() })
	c.allow("test")
	return c
}

// Client connects as the identity of a name, which is made at its first use. Every identity may create mailboxes and
// send to all of them; it receives from those that it created. The client is closed when the test ends.
func (c *Cluster) Client(name string) *client.Client {
	c.t.Helper()
	if c.identity(name, local.Service) {
		c.allow(name)
	}
	ctx, cancel := context.WithTimeout(c.t.Context(), readyWithin)
	defer cancel()
	conn, err := client.Connect(ctx, client.FromContext(c.Context).As(name))
	if err != nil {
		c.t.Fatalf("clienttest: connecting as %s: %v", name, err)
	}
	c.t.Cleanup(func() { conn.Close() })
	return conn
}

// Restart ends the node as if its process were killed, and starts it again on the same files.
func (c *Cluster) Restart() {
	c.t.Helper()
	name := c.tree.Nodes[0].Name
	if err := c.tree.Kill(name); err != nil {
		c.t.Fatalf("clienttest: %v", err)
	}
	ctx, cancel := context.WithTimeout(c.t.Context(), readyWithin)
	defer cancel()
	if err := c.tree.StartNode(ctx, name); err != nil {
		c.t.Fatalf("clienttest: %v", err)
	}
}

// identity makes an identity's files and reports whether it did: the second time they are there.
func (c *Cluster) identity(name string, role local.Role) (made bool) {
	c.t.Helper()
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.known[name] {
		return false
	}
	c.known[name] = true
	dir := local.IdentityDir(c.tree.Dir, name)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		c.t.Fatalf("clienttest: %v", err)
	}
	id, err := envelope.NewIdentity(name)
	if err == nil {
		err = client.WriteIdentity(filepath.Join(dir, "identity.key"), id)
	}
	if err == nil {
		err = local.Issue(local.CADir(c.tree.Dir), dir, name, role)
	}
	if err != nil {
		c.t.Fatalf("clienttest: identity %s: %v", name, err)
	}
	return true
}

// allow lets an identity create mailboxes and send to all.
func (c *Cluster) allow(name string) {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(c.t.Context(), readyWithin)
	defer cancel()
	if _, _, err := c.admin.AddGrant(ctx, name, "send,stat,manage", ">"); err != nil {
		c.t.Fatalf("clienttest: rights of %s: %v", name, err)
	}
}

func (c *Cluster) saveContext() error {
	o := c.tree.Nodes[0].Options
	ctx := &client.Context{
		Name: "test", Cluster: hex.EncodeToString(o.Cluster[:]), CA: filepath.Join("ca", "client.crt"),
		Identity: filepath.Join("id", "test"), Nodes: map[string]string{},
	}
	for _, m := range o.Members {
		ctx.Nodes[m.Node] = m.Client
	}
	return ctx.Save(c.Context)
}
