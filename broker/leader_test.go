package broker_test

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sealmq/sealmq/wire"
)

// ledger is what a sender of counted messages knows.
type ledger struct {
	acked map[uint64]uint64 // number by counter
}

// stream sends messages one after the other until stop, through whatever happens, repeating each until it has an
// answer. It checks that every refusal says what it must.
func (c *cluster) stream(t testing.TB, principal, mailbox string, s *sender, stop *atomic.Bool) *ledger {
	l := &ledger{acked: map[uint64]uint64{}}
	var conn *testConn
	for !stop.Load() {
		m := s.batch(sealed(200))
		for stuck := time.Now().Add(patience); ; {
			if time.Now().After(stuck) {
				t.Error("a message cannot be sent any more")
				return l
			}
			if conn == nil {
				conn = c.tryLeading(principal, c.groupOf(mailbox))
				if conn == nil {
					time.Sleep(5 * time.Millisecond)
					continue
				}
			}
			answer, err := conn.tryCall(m)
			if err != nil {
				conn.close()
				conn = nil
				continue
			}
			if reply, ok := answer.(*wire.SendReply); ok && reply.Runs[0].Code == wire.CodeOK {
				l.acked[s.counter] = reply.Runs[0].Seq
				break
			}
			f, ok := answer.(*wire.Failure)
			if !ok || !f.Code.Retryable() {
				t.Errorf("a send was answered by %+v", answer)
				return l
			}
			conn.close()
			conn = nil
		}
	}
	if conn != nil {
		conn.close()
	}
	return l
}

// tryLeading connects to the leader of a group, nil if that does not work now.
func (c *cluster) tryLeading(principal string, group uint16) *testConn {
	for _, node := range c.up() {
		conn := c.tryDial(principal, node)
		if conn == nil {
			continue
		}
		m, _ := conn.tryCall(&wire.SlotMap{})
		if slots, ok := m.(*wire.SlotMapReply); ok { // a node that goes may refuse
			for _, l := range slots.Leaders {
				if l.Group == group && l.Node == node {
					return conn
				}
			}
		}
		conn.close()
	}
	return nil
}

// TestTransferInMidSend: leadership moves while messages flow. Each is stored once, and nothing acknowledged is lost.
func TestTransferInMidSend(t *testing.T) {
	c := startCluster(t, 3, 1, nil)
	box := c.owned(t, "mover", "move.box")
	var stop atomic.Bool
	var senders sync.WaitGroup
	ledgers := make([]*ledger, 4)
	for i := range ledgers {
		s := newSender(box)
		senders.Go(func() { ledgers[i] = c.stream(t, "mover", "move.box", s, &stop) })
	}
	group := c.groupOf("move.box")
	for range 3 {
		leader := c.leaderOf(t, group)
		// A node that is stopped hands its leaderships over first, and says so to its clients.
		if err := c.stop(leader); err != nil {
			t.Error(err)
		}
		eventually(t, "another leader", func() bool { return c.leaderOf(t, group) != leader })
		if err := c.start(leader); err != nil {
			t.Fatal(err)
		}
	}
	stop.Store(true)
	senders.Wait()
	c.checkAll(t, "mover", "move.box", box, ledgers)
}

// TestKillsInMidSend: the leader dies while messages flow, again and again.
func TestKillsInMidSend(t *testing.T) {
	c := startCluster(t, 3, 1, nil)
	box := c.owned(t, "killer", "kill.box")
	var stop atomic.Bool
	var senders sync.WaitGroup
	ledgers := make([]*ledger, 2)
	for i := range ledgers {
		s := newSender(box)
		senders.Go(func() { ledgers[i] = c.stream(t, "killer", "kill.box", s, &stop) })
	}
	group := c.groupOf("kill.box")
	for range 2 {
		leader := c.leaderOf(t, group)
		c.kill(leader)
		eventually(t, "another leader", func() bool { return c.leaderOf(t, group) != leader })
		if err := c.start(leader); err != nil {
			t.Fatal(err)
		}
	}
	stop.Store(true)
	senders.Wait()
	c.checkAll(t, "killer", "kill.box", box, ledgers)
}

// checkAll drains a mailbox: every acknowledged message is there once, under its number, in the order of its sender.
func (c *cluster) checkAll(t *testing.T, principal, mailbox string, box wire.MailboxRef, ledgers []*ledger) {
	t.Helper()
	conn := c.leading(t, principal, mailbox)
	bySeq := map[uint64][16]byte{}
	last := map[[8]byte]uint64{}
	for {
		m := pull(box)
		m.WaitMillis = 200
		d := retry[*wire.Deliver](t, conn, m)
		if len(d.Items) == 0 {
			break
		}
		for i := range d.Items {
			h := &d.Items[i].Header
			if _, twice := bySeq[d.Items[i].Seq]; twice {
				t.Errorf("number %d came twice", d.Items[i].Seq)
			}
			bySeq[d.Items[i].Seq] = h.ID
			if before := last[h.Producer()]; h.Counter() <= before {
				t.Errorf("counter %d of a producer came after %d", h.Counter(), before)
			}
			last[h.Producer()] = h.Counter()
		}
		conn.call(ack(d, seqs(d)...))
	}
	messages := 0
	for _, l := range ledgers {
		messages += len(l.acked)
		for counter, seq := range l.acked {
			if id, ok := bySeq[seq]; !ok || wire.CountedID([8]byte(id[:8]), counter) != id {
				t.Errorf("the message with counter %d, acknowledged as number %d, is lost", counter, seq)
			}
		}
	}
	if messages == 0 || messages != len(bySeq) {
		t.Errorf("%d messages were acknowledged, %d are there", messages, len(bySeq))
	}
	t.Logf("%d messages", messages)
}

// TestWaitersLearnOfANewLeader: what waits on a leader ends, with a hint, when it leads no more.
func TestWaitersLearnOfANewLeader(t *testing.T) {
	t.Parallel()
	c := startCluster(t, 3, 1, nil)
	box := c.owned(t, "waiter", "wait.box")
	group := c.groupOf("wait.box")
	conn := c.leading(t, "waiter", "wait.box")
	sub := conn.request(subscribe(box))
	waiting := pull(box)
	waiting.WaitMillis = 60_000
	pulling := conn.request(waiting)
	conn.call(&wire.Ping{})
	before := c.leaderOf(t, group)
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	ended := make(chan error, 1)
	b := c.take(before)
	go func() { ended <- b.Shutdown(ctx) }()
	end := expect[*wire.SubscriptionEnd](t, conn.answer(sub))
	f := expect[*wire.Failure](t, conn.answer(pulling))
	if end.Code != f.Code || end.Code != wire.CodeNotLeader && end.Code != wire.CodeShuttingDown {
		t.Errorf("ended with %v and %v", end.Code, f.Code)
	}
	if end.Code == wire.CodeNotLeader && (end.Leader.Node == before || f.Leader.Node == before) {
		t.Errorf("the hint is %+v", end.Leader)
	}
	goaway := false
	for {
		f, err := conn.read()
		if err != nil {
			if !isEnd(err) {
				t.Error(err)
			}
			break
		}
		if away, ok := f.message.(*wire.GoAway); ok {
			goaway = away.Code == wire.CodeShuttingDown
		}
	}
	for _, f := range conn.early {
		if away, ok := f.message.(*wire.GoAway); ok {
			goaway = away.Code == wire.CodeShuttingDown
		}
	}
	if !goaway {
		t.Error("the node went without a goaway")
	}
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

// TestLeaseRunsOutUnderANewLeader: a node that begins to lead knows of leases that are only in its memory so far.
func TestLeaseRunsOutUnderANewLeader(t *testing.T) {
	t.Parallel()
	c := startCluster(t, 3, 1, nil)
	box := c.owned(t, "heir", "heir.box")
	conn := c.leading(t, "heir", "heir.box")
	newSender(box).put(conn, 2)
	first := pull(box)
	first.LeaseMillis = 3_000
	if d := expect[*wire.Deliver](t, conn.call(first)); len(d.Items) != 2 {
		t.Fatalf("leased %v", seqs(d))
	}
	c.kill(c.leaderOf(t, c.groupOf("heir.box")))
	waiting := pull(box)
	waiting.WaitMillis = 20_000
	again := expect[*wire.Deliver](t, c.leading(t, "heir", "heir.box").call(waiting))
	if !slices.Equal(seqs(again), []uint64{1, 2}) || !slices.Equal(attempts(again), []uint32{2, 2}) {
		t.Errorf("came again: %v, attempts %v", seqs(again), attempts(again))
	}
}

// TestRestartOfAll: after all nodes died at once, what was acknowledged is there, and what was acked does not come
// again.
func TestRestartOfAll(t *testing.T) {
	c := startCluster(t, 3, 2, nil)
	boxes := map[string]wire.MailboxRef{}
	for i := range 4 {
		name := fmt.Sprintf("restart.b%d", i)
		boxes[name] = c.owned(t, "restarter", name)
	}
	held := map[string]*wire.Deliver{}
	for name, box := range boxes {
		conn := c.leading(t, "restarter", name)
		newSender(box).put(conn, 20)
		m := pull(box)
		m.MaxMessages, m.LeaseMillis = 10, 60_000
		d := expect[*wire.Deliver](t, conn.call(m))
		if got := codes(t, conn.call(ack(d, 1, 2, 3, 7))); !slices.Equal(got, []wire.Code{0, 0, 0, 0}) {
			t.Fatalf("ack: %v", got)
		}
		held[name] = d
		conn.close()
	}
	for _, how := range []func(){func() { c.kill() }, func() {
		if err := c.stop(); err != nil {
			t.Error(err)
		}
	}} {
		how()
		if err := c.start(c.names...); err != nil {
			t.Fatal(err)
		}
	}
	for name, box := range boxes {
		conn := c.leading(t, "restarter", name)
		d := retry[*wire.Deliver](t, conn, pull(box))
		if got := seqs(d); !slices.Equal(got, []uint64{11, 12, 13, 14, 15, 16, 17, 18, 19, 20}) {
			t.Errorf("%s: free messages are %v", name, got)
		}
		// The lease from before holds, and so do its acks.
		if got := codes(t, conn.call(ack(held[name], 1, 4, 5, 7))); !slices.Equal(got, []wire.Code{0, 0, 0, 0}) {
			t.Errorf("%s: ack under the lease from before: %v", name, got)
		}
		conn.call(nack(held[name], wire.NackRelease, 6, 8, 9, 10))
		if got := seqs(expect[*wire.Deliver](t, conn.call(pull(box)))); !slices.Equal(got, []uint64{6, 8, 9, 10}) {
			t.Errorf("%s: what was given back is %v", name, got)
		}
	}
	c.logs.errors(t)
}
