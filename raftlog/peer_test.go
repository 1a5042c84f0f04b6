package raftlog

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/raft"
)

// rawConn is a connection to a host that a test drives byte by byte.
type rawConn struct {
	*conn
	buf [smallFrameBytes]byte
}

func (c *testNet) dialRaw(from, to string) *rawConn {
	c.t.Helper()
	n, err := c.net.dialer(from)(context.Background(), to, to+":1")
	must(c.t, err)
	return &rawConn{conn: newConn(n)}
}

// greet says hello and returns what comes back.
func (r *rawConn) greet(h hello) (welcome, error) {
	b := appendHello(nil, h)
	front := append(appendHead(nil, head{typ: frameHello, size: len(b)}), b...)
	if err := r.send(nil, nil, front, nil); err != nil {
		return welcome{}, err
	}
	_, b, err := r.readSmall(&r.buf)
	if err != nil {
		return welcome{}, err
	}
	return parseWelcome(b)
}

func helloOf(from, to string, ch channel) hello {
	return hello{
		minVersion: 1, maxVersion: 1, channel: ch, cluster: testCluster, process: [16]byte{77}, from: from, to: to,
	}
}

// rawConn returns a connection that has been welcomed.
func (c *testNet) rawConn(from, to string, ch channel) *rawConn {
	c.t.Helper()
	r := c.dialRaw(from, to)
	w, err := r.greet(helloOf(from, to, ch))
	must(c.t, err)
	must(c.t, w.refusal.err())
	return r
}

// expectClosed sends a frame and expects the other end to hang up without an answer.
func (r *rawConn) expectClosed(t *testing.T, h head, payload []byte) {
	t.Helper()
	start := time.Now()
	r.send(nil, nil, append(appendHead(nil, h), payload...), nil)
	if f, _, err := r.readSmall(&r.buf); err == nil {
		t.Errorf("frame of type %d was answered with type %d", h.typ, f.typ)
	}
	if time.Since(start) > 0 {
		t.Errorf("frame of type %d: hung up after %v only", h.typ, time.Since(start))
	}
	r.close(errClosed)
}

// A path on which nothing moves any more, and nobody is told, is noticed and replaced.
func TestFrozenPeerIsNoticed(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		c := newTestNet(t, 0)
		c.start("n1", "n2")
		defer c.stop("n1", "n2")
		reachable := func() bool {
			return c.nodes["n1"].host.Reachable("n2") && c.nodes["n2"].host.Reachable("n1")
		}
		c.until("connection", reachable)
		c.net.freeze("n1", "n2")
		time.Sleep(2 * testTimeout)
		if c.nodes["n1"].host.Reachable("n2") || c.nodes["n2"].host.Reachable("n1") {
			t.Error("a frozen peer counts as reachable")
		}
		c.net.heal()
		start := time.Now()
		c.until("connection", reachable)
		if time.Since(start) > handshakeTimeout+testTimeout {
			t.Errorf("connected again after %v", time.Since(start))
		}
	})
}

// A node that comes back is dialled at once, not after what is left of a pause.
func TestReturningPeerIsDialledAtOnce(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		c := newTestNet(t, 0)
		c.start("n1")
		time.Sleep(20 * testTimeout)
		c.start("n2")
		defer c.stop("n1", "n2")
		synctest.Wait()
		if !c.nodes["n1"].host.Reachable("n2") || !c.nodes["n2"].host.Reachable("n1") {
			t.Error("not connected without a pause")
		}
	})
}

// A node that joined a group later may connect though Options do not name it.
func TestNodesOfAConfigurationMayConnect(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		c := newTestNet(t, 0)
		c.start(testNodes...)
		defer c.stop(testNodes...)
		lead := c.leader(0)
		must(t, lead.groups[0].raft.AddNonvoter("n4", "n4:1", 0, 0).Error())
		c.propose(0, "after")
		c.agree(0)
		follower := c.others(lead.name)[0]
		c.rawConn("n4", follower, channelControl).close(errClosed)
	})
}

// When a host loses power nobody closes its connections. Its next process is let in as soon as the silence of the
// control connection is noticed, not when the bulk connection's is, which may be silent for longer.
func TestRestartAfterPowerLossIsLetIn(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		c := newTestNet(t, 0)
		c.start("n1", "n2")
		defer c.stop("n1", "n2")
		reachable := func() bool {
			return c.nodes["n1"].host.Reachable("n2") && c.nodes["n2"].host.Reachable("n1")
		}
		c.until("connection", reachable)
		c.net.lose("n2")
		c.stop("n2")
		start := time.Now()
		c.start("n2")
		c.until("connection", reachable)
		if took := time.Since(start); took > 3*testTimeout {
			t.Errorf("the next process was kept out for %v", took)
		}
	})
}

// One frozen follower costs the others nothing.
func TestSlowPeerDoesNotBlockOthers(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		c := newTestNet(t, 0)
		c.prefer = map[uint16]string{0: "n1"}
		c.start(testNodes...)
		defer c.stop(testNodes...)
		c.propose(0, "first")
		lead := c.leader(0)
		slow := c.others(lead.name)[0]
		c.net.freeze(slow, c.others(slow)...)
		big := make([]byte, 1<<20)
		start := time.Now()
		for range 30 {
			if _, _, _, err := lead.groups[0].Propose(big).Wait(context.Background()); err != nil {
				t.Fatal(err)
			}
		}
		if took := time.Since(start); took > testTimeout {
			t.Errorf("30 entries took %v beside a frozen follower", took)
		}
		c.net.heal()
		if got := c.agree(0); len(got) != 31 {
			t.Errorf("%d entries", len(got))
		}
	})
}

// The links of idle nodes stay up: pings keep them.
func TestIdleLinksStayUp(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		c, n1, n2 := barePair(t)
		defer n1.host.Close()
		defer n2.host.Close()
		link := func(ch channel) *conn {
			live, _ := n1.host.peerAt("n2", "n2:1").link(ch).current()
			return live
		}
		c.until("links", func() bool { return link(channelControl) != nil && link(channelBulk) != nil })
		control, bulk := link(channelControl), link(channelBulk)
		time.Sleep(100 * testTimeout)
		synctest.Wait()
		if link(channelControl) != control || link(channelBulk) != bulk {
			t.Error("an idle connection was replaced")
		}
	})
}

// Raft gives an address with every call; a member's comes from Options.
func TestAddressesComeFromOptions(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		_, n1, n2 := barePair(t)
		defer n1.host.Close()
		defer n2.host.Close()
		go n2.reply(func(any) (any, error) { return &raft.AppendEntriesResponse{Success: true}, nil })
		var resp raft.AppendEntriesResponse
		must(t, n1.AppendEntries("n2", "an old address", &raft.AppendEntriesRequest{Term: 5}, &resp))
		if p := n1.host.peerAt("n2", "an old address"); p.addressNow() != "n2:1" {
			t.Errorf("dials %s", p.addressNow())
		}
	})
}
