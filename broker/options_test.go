package broker_test

import (
	"crypto/tls"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/sealmq/sealmq/broker"
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
