package broker_test

import (
	"bytes"
	"slices"
	"testing"
	"time"

	"github.com/sealmq/sealmq/wire"
)

func nack(d *wire.Deliver, code wire.NackCode, all ...uint64) *wire.Nack {
	return &wire.Nack{Mailbox: d.Mailbox, Lease: d.Lease, Seqs: ranges(all...), Code: code}
}

func attempts(d *wire.Deliver) (all []uint32) {
	for i := range d.Items {
		all = append(all, d.Items[i].Attempts)
	}
	return all
}

func TestNackBringsMessagesBackInOrder(t *testing.T) {
	c := common.get(t)
	box := c.owned(t, "nacker", "nack.box")
	conn := c.leading(t, "nacker", "nack.box")
	newSender(box).put(conn, 6)
	first := expect[*wire.Deliver](t, conn.call(pull(box)))
	for code, seq := range map[wire.NackCode]uint64{
		wire.NackRetry: 1, wire.NackRelease: 2, wire.NackReject: 3, wire.NackNoSession: 4, wire.NackBadSeal: 6,
	} {
		if got := codes(t, conn.call(nack(first, code, seq))); !slices.Equal(got, []wire.Code{wire.CodeOK}) {
			t.Fatalf("nack %v: %v", code, got)
		}
	}
	d := expect[*wire.Deliver](t, conn.call(pull(box)))
	// What was released was never looked at and does not count; what does not open is dead.
	if !slices.Equal(seqs(d), []uint64{1, 2, 3, 4}) || !slices.Equal(attempts(d), []uint32{2, 1, 2, 2}) {
		t.Errorf("came back: %v, attempts %v", seqs(d), attempts(d))
	}
	// The lease before is superseded where the message was given again, and holds where it was not.
	if got := codes(t, conn.call(ack(first, 1, 5))); !slices.Equal(got, []wire.Code{wire.CodeLeaseLost, wire.CodeOK}) {
		t.Errorf("ack under the first lease: %v", got)
	}
	if got := codes(t, conn.call(ack(d, 1, 1+1, 3, 4))); !slices.Equal(got, []wire.Code{0, 0, 0, 0}) {
		t.Errorf("ack under the second: %v", got)
	}
	// Acking again is fine, also what another lease could not.
	if got := codes(t, conn.call(ack(d, 1))); !slices.Equal(got, []wire.Code{wire.CodeOK}) {
		t.Errorf("ack again: %v", got)
	}
	info := expect[*wire.MailboxInfo](t, conn.call(&wire.MailboxShow{Name: "nack.box"}))
	if info.Dead != 1 || info.Ready != 0 || info.Leased != 0 {
		t.Errorf("in the end: %+v", info)
	}
}

func TestNackAfterADelay(t *testing.T) {
	t.Parallel()
	c := common.get(t)
	box := c.owned(t, "later", "later.box")
	conn := c.leading(t, "later", "later.box")
	newSender(box).put(conn, 1)
	for _, code := range []wire.NackCode{wire.NackRetryAfter, wire.NackReject} {
		d := expect[*wire.Deliver](t, conn.call(pull(box)))
		m := nack(d, code, 1)
		m.DelayMillis = 400
		conn.call(m)
		if d := expect[*wire.Deliver](t, conn.call(pull(box))); len(d.Items) != 0 {
			t.Fatalf("%v: came at once: %v", code, seqs(d))
		}
		waiting := pull(box)
		waiting.WaitMillis = 20_000
		d = expect[*wire.Deliver](t, conn.call(waiting))
		if !slices.Equal(seqs(d), []uint64{1}) {
			t.Errorf("%v: after the delay came %v", code, seqs(d))
		}
		conn.call(nack(d, wire.NackRelease, 1))
	}
}

func TestLeaseRunsOut(t *testing.T) {
	t.Parallel()
	c := common.get(t)
	box := c.owned(t, "expire", "expire.box")
	conn := c.leading(t, "expire", "expire.box")
	newSender(box).put(conn, 3)
	first := pull(box)
	first.LeaseMillis = 1000
	d := expect[*wire.Deliver](t, conn.call(first))
	if len(d.Items) != 3 || d.LeaseMillis > 1000 {
		t.Fatalf("leased %v for %d ms", seqs(d), d.LeaseMillis)
	}
	extended := expect[*wire.LeaseReply](t, conn.call(&wire.Extend{Mailbox: box, Lease: d.Lease, Seqs: ranges(2),
		LeaseMillis: 60_000}))
	if extended.LeaseMillis < 59_000 || extended.LeaseMillis > 60_000 {
		t.Errorf("extended to %d ms", extended.LeaseMillis)
	}
	waiting := pull(box)
	waiting.WaitMillis = 20_000
	again := expect[*wire.Deliver](t, conn.call(waiting))
	if !slices.Equal(seqs(again), []uint64{1, 3}) || !slices.Equal(attempts(again), []uint32{2, 2}) {
		t.Errorf("came again: %v, attempts %v", seqs(again), attempts(again))
	}
	if got := codes(t, conn.call(ack(d, 1, 2, 3))); !slices.Equal(got, []wire.Code{wire.CodeLeaseLost, wire.CodeOK,
		wire.CodeLeaseLost}) {
		t.Errorf("ack under the old lease: %v", got)
	}
}

func TestLeaseBelongsToItsPrincipal(t *testing.T) {
	c := common.get(t)
	box := c.owned(t, "holder", "holder.box")
	c.grant(t, "thief", wire.ActionReceive|wire.ActionAck, "holder.box")
	conn, thief := c.leading(t, "holder", "holder.box"), c.leading(t, "thief", "holder.box")
	newSender(box).put(conn, 1)
	d := expect[*wire.Deliver](t, conn.call(pull(box)))
	for _, m := range []wire.Message{
		ack(d, 1), nack(d, wire.NackBadSeal, 1), &wire.Extend{Mailbox: box, Lease: d.Lease, Seqs: ranges(1)},
	} {
		if got := codes(t, thief.call(m)); !slices.Equal(got, []wire.Code{wire.CodeLeaseLost}) {
			t.Errorf("%v of another's lease: %v", m.Type(), got)
		}
	}
	// The holder may on any connection.
	if got := codes(t, c.leading(t, "holder", "holder.box").call(ack(d, 1))); !slices.Equal(got,
		[]wire.Code{wire.CodeOK}) {
		t.Errorf("on another connection: %v", got)
	}
	// What never was, or was never leased, is lost.
	if got := codes(t, conn.call(&wire.Ack{Mailbox: box, Lease: d.Lease, Seqs: ranges(7, 1<<40)})); !slices.Equal(got,
		[]wire.Code{wire.CodeLeaseLost, wire.CodeLeaseLost}) {
		t.Errorf("ack of what is not there: %v", got)
	}
}

func TestPullAgainUnderTheSameAttempt(t *testing.T) {
	c := common.get(t)
	box := c.owned(t, "attempt", "attempt.box")
	conn := c.leading(t, "attempt", "attempt.box")
	newSender(box).put(conn, 3)
	m := pull(box)
	m.MaxMessages = 2
	first := expect[*wire.Deliver](t, conn.call(m))
	again := expect[*wire.Deliver](t, c.leading(t, "attempt", "attempt.box").call(m))
	if again.Lease != first.Lease || !slices.Equal(seqs(again), []uint64{1, 2}) || !slices.Equal(attempts(again),
		[]uint32{1, 1}) {
		t.Errorf("again: lease %x %v, first %x %v", again.Lease, seqs(again), first.Lease, seqs(first))
	}
	m.Attempt = random16()
	if other := expect[*wire.Deliver](t, conn.call(m)); !slices.Equal(seqs(other), []uint64{3}) {
		t.Errorf("another attempt: %v", seqs(other))
	}
}

func TestPullWaits(t *testing.T) {
	t.Parallel()
	c := common.get(t)
	box := c.owned(t, "waits", "waits.box")
	conn, sending := c.leading(t, "waits", "waits.box"), c.leading(t, "waits", "waits.box")
	m := pull(box)
	m.WaitMillis = 100
	began := time.Now()
	if d := expect[*wire.Deliver](t, conn.call(m)); len(d.Items) != 0 || d.Mailbox != box {
		t.Errorf("of an empty mailbox came %+v", d)
	}
	if waited := time.Since(began); waited < 100*time.Millisecond {
		t.Errorf("it waited %v", waited)
	}
	// Of several that wait each gets a message, with one commit for all of it.
	var waiting []uint32
	for range 5 {
		one := pull(box)
		one.WaitMillis, one.MaxMessages = 60_000, 1
		waiting = append(waiting, conn.request(one))
	}
	conn.call(&wire.Ping{}) // they are in line
	newSender(box).put(sending, 5)
	var got []uint64
	for _, request := range waiting {
		got = append(got, seqs(expect[*wire.Deliver](t, conn.answer(request)))...)
	}
	slices.Sort(got)
	if !slices.Equal(got, []uint64{1, 2, 3, 4, 5}) {
		t.Errorf("five pulls got %v", got)
	}
}

// TestWakeGoesOn: a receiver that was offered a message and cannot take it leaves it to the others, at once.
func TestWakeGoesOn(t *testing.T) {
	t.Parallel()
	c := common.get(t)
	box := c.owned(t, "goeson", "goeson.box")
	conn, sending := c.leading(t, "goeson", "goeson.box"), c.leading(t, "goeson", "goeson.box")
	s := newSender(box)
	for range 10 {
		for range 3 {
			other := pull(box)
			other.WaitMillis, other.EpochLow, other.EpochHigh = 60_000, 7, 7
			conn.request(other)
		}
		right := pull(box)
		right.WaitMillis, right.EpochLow, right.EpochHigh = 60_000, 1, 1
		request := conn.request(right)
		conn.call(&wire.Ping{})
		s.put(sending, 1)
		if d := expect[*wire.Deliver](t, conn.answer(request)); len(d.Items) != 1 {
			t.Fatalf("got %v", seqs(d))
		}
	}
	// Also when the connection of the one that was offered it has ended meanwhile.
	for range 10 {
		leaving := c.leading(t, "goeson", "goeson.box")
		one := pull(box)
		one.WaitMillis = 60_000
		leaving.request(one)
		leaving.call(&wire.Ping{})
		leaving.write(wire.AppendFrame(nil, 99, s.batch(sealed(50))))
		leaving.close()
		two := pull(box)
		two.WaitMillis = 5000
		if d := expect[*wire.Deliver](t, conn.call(two)); len(d.Items) != 1 && len(d.Items) != 2 {
			t.Fatalf("a message went with a connection that ended: %v", seqs(d))
		} else {
			conn.call(ack(d, seqs(d)...))
		}
	}
}

// TestPullIsAnsweredByOneFrame: what does not fit it is left to others.
func TestPullIsAnsweredByOneFrame(t *testing.T) {
	c := common.get(t)
	box := c.owned(t, "frames", "frames.box")
	c.grant(t, "frames2", wire.ActionSend, "frames.box")
	conn := c.leading(t, "frames", "frames.box")
	for _, who := range []string{"frames", "frames2"} {
		sending := c.leading(t, who, "frames.box")
		for range 50 {
			newSender(box).put(sending, 1)
		}
	}
	d := expect[*wire.Deliver](t, conn.call(pull(box)))
	if len(d.Items) != 64 || len(d.Sessions) != 64 {
		t.Fatalf("the first pull brought %d messages of %d sessions", len(d.Items), len(d.Sessions))
	}
	rest := pull(box)
	rest.WaitMillis = 20_000
	more := expect[*wire.Deliver](t, conn.call(rest))
	if len(more.Items) != 36 || more.Items[0].Seq != 65 || more.Items[0].Attempts != 1 {
		t.Errorf("the rest: %d messages from %d on, attempt %d", len(more.Items), more.Items[0].Seq,
			more.Items[0].Attempts)
	}
	if _, err := conn.tls.Write(wire.AppendFrame(nil, 1000, &wire.Ping{})); err != nil {
		t.Fatal(err)
	}
	if _, ok := conn.answer(1000).(*wire.Pong); !ok || len(conn.early) != 0 {
		t.Errorf("a pull was answered more than once: %v", conn.early)
	}
}

func TestLargestMessage(t *testing.T) {
	t.Parallel()
	c := common.get(t)
	box := c.owned(t, "large", "large.box")
	conn := c.leading(t, "large", "large.box")
	s := newSender(box)
	s.init = append(s.init, sealed(wire.SessionInitBytes-len(s.init))...)
	s.session = wire.SessionID(box.ID, s.init)
	body := sealed(wire.SealedBytes)
	results(t, conn.call(s.batch(body)), wire.CodeOK)
	s.put(conn, 1)
	m := pull(box)
	m.MaxBytes = 1 // one message comes, however large
	d := expect[*wire.Deliver](t, conn.call(m))
	if len(d.Items) != 1 || !bytes.Equal(d.Items[0].Sealed, body) || !bytes.Equal(d.Sessions[0].Init, s.init) {
		t.Fatalf("came %d messages", len(d.Items))
	}
	if d := expect[*wire.Deliver](t, conn.call(pull(box))); len(d.Items) != 1 || len(d.Sessions[0].Init) != 0 {
		t.Errorf("then %d messages; the header again: %v", len(d.Items), len(d.Sessions[0].Init) != 0)
	}
}

func TestHeadersAreBroughtOnceAndAgainWhenMissing(t *testing.T) {
	c := common.get(t)
	box := c.owned(t, "headers", "headers.box")
	conn := c.leading(t, "headers", "headers.box")
	s := newSender(box)
	header := func(conn *testConn) []byte {
		t.Helper()
		d := expect[*wire.Deliver](t, conn.call(pull(box)))
		if len(d.Items) != 1 {
			t.Fatalf("came %v", seqs(d))
		}
		init := d.Sessions[0].Init
		conn.call(nack(d, wire.NackRelease, seqs(d)...))
		return init
	}
	s.put(conn, 1)
	if !bytes.Equal(header(conn), s.init) || len(header(conn)) != 0 || len(header(conn)) != 0 {
		t.Error("the header is not brought the first time, and then only")
	}
	if !bytes.Equal(header(c.leading(t, "headers", "headers.box")), s.init) {
		t.Error("another connection is not brought the header")
	}
	d := expect[*wire.Deliver](t, conn.call(pull(box)))
	conn.call(nack(d, wire.NackNoSession, 1))
	if !bytes.Equal(header(conn), s.init) {
		t.Error("the header is not brought again to who says that it is missing")
	}
}
