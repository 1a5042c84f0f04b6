package broker_test

import (
	"bytes"
	"slices"
	"testing"

	"github.com/sealmq/sealmq/wire"
)

func TestSendReceiveAck(t *testing.T) {
	c := common.get(t)
	box := c.owned(t, "sra", "sra.box")
	conn := c.leading(t, "sra", "sra.box")
	s := newSender(box)
	m := s.batch(sealed(28), sealed(1000), sealed(100_000))
	got := results(t, conn.call(m), wire.CodeOK)
	for i, r := range got {
		if r.Seq != uint64(i+1) || r.Duplicate {
			t.Errorf("item %d: %+v", i, r)
		}
	}
	d := expect[*wire.Deliver](t, conn.call(pull(box)))
	if !slices.Equal(seqs(d), []uint64{1, 2, 3}) || d.LeaseMillis == 0 || d.LeaseMillis > 30_000 {
		t.Fatalf("delivered %v for %d ms", seqs(d), d.LeaseMillis)
	}
	if !bytes.Equal(d.Sessions[0].Init, s.init) {
		t.Error("the session's header did not come along")
	}
	for i := range d.Items {
		want := wire.AppendClearHeader(nil, &m.Items[i].Header)
		if !bytes.Equal(wire.AppendClearHeader(nil, &d.Items[i].Header), want) || !bytes.Equal(d.Items[i].Sealed,
			m.Items[i].Sealed) {
			t.Errorf("item %d is not what was sent", i)
		}
		if d.Items[i].Attempts != 1 || d.Items[i].StoredMillis == 0 {
			t.Errorf("item %d: %+v", i, d.Items[i])
		}
	}
	if got := codes(t, conn.call(ack(d, 1, 2, 3))); !slices.Equal(got, []wire.Code{0, 0, 0}) {
		t.Errorf("ack: %v", got)
	}
	if d := expect[*wire.Deliver](t, conn.call(pull(box))); len(d.Items) != 0 {
		t.Errorf("acked messages came again: %v", seqs(d))
	}
	info := expect[*wire.MailboxInfo](t, conn.call(&wire.MailboxShow{Name: "sra.box"}))
	if info.Ready != 0 || info.Leased != 0 || info.Bytes != 0 || info.NextSeq != 4 || info.Owner != "sra" {
		t.Errorf("after all was acked: %+v", info)
	}
}

func TestSendAgainGetsTheFirstAnswer(t *testing.T) {
	c := common.get(t)
	box := c.owned(t, "again", "again.box")
	c.grant(t, "again2", wire.ActionSend|wire.ActionStat, "again.box")
	conn := c.leading(t, "again", "again.box")
	s := newSender(box)

	m := s.batch(sealed(50), sealed(50))
	first := results(t, conn.call(m), wire.CodeOK)
	for i, r := range results(t, conn.call(m), wire.CodeOK) {
		if !r.Duplicate || r.Seq != first[i].Seq {
			t.Errorf("counted item %d again: %+v, first %+v", i, r, first[i])
		}
	}
	id, tag := random16(), random16()
	one := results(t, conn.call(s.keyed(id, tag, sealed(50))), wire.CodeOK)[0]
	two := results(t, conn.call(s.keyed(id, tag, sealed(60))), wire.CodeOK)[0]
	if one.Duplicate || !two.Duplicate || one.Seq != two.Seq {
		t.Errorf("keyed: %+v, again %+v", one, two)
	}
	results(t, conn.call(s.keyed(id, random16(), sealed(50))), wire.CodeIDConflict)

	// Ids count for each principal by itself.
	other := c.leading(t, "again2", "again.box")
	o := newSender(box)
	if r := results(t, other.call(o.keyed(id, tag, sealed(50))), wire.CodeOK)[0]; r.Duplicate {
		t.Errorf("another principal's id: %+v", r)
	}
	if d := expect[*wire.Deliver](t, conn.call(pull(box))); len(d.Items) != 4 {
		t.Errorf("%d messages are there, not 4", len(d.Items))
	}
	// What was answered as done with is refused below the floor.
	s.counter = 10
	s.put(conn, 1)
	s.counter = 0
	old := s.batch(sealed(50))
	results(t, conn.call(old), wire.CodeIDTooOld)
}

func TestSendRefusesItems(t *testing.T) {
	c := common.get(t)
	box := c.owned(t, "items", "items.box")
	conn := c.leading(t, "items", "items.box")
	s := newSender(box)

	m := s.batch(sealed(50), sealed(50), sealed(50), sealed(50), sealed(50))
	m.Items[1].Header.NotAfterMinutes += 6
	m.Items[2].Header.NotAfterMinutes -= 6
	m.Items[4].Header.Flags |= wire.HeaderReplace
	reply := expect[*wire.SendReply](t, conn.call(m))
	want := []wire.Code{wire.CodeOK, wire.CodeClockSkew, wire.CodeClockSkew, wire.CodeOK, wire.CodeUnsupported}
	for i, r := range reply.Results() {
		if r.Code != want[i] {
			t.Errorf("item %d: %v, not %v", i, r.Code, want[i])
		}
		if r.Code == wire.CodeOK && r.Seq != []uint64{1, 0, 0, 2}[i] {
			t.Errorf("item %d: number %d", i, r.Seq)
		}
	}
	now := notAfter() - uint32(ttl.Minutes())
	if reply.TimeMinutes+1 < now || reply.TimeMinutes > now+1 {
		t.Errorf("the node's minute is %d, the clock's %d", reply.TimeMinutes, now)
	}

	lost := newSender(box)
	m = lost.batch(sealed(50))
	m.Sessions[0].Init = nil
	results(t, conn.call(m), wire.CodeSessionUnknown)
	m.Sessions[0].Init = lost.init
	results(t, conn.call(m), wire.CodeOK)

	// A session put ahead does as well.
	ahead := newSender(box)
	put := expect[*wire.SessionPutReply](t, conn.call(&wire.SessionPut{Mailbox: box, Inits: [][]byte{ahead.init}}))
	if !slices.Equal(put.Codes, []wire.Code{wire.CodeOK}) {
		t.Errorf("session put: %v", put.Codes)
	}
	m = ahead.batch(sealed(50))
	m.Sessions[0].Init = nil
	results(t, conn.call(m), wire.CodeOK)
	get := expect[*wire.SessionGetReply](t, conn.call(&wire.SessionGet{Mailbox: box, IDs: [][16]byte{ahead.session,
		random16()}}))
	if !bytes.Equal(get.Items[0].Init, ahead.init) || len(get.Items[1].Init) != 0 {
		t.Errorf("session get: %+v", get.Items)
	}
}

func TestSendRefusesWhole(t *testing.T) {
	c := common.get(t)
	box := c.owned(t, "whole", "whole.box")
	conn := c.leading(t, "whole", "whole.box")
	s := newSender(box)
	change := func(f func(m *wire.Send)) *wire.Send {
		m := s.batch(sealed(50))
		f(m)
		return m
	}
	for _, x := range []struct {
		name string
		m    *wire.Send
		code wire.Code
	}{
		{"plain body", change(func(m *wire.Send) { m.Items[0].Header.Type = wire.BodyPlain }), wire.CodePlainRefused},
		{"blob", change(func(m *wire.Send) { m.Items[0].Header.Type = wire.BodyBlob }), wire.CodeUnsupported},
		{"reserved flag", change(func(m *wire.Send) { m.Items[0].Header.Flags = 1 << 9 }), wire.CodeUnsupported},
		{"unknown critical option", change(func(m *wire.Send) {
			m.Options = wire.Options{{Tag: wire.OptionCritical | 9, Value: []byte{1}}}
		}), wire.CodeUnsupported},
		{"sealed above the limit", change(func(m *wire.Send) { m.Items[0].Sealed = sealed(wire.SealedBytes + 1) }),
			wire.CodeTooLarge},
		{"another mailbox id", change(func(m *wire.Send) {
			m.Mailbox.ID = random16()
			m.Items[0].Header.Session = wire.SessionID(m.Mailbox.ID, s.init)
			m.Sessions[0].ID = m.Items[0].Header.Session
		}), wire.CodeMailboxGone},
		{"session header of an unknown version", change(func(m *wire.Send) {
			init := bytes.Clone(s.init)
			init[0] = 2
			m.Sessions[0].Init = init
			m.Sessions[0].ID = wire.SessionID(box.ID, init)
			m.Items[0].Header.Session = m.Sessions[0].ID
		}), wire.CodeUnsupported},
	} {
		f, ok := conn.call(x.m).(*wire.Failure)
		if !ok || f.Code != x.code || x.code.Outcome() != wire.Definite {
			t.Errorf("%s: %+v, not %v", x.name, f, x.code)
		}
	}
	// None of it was stored, and the connection lives.
	if info := expect[*wire.MailboxInfo](t, conn.call(&wire.MailboxShow{Name: "whole.box"})); info.NextSeq != 1 {
		t.Errorf("something was stored: %+v", info)
	}
	// A batch of nothing is answered with nothing.
	empty := &wire.Send{Mailbox: box}
	if r := results(t, conn.call(empty), wire.CodeOK); len(r) != 0 {
		t.Errorf("an empty batch: %+v", r)
	}
}

func TestSessionsAreLimited(t *testing.T) {
	c := common.get(t)
	box := c.owned(t, "limited", "limited.box")
	conn := c.leading(t, "limited", "limited.box")
	for range 64 {
		newSender(box).put(conn, 1)
	}
	results(t, conn.call(newSender(box).batch(sealed(50))), wire.CodeSessionLimit)
}

// TestSequenceNumbersAreForThoseWhoMayStat: the number tells how many others have sent.
func TestSequenceNumbersAreForThoseWhoMayStat(t *testing.T) {
	c := common.get(t)
	box := c.owned(t, "seqs", "seqs.box")
	c.grant(t, "blind", wire.ActionSend, "seqs.box")
	conn := c.leading(t, "blind", "seqs.box")
	if r := results(t, conn.call(newSender(box).batch(sealed(50))), wire.CodeOK)[0]; r.Seq != 0 {
		t.Errorf("a sender without stat was told number %d", r.Seq)
	}
	refused(t, conn.call(&wire.MailboxShow{Name: "seqs.box"}), wire.CodePermissionDenied)
}

func TestFollowersPointToTheLeader(t *testing.T) {
	c := common.get(t)
	box := c.owned(t, "hint", "hint.box")
	conn := c.follower(t, "hint", "hint.box")
	leader := c.leaderOf(t, c.groupOf("hint.box"))
	for _, m := range []wire.Message{
		newSender(box).batch(sealed(50)), pull(box), subscribe(box), &wire.Ack{Mailbox: box, Seqs: ranges(1)},
		&wire.Resolve{Name: "hint.box"}, &wire.MailboxDelete{Name: "hint.box", ID: box.ID},
	} {
		f := refused(t, conn.call(m), wire.CodeNotLeader)
		if f.Leader.Node != leader || f.Leader.Address != c.nodes[leader].Client.Address {
			t.Errorf("%v: hint %+v, the leader is %s", m.Type(), f.Leader, leader)
		}
	}
}
