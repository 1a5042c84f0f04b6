package broker_test

import (
	"fmt"
	"slices"
	"testing"

	"github.com/sealmq/sealmq/broker"
	"github.com/sealmq/sealmq/wire"
)

// TestDeniedByDefault: without a grant nothing may be done, and nothing is learnt.
func TestDeniedByDefault(t *testing.T) {
	c := common.get(t)
	box := c.owned(t, "denyowner", "deny.box")
	// The same slot's leader answers for a name that does not exist.
	missing := "deny.none"
	for i := 0; c.groupOf(missing) != c.groupOf("deny.box"); i++ {
		missing = fmt.Sprintf("deny.none%d", i)
	}
	conn := c.leading(t, "stranger", "deny.box")
	named := func(name string, id [16]byte) []wire.Message {
		return []wire.Message{
			&wire.MailboxShow{Name: name}, &wire.Resolve{Name: name}, &wire.MailboxDelete{Name: name, ID: id},
		}
	}
	there, not := named("deny.box", box.ID), named(missing, random16())
	for i := range there {
		a, b := refused(t, conn.call(there[i]), wire.CodePermissionDenied), refused(t, conn.call(not[i]),
			wire.CodePermissionDenied)
		if a.Detail != b.Detail {
			t.Errorf("%v tells whether the mailbox is there: %q, %q", there[i].Type(), a.Detail, b.Detail)
		}
	}
	for _, m := range []wire.Message{
		newSender(box).batch(sealed(50)), pull(box), subscribe(box), &wire.Ack{Mailbox: box, Seqs: ranges(1)},
		&wire.Nack{Mailbox: box, Seqs: ranges(1), Code: wire.NackRetry}, &wire.Extend{Mailbox: box, Seqs: ranges(1)},
		&wire.SessionPut{Mailbox: box, Inits: [][]byte{sessionHeader()}}, &wire.SessionGet{Mailbox: box,
			IDs: [][16]byte{{1}}},
		&wire.KeyRecordPublish{Mailbox: box, Name: "deny.box", Version: 1, Record: []byte{1}}, &wire.ClusterStatus{},
	} {
		refused(t, conn.call(m), wire.CodePermissionDenied)
	}
	create := expect[*wire.MailboxCreateReply](t,
		conn.call(&wire.MailboxCreate{Items: []wire.MailboxNew{{Name: missing, ID: random16()}}}))
	if create.Items[0].Code != wire.CodePermissionDenied {
		t.Errorf("create: %v", create.Items[0].Code)
	}
	list := expect[*wire.MailboxListReply](t, conn.call(&wire.MailboxList{Limit: 1000}))
	found := expect[*wire.KeyLookupReply](t, conn.call(&wire.KeyLookup{By: wire.LookupPrincipal,
		Principal: "denyowner", Limit: 1000}))
	if len(list.Items) != 0 || len(found.Items) != 0 || list.Next != "" {
		t.Errorf("a stranger sees %v, %v", list.Items, found.Items)
	}
	control := c.dial(t, c.leaderOf(t, 0), "stranger")
	refused(t, control.call(&wire.GrantAdd{Subject: "stranger", Actions: wire.ActionSend, Resource: ">"}),
		wire.CodePermissionDenied)
	refused(t, control.call(&wire.GrantRemove{ID: [8]byte{1}}), wire.CodePermissionDenied)
	if grants := expect[*wire.GrantListReply](t, control.call(&wire.GrantList{Limit: 1000})); len(grants.Items) != 0 {
		t.Errorf("a stranger sees grants: %v", grants.Items)
	}
}

// TestOperatorsDoNotSeeMail: an operator may manage and look at numbers, and neither send nor receive, by no grant.
func TestOperatorsDoNotSeeMail(t *testing.T) {
	c := common.get(t)
	box := c.owned(t, "opowner", "op.box")
	c.grant(t, "*", wire.ActionSend|wire.ActionReceive|wire.ActionAck, "op.box")
	conn := c.leading(t, "operator/admin", "op.box")
	if conn.hello.Principal != "operator/admin" {
		t.Errorf("an operator is taken for %q", conn.hello.Principal)
	}
	for _, m := range []wire.Message{newSender(box).batch(sealed(50)), pull(box), subscribe(box),
		&wire.Ack{Mailbox: box, Seqs: ranges(1)}} {
		refused(t, conn.call(m), wire.CodePermissionDenied)
	}
	if info := expect[*wire.MailboxInfo](t, conn.call(&wire.MailboxShow{Name: "op.box"})); info.Owner != "opowner" {
		t.Errorf("an operator sees %+v", info)
	}
	status := expect[*wire.ClusterStatusReply](t, conn.call(&wire.ClusterStatus{}))
	if status.Health != wire.HealthOK || status.CanLose != 1 || len(status.Groups) != 3 || len(status.Nodes) != 3 {
		t.Errorf("status: %+v", status)
	}
	// A service of the same name is somebody else.
	if service := c.dial(t, "n1", "admin"); service.hello.Principal != "admin" {
		t.Errorf("the service admin is taken for %q", service.hello.Principal)
	}
}

// TestRevocationEndsEverything: once a grant is gone no subscription lives on it and no request passes.
func TestRevocationEndsEverything(t *testing.T) {
	c := common.get(t)
	box := c.owned(t, "revowner", "rev.box")
	id := c.grant(t, "revoked", wire.ActionSend|wire.ActionReceive|wire.ActionAck, "rev.box")
	conn := c.leading(t, "revoked", "rev.box")
	sub := conn.request(subscribe(box))
	waiting := pull(box)
	waiting.WaitMillis, waiting.EpochLow, waiting.EpochHigh = 60_000, 9, 9
	pulling := conn.request(waiting)
	newSender(box).put(conn, 1)
	d := conn.next(sub)

	control := c.dial(t, c.leaderOf(t, 0), "operator/admin")
	expect[*wire.GrantRemoveReply](t, control.call(&wire.GrantRemove{ID: id}))
	refused(t, control.call(&wire.GrantRemove{ID: id}), wire.CodeNotFound)
	// Nothing has to come for the subscription to end.
	if end := expect[*wire.SubscriptionEnd](t, conn.answer(sub)); end.Code != wire.CodePermissionDenied {
		t.Errorf("the subscription ended with %v", end.Code)
	}
	refused(t, conn.answer(pulling), wire.CodePermissionDenied)
	for _, m := range []wire.Message{newSender(box).batch(sealed(50)), pull(box), ack(d, 1),
		&wire.Resolve{Name: "rev.box"}} {
		refused(t, conn.call(m), wire.CodePermissionDenied)
	}
	// The owner needs no grant.
	owner := c.leading(t, "revowner", "rev.box")
	if info := expect[*wire.MailboxInfo](t, owner.call(&wire.MailboxShow{Name: "rev.box"})); info.Leased != 1 ||
		info.NextSeq != 2 {
		t.Errorf("the mailbox: %+v", info)
	}
}

// TestAdministratorsStayWithinTheirBounds: who administers a pattern gives rights within it only.
func TestAdministratorsStayWithinTheirBounds(t *testing.T) {
	c := common.get(t)
	c.grant(t, "teamlead", wire.ActionAdmin, "bounds.*")
	c.grant(t, "teamhead", wire.ActionAdmin, "bounds.>")
	other := c.grant(t, "nobody", wire.ActionSend, "elsewhere.box")
	lead, head := c.dial(t, c.leaderOf(t, 0), "teamlead"), c.dial(t, c.leaderOf(t, 0), "teamhead")
	for _, x := range []struct {
		resource   string
		lead, head bool
	}{
		{"bounds.box", true, true}, {"bounds.*", true, true}, {"bounds.>", false, true}, {"bounds.a.b", false, true},
		{"bounds", false, false}, {"*.box", false, false}, {">", false, false}, {"*", false, false}, {"elsewhere.box",
			false, false},
	} {
		m := &wire.GrantAdd{Subject: "somebody", Actions: wire.ActionSend, Resource: x.resource}
		for who, may := range map[*testConn]bool{lead: x.lead, head: x.head} {
			added, ok := who.call(m).(*wire.GrantAddReply)
			if ok != may {
				t.Errorf("%s gives rights on %s: %v", who.hello.Principal, x.resource, ok)
			}
			if ok {
				expect[*wire.GrantRemoveReply](t, who.call(&wire.GrantRemove{ID: added.ID}))
			}
		}
	}
	refused(t, lead.call(&wire.GrantRemove{ID: other}), wire.CodeNotFound)
	refused(t, lead.call(&wire.GrantRemove{ID: [8]byte{9}}), wire.CodeNotFound)
	grants := expect[*wire.GrantListReply](t, lead.call(&wire.GrantList{Limit: 1000}))
	if len(grants.Items) != 1 || grants.Items[0].Subject != "teamlead" {
		t.Errorf("the lead sees %+v", grants.Items)
	}
	for _, bad := range []*wire.GrantAdd{
		{Subject: "a b", Actions: wire.ActionSend, Resource: "bounds.box"}, {Subject: "a", Actions: 1 << 20,
			Resource: "bounds.box"},
		{Subject: "a", Actions: wire.ActionSend, Resource: "bounds..box"},
	} {
		refused(t, lead.call(bad), wire.CodeBadRequest)
	}
}

// TestGrantsAreListedByAnyNode in pages.
func TestGrantsAreListedByAnyNode(t *testing.T) {
	c := common.get(t)
	var ids [][8]byte
	for i := range 5 {
		ids = append(ids, c.grant(t, "listed", wire.ActionSend, fmt.Sprintf("listed.b%d", i)))
	}
	for _, node := range c.names {
		conn := c.dial(t, node, "listed")
		var got [][8]byte
		m := &wire.GrantList{Subject: "listed", Limit: 2}
		for {
			page := expect[*wire.GrantListReply](t, conn.call(m))
			for _, g := range page.Items {
				got = append(got, g.ID)
			}
			if m.After = page.Next; m.After == [8]byte{} {
				break
			}
		}
		if len(got) != 5 || !slices.ContainsFunc(got, func(id [8]byte) bool { return id == ids[3] }) {
			t.Errorf("%s lists %x, given were %x", node, got, ids)
		}
		if node != c.leaderOf(t, 0) {
			f := refused(t, c.dial(t, node, "operator/admin").call(&wire.GrantRemove{ID: ids[0]}), wire.CodeNotLeader)
			if f.Leader.Node != c.leaderOf(t, 0) {
				t.Errorf("%s points to %+v", node, f.Leader)
			}
		}
	}
}

// TestRightsNeedAQuorum: a node that has heard of no leader does not know whether its grants still hold.
func TestRightsNeedAQuorum(t *testing.T) {
	c := startCluster(t, 3, 1, nil)
	c.grant(t, "lonely", wire.ActionManage, "lonely.>")
	c.mailbox(t, "lonely", "lonely.box")
	if err := c.stop(); err != nil {
		t.Fatal(err)
	}
	b, err := broker.Open(c.nodes["n2"])
	if err != nil {
		t.Fatal(err)
	}
	c.mu.Lock()
	c.running["n2"] = b
	c.mu.Unlock()
	conn := c.dial(t, "n2", "lonely")
	for _, m := range []wire.Message{&wire.MailboxList{Limit: 10}, &wire.GrantList{Limit: 10}, &wire.ClusterStatus{}} {
		if f := refused(t, conn.call(m), wire.CodeUnavailable); f.RetryAfterMillis == 0 {
			t.Errorf("%v: when to ask again is not said", m.Type())
		}
	}
	if b.Ready() {
		t.Error("it is ready")
	}
	// An operator sees how it is.
	status := expect[*wire.ClusterStatusReply](t, c.dial(t, "n2", "operator/admin").call(&wire.ClusterStatus{}))
	if status.Health != wire.HealthNoQuorum || status.CanLose != 0 {
		t.Errorf("status: %+v", status)
	}
	if err := c.start("n1"); err != nil {
		t.Fatal(err)
	}
	eventually(t, "n2 to be ready", b.Ready)
	list := retry[*wire.MailboxListReply](t, conn, &wire.MailboxList{Limit: 10})
	if len(list.Items) != 1 {
		t.Errorf("with a quorum it lists %+v", list.Items)
	}
	added := retry[*wire.GrantAddReply](t, c.dial(t, c.leaderOf(t, 0), "operator/admin"),
		&wire.GrantAdd{Subject: "x", Actions: wire.ActionSend, Resource: "x.y"})
	if !slices.Equal(added.Late, []string{"n3"}) {
		t.Errorf("n3 is down, late are %v", added.Late)
	}
}

// TestRevocationHoldsEverywhere: once its removal is answered no node decides by a grant, and once a grant is answered
// every node serves it.
func TestRevocationHoldsEverywhere(t *testing.T) {
	c := common.get(t)
	control := c.dial(t, c.leaderOf(t, 0), "operator/admin")
	conns := map[string]*testConn{}
	for name := range c.nodes {
		conns[name] = c.dial(t, name, "onlooker")
	}
	for i := range 50 {
		added := retry[*wire.GrantAddReply](t, control,
			&wire.GrantAdd{Subject: "onlooker", Actions: wire.ActionStat, Resource: ">"})
		if len(added.Late) != 0 {
			t.Fatalf("late are %v", added.Late)
		}
		for name, conn := range conns {
			if _, ok := conn.call(&wire.ClusterStatus{}).(*wire.ClusterStatusReply); !ok {
				t.Fatalf("round %d: %s does not serve a grant that is there", i, name)
			}
		}
		if removed := retry[*wire.GrantRemoveReply](t, control, &wire.GrantRemove{ID: added.ID}); len(removed.Late) != 0 {
			t.Fatalf("late are %v", removed.Late)
		}
		for name, conn := range conns {
			refused(t, conn.call(&wire.ClusterStatus{}), wire.CodePermissionDenied)
			if t.Failed() {
				t.Fatalf("round %d: %s serves a grant that is gone", i, name)
			}
		}
	}
}

// TestSameGrantIsOne: who asks again for what may have been granted does not make a second grant.
func TestSameGrantIsOne(t *testing.T) {
	c := common.get(t)
	conn := c.dial(t, c.leaderOf(t, 0), "operator/admin")
	m := &wire.GrantAdd{Subject: "onegrant", Actions: wire.ActionStat, Resource: "one.box"}
	first := retry[*wire.GrantAddReply](t, conn, m)
	if again := retry[*wire.GrantAddReply](t, conn, m); again.ID != first.ID {
		t.Errorf("the same again is %x, not %x", again.ID, first.ID)
	}
	expect[*wire.GrantRemoveReply](t, conn.call(&wire.GrantRemove{ID: first.ID}))
	if list := expect[*wire.GrantListReply](t, conn.call(&wire.GrantList{Subject: "onegrant", Limit: 10})); len(list.Items) != 0 {
		t.Errorf("after its removal there are %+v", list.Items)
	}
}

// TestRepeatedRemovalWaits: that a grant is gone is not said before it holds on every node, to whoever asks.
func TestRepeatedRemovalWaits(t *testing.T) {
	t.Parallel()
	c := startCluster(t, 3, 1, nil)
	id := c.grant(t, "someone", wire.ActionManage, "x.>")
	leader := c.leaderOf(t, 0)
	away := slices.DeleteFunc(slices.Clone(c.names), func(n string) bool { return n == leader })[0]
	if err := c.stop(away); err != nil {
		t.Fatal(err)
	}
	first, second := c.dial(t, leader, "operator/admin"), c.dial(t, leader, "operator/admin")
	removal := first.request(&wire.GrantRemove{ID: id})
	eventually(t, "the removal to be applied", func() bool {
		return len(expect[*wire.GrantListReply](t, second.call(&wire.GrantList{Subject: "someone", Limit: 10})).Items) == 0
	})
	second.request(&wire.GrantRemove{ID: id})
	for range 3 {
		second.call(&wire.Ping{}) // what is answered at once is answered before
		first.call(&wire.Ping{})
	}
	if len(first.early)+len(second.early) != 0 {
		t.Errorf("a node is cut off, and came %+v, %+v", first.early, second.early)
	}
	// When the node is back it knows.
	if err := c.start(away); err != nil {
		t.Fatal(err)
	}
	if reply := expect[*wire.GrantRemoveReply](t, first.answer(removal)); len(reply.Late) != 0 {
		t.Errorf("late are %v", reply.Late)
	}
	refused(t, second.answer(second.last-3), wire.CodeNotFound)
}

// TestRightTakenBackWhileACommandWaits: a command that was allowed, and then waited for room while the right was taken
// back, comes to nothing.
func TestRightTakenBackWhileACommandWaits(t *testing.T) {
	t.Parallel()
	c := startCluster(t, 1, 1, nil)
	box := c.owned(t, "waitowner", "waits.box")
	owner, control := c.dial(t, "n1", "waitowner"), c.dial(t, "n1", "operator/admin")
	newSender(box).put(owner, 1)
	id := c.grant(t, "late", wire.ActionReceive|wire.ActionAck, "waits.box")
	leased := expect[*wire.Deliver](t, c.dial(t, "n1", "late").call(pull(box)))
	expect[*wire.GrantRemoveReply](t, control.call(&wire.GrantRemove{ID: id}))
	for _, x := range []struct {
		name    string
		actions wire.Actions
		on      string
		m       wire.Message
	}{
		{"send", wire.ActionSend, "waits.box", newSender(box).batch(sealed(50))},
		{"session put", wire.ActionSend, "waits.box", &wire.SessionPut{Mailbox: box, Inits: [][]byte{sessionHeader()}}},
		{"ack", wire.ActionAck, "waits.box", ack(leased, 1)},
		{"create", wire.ActionManage, "waits.new", &wire.MailboxCreate{Items: []wire.MailboxNew{{Name: "waits.new",
			ID: random16()}}}},
		{"delete", wire.ActionManage, "waits.box", &wire.MailboxDelete{Name: "waits.box", ID: box.ID}},
	} {
		eventually(t, x.name+" to wait for long enough", func() bool {
			id := c.grant(t, "late", x.actions, x.on)
			conn := c.dial(t, "n1", "late")
			giveBack := c.node("n1").Fill(1)
			request := conn.request(x.m)
			awaitCall(t, "(*proposer).awaitRoom")
			expect[*wire.GrantRemoveReply](t, control.call(&wire.GrantRemove{ID: id}))
			giveBack()
			answer := conn.answer(request)
			if f, ok := answer.(*wire.Failure); ok && f.Code == wire.CodeOverloaded {
				return false // it was refused before the right was taken back
			}
			if f, ok := answer.(*wire.Failure); !ok || f.Code != wire.CodePermissionDenied {
				t.Errorf("%s: %+v", x.name, answer)
			}
			return true
		})
	}
	info := expect[*wire.MailboxInfo](t, owner.call(&wire.MailboxShow{Name: "waits.box"}))
	if info.NextSeq != 2 || info.Leased != 1 {
		t.Errorf("the mailbox: %+v", info)
	}
	// A change that leaves the right as it is changes nothing.
	giveBack := c.node("n1").Fill(1)
	request := owner.request(newSender(box).batch(sealed(50)))
	awaitCall(t, "(*proposer).awaitRoom")
	c.grant(t, "other", wire.ActionSend, "elsewhere.box")
	giveBack()
	if f, ok := owner.answer(request).(*wire.Failure); ok && f.Code != wire.CodeOverloaded {
		t.Errorf("another's grant was added meanwhile: %+v", f)
	}
}

// TestRightTakenBackWhileADeliveryIsMade: bodies that are read take their time, and what was allowed before is not sent.
func TestRightTakenBackWhileADeliveryIsMade(t *testing.T) {
	t.Parallel()
	for name, m := range map[string]func(wire.MailboxRef) wire.Message{
		"pull":         func(box wire.MailboxRef) wire.Message { return pull(box) },
		"subscription": func(box wire.MailboxRef) wire.Message { return subscribe(box) },
	} {
		c := startCluster(t, 1, 1, nil)
		h := newHeld()
		c.node("n1").OnHeaders(1, h.stop)
		box := c.owned(t, "made", "made.box")
		s := newSender(box)
		s.put(c.dial(t, "n1", "made"), 1)
		id := c.grant(t, "reader", wire.ActionReceive, "made.box")
		conn, control := c.dial(t, "n1", "reader"), c.dial(t, "n1", "operator/admin")
		h.armed.Store(true)
		request := conn.request(m(box))
		<-h.reached
		expect[*wire.GrantRemoveReply](t, control.call(&wire.GrantRemove{ID: id}))
		close(h.goOn)
		switch end := conn.answer(request).(type) {
		case *wire.SubscriptionEnd:
			if end.Code != wire.CodePermissionDenied {
				t.Errorf("%s: ended with %v", name, end.Code)
			}
		case *wire.Failure:
			if end.Code != wire.CodePermissionDenied {
				t.Errorf("%s: refused with %v", name, end.Code)
			}
		default:
			t.Errorf("%s: came %T", name, end)
		}
		// It was given back, and its header was not brought.
		c.grant(t, "reader", wire.ActionReceive, "made.box")
		d := expect[*wire.Deliver](t, conn.call(pull(box)))
		if len(d.Items) != 1 || d.Items[0].Attempts != 1 || len(d.Sessions[0].Init) == 0 {
			t.Errorf("%s: afterwards came %v, attempts %v, of %d sessions", name, seqs(d), attempts(d), len(d.Sessions))
		}
	}
}

// A right to a mailbox is not one to another that is made under its id, whatever the connection remembers.
func TestARightEndsWithItsMailbox(t *testing.T) {
	c := common.get(t)
	first := c.owned(t, "rebornowner", "reborn.one")
	c.grant(t, "rebornsender", wire.ActionSend, "reborn.one")
	conn := c.leading(t, "rebornsender", "reborn.one")
	s := newSender(first)
	s.put(conn, 1)

	owner := c.leading(t, "rebornowner", "reborn.one")
	expect[*wire.Done](t, owner.call(&wire.MailboxDelete{Name: "reborn.one", ID: first.ID}))
	refused(t, conn.call(s.batch(sealed(50))), wire.CodeMailboxGone)

	second := "reborn.two"
	for i := 0; c.groupOf(second) != c.groupOf("reborn.one"); i++ {
		second = fmt.Sprintf("reborn.two%d", i)
	}
	c.grant(t, "rebornother", wire.ActionManage, second)
	other := c.leading(t, "rebornother", second)
	made := expect[*wire.MailboxCreateReply](t,
		other.call(&wire.MailboxCreate{Items: []wire.MailboxNew{{Name: second, ID: first.ID}}}))
	if made.Items[0].Code != wire.CodeOK {
		t.Fatal(made.Items[0].Code)
	}
	refused(t, conn.call(s.batch(sealed(50))), wire.CodePermissionDenied)
	// Nor does it count in another group.
	elsewhere := "reborn.three"
	for i := 0; c.groupOf(elsewhere) == c.groupOf("reborn.one"); i++ {
		elsewhere = fmt.Sprintf("reborn.three%d", i)
	}
	foreign := wire.MailboxRef{Slot: wire.SlotOf(elsewhere), ID: first.ID}
	refused(t, c.leading(t, "rebornsender", elsewhere).call(newSender(foreign).batch(sealed(50))), wire.CodeMailboxGone)
	expect[*wire.Done](t, other.call(&wire.MailboxDelete{Name: second, ID: first.ID}))
}
