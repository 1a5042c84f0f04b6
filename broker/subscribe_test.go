package broker_test

import (
	"slices"
	"testing"

	"github.com/sealmq/sealmq/wire"
)

// next returns the next delivery with items of a subscription.
func (c *testConn) next(request uint32) *wire.Deliver {
	c.t.Helper()
	for {
		if d := expect[*wire.Deliver](c.t, c.answer(request)); len(d.Items) > 0 {
			return d
		}
	}
}

// take returns the numbers of the next n messages of a subscription.
func (c *testConn) take(request uint32, n int) (all []uint64) {
	c.t.Helper()
	for len(all) < n {
		all = append(all, seqs(c.next(request))...)
	}
	return all
}

func TestCreditBoundsDeliveries(t *testing.T) {
	c := common.get(t)
	box := c.owned(t, "credit", "credit.box")
	conn := c.leading(t, "credit", "credit.box")
	newSender(box).put(conn, 20)
	m := subscribe(box)
	m.CreditMessages = 3
	sub := conn.request(m)
	if got := conn.take(sub, 3); !slices.Equal(got, []uint64{1, 2, 3}) {
		t.Fatalf("with credit for three came %v", got)
	}
	conn.send(sub, &wire.Credit{Messages: 2, EpochHigh: 100})
	if got := conn.take(sub, 2); !slices.Equal(got, []uint64{4, 5}) {
		t.Fatalf("with credit for two more came %v", got)
	}
	conn.call(&wire.Ping{})
	if len(conn.early) != 0 {
		t.Errorf("without credit came %+v", conn.early)
	}
	conn.send(sub, &wire.Unsubscribe{})
	if end := expect[*wire.SubscriptionEnd](t, conn.answer(sub)); end.Code != wire.CodeOK {
		t.Errorf("ended with %v", end.Code)
	}

	// By bytes: it may go below zero, and nothing comes until it is above again.
	m = subscribe(box)
	m.CreditBytes = 150
	sub = conn.request(m)
	if got := conn.take(sub, 2); !slices.Equal(got, []uint64{6, 7}) {
		t.Fatalf("with credit for 150 bytes came %v", got)
	}
	conn.send(sub, &wire.Credit{Bytes: 50, EpochHigh: 100}) // it was at -50
	conn.send(sub, &wire.Credit{Messages: 10, EpochHigh: 100})
	conn.call(&wire.Ping{})
	if len(conn.early) != 0 {
		t.Errorf("at zero came %+v", conn.early)
	}
	conn.send(sub, &wire.Credit{Bytes: 1, EpochHigh: 100})
	if got := conn.take(sub, 1); !slices.Equal(got, []uint64{8}) {
		t.Errorf("with one byte came %v", got)
	}
}

// TestNothingFollowsTheEnd: the end of a subscription is its last frame, and what was leased when it came is free.
func TestNothingFollowsTheEnd(t *testing.T) {
	c := common.get(t)
	box := c.owned(t, "last", "last.box")
	conn, sending := c.leading(t, "last", "last.box"), c.leading(t, "last", "last.box")
	s := newSender(box)
	delivered := map[uint64]bool{}
	for range 50 {
		sub := conn.request(subscribe(box))
		request := sending.request(s.batch(sealed(50), sealed(50)))
		conn.send(sub, &wire.Unsubscribe{})
		for {
			m := conn.answer(sub)
			if end, ok := m.(*wire.SubscriptionEnd); ok {
				if end.Code != wire.CodeOK {
					t.Fatalf("ended with %v", end.Code)
				}
				break
			}
			d := expect[*wire.Deliver](t, m)
			for _, seq := range seqs(d) {
				delivered[seq] = true
			}
			if len(d.Items) > 0 {
				conn.call(ack(d, seqs(d)...))
			}
		}
		sending.answer(request)
	}
	conn.call(&wire.Ping{})
	if len(conn.early) != 0 {
		t.Errorf("after the end came %+v", conn.early)
	}
	for len(delivered) < 100 {
		m := pull(box)
		m.WaitMillis = 10_000
		d := expect[*wire.Deliver](t, conn.call(m))
		if len(d.Items) == 0 {
			t.Fatalf("%d of 100 messages came, the others are stuck", len(delivered))
		}
		for _, seq := range seqs(d) {
			delivered[seq] = true
		}
		conn.call(ack(d, seqs(d)...))
	}
}

func TestSubscriptionEndsWithItsMailbox(t *testing.T) {
	c := common.get(t)
	box := c.owned(t, "deleted", "deleted.box")
	conn := c.leading(t, "deleted", "deleted.box")
	sub := conn.request(subscribe(box))
	waiting := pull(box)
	waiting.WaitMillis = 60_000
	request := conn.request(waiting)
	expect[*wire.Done](t, conn.call(&wire.MailboxDelete{Name: "deleted.box", ID: box.ID}))
	if end := expect[*wire.SubscriptionEnd](t, conn.answer(sub)); end.Code != wire.CodeMailboxGone {
		t.Errorf("the subscription ended with %v", end.Code)
	}
	refused(t, conn.answer(request), wire.CodeMailboxGone)
	refused(t, conn.call(newSender(box).batch(sealed(50))), wire.CodeMailboxGone)
	refused(t, conn.call(&wire.Resolve{Name: "deleted.box"}), wire.CodeNotFound)

	// Made anew under the same name and id it has another secret, and works.
	conn.call(&wire.MailboxCreate{Items: []wire.MailboxNew{{Name: "deleted.box", ID: box.ID}}})
	s := newSender(box)
	s.put(conn, 1)
	d := expect[*wire.Deliver](t, conn.call(pull(box)))
	if len(d.Items) != 1 || string(d.Sessions[0].Init) != string(s.init) {
		t.Errorf("of the mailbox made anew came %v", d)
	}
}

// TestNoKey: who lacks a key is not given its epoch again on that connection; others are, and other epochs go on.
func TestNoKey(t *testing.T) {
	c := common.get(t)
	box := c.owned(t, "nokey", "nokey.box")
	conn, other := c.leading(t, "nokey", "nokey.box"), c.leading(t, "nokey", "nokey.box")
	s := newSender(box)
	for epoch := uint32(1); epoch <= 3; epoch++ {
		s.epoch = epoch
		s.put(conn, 2) // 1 2 of epoch 1, 3 4 of epoch 2, 5 6 of epoch 3
	}
	m := subscribe(box)
	m.EpochLow, m.EpochHigh, m.CreditMessages = 1, 3, 6
	sub := conn.request(m)
	first := conn.next(sub)
	for len(first.Items) < 6 {
		t.Fatalf("came %v", seqs(first))
	}
	if got := codes(t, conn.call(nack(first, wire.NackNoKey, 3, 4))); !slices.Equal(got, []wire.Code{0, 0}) {
		t.Fatalf("nack: %v", got)
	}
	conn.call(ack(first, 1, 2, 5, 6))
	conn.send(sub, &wire.Credit{Messages: 100, EpochLow: 1, EpochHigh: 3})
	for epoch := uint32(3); epoch >= 1; epoch-- {
		s.epoch = epoch
		s.put(conn, 1) // 7 of epoch 3, 8 of epoch 2, 9 of epoch 1
	}
	if got := conn.take(sub, 2); !slices.Contains(got, 7) || !slices.Contains(got, 9) || len(got) != 2 {
		t.Errorf("the subscription went on with %v", got)
	}
	if d := expect[*wire.Deliver](t, conn.call(pull(box))); len(d.Items) != 0 {
		t.Errorf("a pull on the same connection got %v", seqs(d))
	}
	if d := expect[*wire.Deliver](t, other.call(pull(box))); !slices.Equal(seqs(d), []uint64{3, 4, 8}) {
		t.Errorf("another connection got %v", seqs(d))
	}
}

// TestReceiverComesBack: who lost a connection gets what it holds again at once, under the same lease, and then the
// rest.
func TestReceiverComesBack(t *testing.T) {
	c := common.get(t)
	box := c.owned(t, "back", "back.box")
	conn := c.leading(t, "back", "back.box")
	s := newSender(box)
	s.put(conn, 5)
	m := subscribe(box)
	m.CreditMessages = 4
	d := conn.next(conn.request(m))
	if len(d.Items) != 4 {
		t.Fatalf("came %v", seqs(d))
	}
	conn.call(ack(d, 2))
	// On the same connection the client knows what it has.
	m.CreditMessages = 1
	if got := conn.take(conn.request(m), 1); !slices.Equal(got, []uint64{5}) {
		t.Errorf("a second subscription got %v", got)
	}
	s.put(conn, 3)

	// The node may not know yet that the first connection is gone.
	again := c.leading(t, "back", "back.box")
	m.CreditMessages = 2
	sub := again.request(m)
	got := again.next(sub)
	if !slices.Equal(seqs(got), []uint64{1, 3}) || got.Lease != d.Lease || !slices.Equal(attempts(got), []uint32{1,
		1}) {
		t.Errorf("came back: %v under %x, attempts %v", seqs(got), got.Lease, attempts(got))
	}
	again.send(sub, &wire.Credit{Messages: 100, EpochHigh: 100})
	if got := again.take(sub, 5); !slices.Equal(got, []uint64{4, 5, 6, 7, 8}) {
		t.Errorf("with more credit came %v", got)
	}
	if got := codes(t, again.call(ack(d, 1, 3, 4))); !slices.Equal(got, []wire.Code{0, 0, 0}) {
		t.Errorf("the lease does not hold any more: %v", got)
	}
	// Another receiver of the principal gets nothing of it, nor does one without the key.
	if d := expect[*wire.Deliver](t, again.call(pull(box))); len(d.Items) != 0 {
		t.Errorf("another receiver got %v", seqs(d))
	}
	m.EpochLow = 2
	other := c.leading(t, "back", "back.box")
	sub = other.request(m)
	other.call(&wire.Ping{})
	other.send(sub, &wire.Unsubscribe{})
	if end := expect[*wire.SubscriptionEnd](t, other.answer(sub)); end.Code != wire.CodeOK {
		t.Errorf("without the key: %v", end.Code)
	}
}

func TestManySubscriptionsShare(t *testing.T) {
	c := common.get(t)
	box := c.owned(t, "share", "share.box")
	conn := c.leading(t, "share", "share.box")
	var subs []uint32
	for range 10 {
		m := subscribe(box)
		m.CreditMessages = 10
		subs = append(subs, conn.request(m))
	}
	s := newSender(box)
	var asked []uint32
	for range 10 {
		var bodies [][]byte
		for range 10 {
			bodies = append(bodies, sealed(50))
		}
		asked = append(asked, conn.request(s.batch(bodies...)))
	}
	for _, request := range asked {
		results(t, conn.answer(request), wire.CodeOK)
	}
	var all []uint64
	for _, sub := range subs {
		all = append(all, conn.take(sub, 10)...)
	}
	slices.Sort(all)
	for i, seq := range all {
		if seq != uint64(i+1) {
			t.Fatalf("the %dth message has number %d", i+1, seq)
		}
	}
}
