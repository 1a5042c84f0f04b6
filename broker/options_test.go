package broker_test

import (
	"crypto/tls"
	"errors"
	"net"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/sealmq/sealmq/broker"
	"github.com/sealmq/sealmq/internal/local"
	"github.com/sealmq/sealmq/wire"
)

// TestAdvertiseAndLogNames: a node says of itself what it is told to, and names whom it refuses only if it is told to.
func TestAdvertiseAndLogNames(t *testing.T) {
	t.Parallel()
	c := startCluster(t, 1, 1, func(o *broker.Options) {
		o.LogNames, o.Client.Advertise = true, "queue.example:7420"
	})
	conn := c.dial(t, "n1", "operator/admin")
	slots := expect[*wire.SlotMapReply](t, conn.call(&wire.SlotMap{}))
	status := expect[*wire.ClusterStatusReply](t, conn.call(&wire.ClusterStatus{}))
	if slots.Nodes[0].Address != "queue.example:7420" || status.Nodes[0].Address != "queue.example:7420" ||
		status.Nodes[0].Version != "test" {
		t.Errorf("the node says %+v, %+v", slots.Nodes, status.Nodes)
	}
	files := c.nodes["n1"].Client.TLS
	node, err := tls.LoadX509KeyPair(files.Cert, files.Key)
	if err != nil {
		t.Fatal(err)
	}
	if err := firstError(c.nodes["n1"].Client.Address, c.tlsConfig(node)); err == nil {
		t.Error("a node is let in where clients are")
	}
	eventually(t, "the line about it", func() bool { return strings.Contains(c.logs.String(), "/node/n1 may not use") })
}

// TestMostGroups: as many groups as the configuration may ask for do start.
func TestMostGroups(t *testing.T) {
	t.Parallel()
	c := startCluster(t, 1, 63, nil)
	c.mailbox(t, "operator/admin", "most.box")
	o := c.nodes["n1"]
	o.Groups++
	if _, err := broker.Open(o); err == nil || !strings.Contains(err.Error(), "cluster.groups") {
		t.Errorf("one group more: %v", err)
	}
}

// TestRefusalsDoNotFillTheLog: a thousand strangers cost a line or two.
func TestRefusalsDoNotFillTheLog(t *testing.T) {
	t.Parallel()
	c := startCluster(t, 1, 1, nil)
	began := time.Now()
	for range 300 {
		raw, err := net.Dial("tcp", c.nodes["n1"].Client.Address)
		if err != nil {
			t.Fatal(err)
		}
		raw.Write([]byte("GET / HTTP/1.1\r\n\r\n"))
		raw.Close()
	}
	eventually(t, "a line", func() bool { return strings.Contains(c.logs.String(), "connection refused") })
	most := int(time.Since(began)/time.Second) + 2
	if n := strings.Count(c.logs.String(), "connection refused"); n > most {
		t.Errorf("%d lines in %v", n, time.Since(began))
	}
}

// TestCheck: everything that a node would be refused for is said at once, each under its option, and a node is refused
// for the same.
func TestCheck(t *testing.T) {
	t.Parallel()
	tree, err := local.Provision(local.Options{Dir: filepath.Join(t.TempDir(), "tree"), Nodes: 2, Groups: 1})
	if err != nil {
		t.Fatal(err)
	}
	good, other := tree.Nodes[0].Options, tree.Nodes[1].Options
	if err := good.Check(); err != nil {
		t.Fatal(err)
	}
	short := filepath.Join(t.TempDir(), "short.key")
	write(t, short, []byte("too short"))
	for name, c := range map[string]struct {
		change func(o *broker.Options)
		want   []string
	}{
		"memory": {func(o *broker.Options) { o.MemoryBytes = 1 << 20 }, []string{"limits.memory: "}},
		"another node's certificate": {
			func(o *broker.Options) { o.Peer.TLS = other.Peer.TLS }, []string{"peer.cert: names "},
		},
		"another's key": {
			func(o *broker.Options) { o.Client.TLS.Key = other.Client.TLS.Key }, []string{"client.cert: "},
		},
		"no key": {
			func(o *broker.Options) { o.Client.TLS.Key = filepath.Join(t.TempDir(), "none") }, []string{"client.key: "},
		},
		"another authority": {
			func(o *broker.Options) { o.Client.TLS.CA = o.Peer.TLS.CA }, []string{"client.ca: ", "is the peer authority"},
		},
		"another second authority": {
			func(o *broker.Options) { o.Client.TLS.OperatorCA = o.Peer.TLS.CA }, []string{"operator.ca: "},
		},
		"no authority": {
			func(o *broker.Options) { o.Peer.TLS.CA = o.Peer.TLS.Cert }, []string{"peer.ca: "},
		},
		"two": {
			func(o *broker.Options) { o.Client.TLS, o.Peer.TLS = other.Client.TLS, other.Peer.TLS },
			[]string{"client.cert: ", "peer.cert: "},
		},
		"root key": {func(o *broker.Options) { o.RootKey = short }, []string{"root key ", "32 bytes"}},
	} {
		o := good
		c.change(&o)
		checked := o.Check()
		b, opened := broker.Open(o)
		if opened == nil {
			b.Close()
		}
		for _, err := range []error{checked, opened} {
			for _, want := range c.want {
				if err == nil || !strings.Contains(err.Error(), want) {
					t.Errorf("%s: %v, not %q", name, err, want)
				}
			}
		}
	}
}

// TestInUse: whether a node runs can be asked from outside, and a second one on its directory is told.
func TestInUse(t *testing.T) {
	t.Parallel()
	c := startCluster(t, 1, 1, nil)
	o := c.nodes["n1"]
	if !broker.InUse(o.DataDir) {
		t.Error("the directory of a running node is not in use")
	}
	o.Client.Address, o.Peer.Address = "127.0.0.1:0", "127.0.0.1:0"
	if _, err := broker.Open(o); !errors.Is(err, broker.ErrInUse) {
		t.Errorf("a second node: %v", err)
	}
	c.kill("n1")
	if broker.InUse(o.DataDir) || broker.InUse(t.TempDir()) {
		t.Error("a directory that nobody uses is in use")
	}
}
