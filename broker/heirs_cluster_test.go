package broker_test

import (
	"runtime"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/sealmq/sealmq/wire"
)

// held stops who calls it once it was told to, until it is let go on.
type held struct {
	armed         atomic.Bool
	reached, goOn chan struct{}
}

func newHeld() *held { return &held{reached: make(chan struct{}), goOn: make(chan struct{})} }

// stop stops the first caller after it was armed.
func (h *held) stop() {
	if h.armed.CompareAndSwap(true, false) {
		h.reached <- struct{}{}
		<-h.goOn
	}
}

// awaitCall waits until something in this process is in a call of a function.
func awaitCall(t testing.TB, function string) {
	t.Helper()
	stacks := make([]byte, 1<<20)
	eventually(t, function+" to be called", func() bool {
		n := runtime.Stack(stacks, true)
		for n == len(stacks) {
			stacks = make([]byte, 2*len(stacks))
			n = runtime.Stack(stacks, true)
		}
		return strings.Contains(string(stacks[:n]), function)
	})
}

// awaitLeased waits until so many messages of a mailbox are leased.
func awaitLeased(t testing.TB, conn *testConn, mailbox string, n uint64) {
	t.Helper()
	eventually(t, "leases of "+mailbox, func() bool {
		return expect[*wire.MailboxInfo](t, conn.call(&wire.MailboxShow{Name: mailbox})).Leased == n
	})
}

// TestAckedMessagesAreNotBroughtAgain: a receiver that comes back without credit, because it is at work on all that it
// may hold, is done with it by the time it has credit.
func TestAckedMessagesAreNotBroughtAgain(t *testing.T) {
	c := common.get(t)
	box := c.owned(t, "busy", "busy.box")
	conn := c.leading(t, "busy", "busy.box")
	s := newSender(box)
	s.put(conn, 6)
	m := subscribe(box)
	m.CreditMessages = 6
	d := conn.next(conn.request(m))
	if len(d.Items) != 6 {
		t.Fatalf("came %v", seqs(d))
	}
	conn.close()

	conn = c.leading(t, "busy", "busy.box")
	m.CreditMessages = 0
	sub := conn.request(m)
	if got := codes(t, conn.call(ack(d, 1, 2, 3, 5, 6))); !slices.Equal(got, make([]wire.Code, 5)) {
		t.Fatalf("ack: %v", got)
	}
	extended := expect[*wire.LeaseReply](t, conn.call(&wire.Extend{Mailbox: box, Lease: d.Lease, Seqs: ranges(4),
		LeaseMillis: 600_000}))
	conn.send(sub, &wire.Credit{Messages: 6, EpochHigh: 100})
	again := conn.next(sub)
	if !slices.Equal(seqs(again), []uint64{4}) || again.Lease != d.Lease || again.LeaseMillis > extended.LeaseMillis ||
		again.LeaseMillis < extended.LeaseMillis/2 {
		t.Errorf("came again: %v for %d ms", seqs(again), again.LeaseMillis)
	}
	s.put(conn, 1)
	if got := conn.take(sub, 1); !slices.Equal(got, []uint64{7}) {
		t.Errorf("then came %v", got)
	}
}

// TestWhatIsAckedMeanwhileIsNotBroughtAgain: an ack that is answered while the message is on its way is known there.
func TestWhatIsAckedMeanwhileIsNotBroughtAgain(t *testing.T) {
	t.Parallel()
	c := startCluster(t, 1, 1, nil)
	h := newHeld()
	c.node("n1").OnHeaders(1, h.stop)
	box := c.owned(t, "meanwhile", "meanwhile.box")
	conn := c.dial(t, "n1", "meanwhile")
	newSender(box).put(conn, 4)
	m := subscribe(box)
	d := conn.next(conn.request(m))
	if len(d.Items) != 4 {
		t.Fatalf("came %v", seqs(d))
	}
	conn.close()

	conn = c.dial(t, "n1", "meanwhile")
	h.armed.Store(true)
	sub := conn.request(m)
	<-h.reached
	conn.call(ack(d, 2))
	close(h.goOn)
	again := conn.next(sub)
	if !slices.Equal(seqs(again), []uint64{1, 3, 4}) {
		t.Errorf("came again: %v", seqs(again))
	}
	if len(again.Sessions[0].Init) == 0 {
		t.Error("the header went with the delivery that was not sent")
	}
}

// TestOldConnectionTakesNothingBack: what waits for a connection that is about to end is brought to the connection on
// which the receiver has come back, and stays there.
func TestOldConnectionTakesNothingBack(t *testing.T) {
	t.Parallel()
	c := startCluster(t, 1, 1, nil)
	h := newHeld()
	node := c.node("n1")
	node.OnHeaders(1, h.stop)
	c.grant(t, "twice", wire.ActionManage, "twice.*")
	first, second, third := c.mailbox(t, "twice", "twice.1"), c.mailbox(t, "twice", "twice.2"),
		c.mailbox(t, "twice", "twice.3")
	looking, sending := c.dial(t, "n1", "operator/looker"), c.dial(t, "n1", "twice")
	old := c.dial(t, "n1", "twice")

	// The old connection is stuck with the first mailbox, and what it was given of the others waits behind that.
	h.armed.Store(true)
	old.request(subscribe(first))
	newSender(first).put(sending, 1)
	<-h.reached
	sub, one := subscribe(second), pull(third)
	sub.CreditMessages, one.WaitMillis = 3, 60_000
	old.request(sub)
	old.request(one)
	old.call(&wire.Ping{})
	newSender(second).put(sending, 3)
	newSender(third).put(sending, 3)
	awaitLeased(t, looking, "twice.2", 3)
	awaitLeased(t, looking, "twice.3", 3)

	back := c.dial(t, "n1", "twice")
	subscribed := back.next(back.request(sub))
	pulled := expect[*wire.Deliver](t, back.call(one))
	for _, d := range []*wire.Deliver{subscribed, pulled} {
		if !slices.Equal(seqs(d), []uint64{1, 2, 3}) {
			t.Errorf("came %v", seqs(d))
		}
	}
	before, _ := node.Connections("twice")
	old.close()
	eventually(t, "the old connection to end", func() bool {
		_, ending := node.Connections("twice")
		return ending == 1
	})
	close(h.goOn)
	eventually(t, "the old connection to be gone", func() bool {
		all, _ := node.Connections("twice")
		return all == before-1
	})
	for _, d := range []*wire.Deliver{subscribed, pulled} {
		if got := codes(t, back.call(ack(d, 1, 2, 3))); !slices.Equal(got, []wire.Code{0, 0, 0}) {
			t.Errorf("what was brought to the new connection: %v", got)
		}
	}
	// What nobody came back for is given back at once.
	if d := expect[*wire.Deliver](t, back.call(pull(first))); !slices.Equal(seqs(d), []uint64{1}) {
		t.Errorf("of the first mailbox came %v", seqs(d))
	}
}

// TestOldConnectionIsGivenNothing: a receiver that has come back elsewhere does not take messages where it was.
func TestOldConnectionIsGivenNothing(t *testing.T) {
	c := common.get(t)
	box := c.owned(t, "moved", "moved.box")
	old, back := c.leading(t, "moved", "moved.box"), c.leading(t, "moved", "moved.box")
	m := subscribe(box)
	before := old.request(m)
	old.call(&wire.Ping{})
	sub := back.request(m)
	back.call(&wire.Ping{})
	s := newSender(box)
	s.put(back, 3)
	if got := back.take(sub, 3); !slices.Equal(got, []uint64{1, 2, 3}) {
		t.Errorf("came %v", got)
	}
	if end := expect[*wire.SubscriptionEnd](t, old.answer(before)); end.Code != wire.CodeUnavailable {
		t.Errorf("the old one ended with %v", end.Code)
	}
}
