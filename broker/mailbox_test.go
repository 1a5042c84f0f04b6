package broker_test

import (
	"crypto/sha256"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/sealmq/sealmq/wire"
)

func TestMailboxCreate(t *testing.T) {
	c := common.get(t)
	c.grant(t, "maker", wire.ActionManage, "make.>")
	c.grant(t, "maker2", wire.ActionManage, "make.>")
	names := map[uint16][]string{}
	for i := 0; len(names[1]) < 3 || len(names[2]) < 3; i++ {
		name := fmt.Sprintf("make.b%d", i)
		names[c.groupOf(name)] = append(names[c.groupOf(name)], name)
	}
	one := names[1]
	conn := c.leading(t, "maker", one[0])
	first := random16()
	m := &wire.MailboxCreate{Items: []wire.MailboxNew{
		{Name: one[0], ID: first}, {Name: names[2][0], ID: random16()}, {Name: one[1], ID: random16()},
		{Name: "other.box", ID: random16()},
	}}
	create := func(conn *testConn, m *wire.MailboxCreate) (all []wire.Code) {
		t.Helper()
		for _, item := range expect[*wire.MailboxCreateReply](t, conn.call(m)).Items {
			all = append(all, item.Code)
		}
		return all
	}
	want := []wire.Code{wire.CodeOK, wire.CodeBadRequest, wire.CodeOK, wire.CodePermissionDenied}
	if c.groupOf("other.box") != 1 {
		want[3] = wire.CodeBadRequest
	}
	if got := create(conn, m); !slices.Equal(got, want) {
		t.Errorf("create: %v, not %v", got, want)
	}
	if got := create(conn, m); !slices.Equal(got, want) {
		t.Errorf("create again: %v", got)
	}
	other := c.leading(t, "maker2", one[0])
	for _, x := range []struct {
		conn *testConn
		item wire.MailboxNew
		code wire.Code
	}{
		{conn, wire.MailboxNew{Name: one[0], ID: random16()}, wire.CodeExists},
		{conn, wire.MailboxNew{Name: one[2], ID: first}, wire.CodeExists},
		{other, wire.MailboxNew{Name: one[0], ID: first}, wire.CodeExists},
	} {
		if got := create(x.conn, &wire.MailboxCreate{Items: []wire.MailboxNew{x.item}}); !slices.Equal(got,
			[]wire.Code{x.code}) {
			t.Errorf("%s: %v, not %v", x.item.Name, got, x.code)
		}
	}
	refused(t, conn.call(&wire.MailboxDelete{Name: one[0], ID: random16()}), wire.CodeMailboxGone)
	expect[*wire.Done](t, conn.call(&wire.MailboxDelete{Name: one[0], ID: first}))
	refused(t, conn.call(&wire.MailboxDelete{Name: one[0], ID: first}), wire.CodeNotFound)
}

func TestMailboxListIsMergedAndPaged(t *testing.T) {
	c := common.get(t)
	c.grant(t, "lister", wire.ActionManage, "list.>")
	byGroup := map[uint16]*wire.MailboxCreate{1: {}, 2: {}}
	var all []string
	long := strings.Repeat("x", 200)
	for i := range 300 {
		name := fmt.Sprintf("list.%s.b%03d", long, i)
		all = append(all, name)
		m := byGroup[c.groupOf(name)]
		m.Items = append(m.Items, wire.MailboxNew{Name: name, ID: random16()})
	}
	for group, m := range byGroup {
		conn := c.dial(t, c.leaderOf(t, group), "lister")
		expect[*wire.MailboxCreateReply](t, conn.call(m))
	}
	for _, node := range c.names {
		conn := c.dial(t, node, "lister")
		eventually(t, "all mailboxes on "+node, func() bool {
			reply := expect[*wire.MailboxListReply](t, conn.call(&wire.MailboxList{Prefix: "list.", Limit: 1024}))
			return len(reply.Items) == len(all)
		})
		var got []string
		m := &wire.MailboxList{Prefix: "list.", Limit: 70}
		for {
			reply := expect[*wire.MailboxListReply](t, conn.call(m))
			for i := range reply.Items {
				got = append(got, reply.Items[i].Name)
			}
			if m.After = reply.Next; m.After == "" {
				break
			}
		}
		if !slices.Equal(got, all) {
			t.Errorf("%s lists %d mailboxes, not the %d that are there", node, len(got), len(all))
		}
	}
	conn := c.dial(t, "n1", "lister")
	if reply := expect[*wire.MailboxListReply](t, conn.call(&wire.MailboxList{Prefix: "list.", Limit: 1024,
		Group: 1})); len(reply.Items) != len(byGroup[1].Items) {
		t.Errorf("group 1 alone lists %d", len(reply.Items))
	}
}

// TestKeyRecords: publishing is compare-and-set, for the owner only, and a lookup of many fits a frame.
func TestKeyRecords(t *testing.T) {
	t.Parallel()
	c := common.get(t)
	box := c.owned(t, "keyowner", "keys.box")
	c.grant(t, "keyhelper", wire.ActionKeys, "keys.>")
	conn, helper := c.leading(t, "keyowner", "keys.box"), c.leading(t, "keyhelper", "keys.box")
	record := sealed(60_000)
	m := &wire.KeyRecordPublish{Mailbox: box, Name: "keys.box", Version: 1, OwnerKey: [32]byte{7}, Record: record}
	refused(t, helper.call(m), wire.CodePermissionDenied)
	expect[*wire.Done](t, conn.call(m))
	expect[*wire.Done](t, conn.call(m)) // again
	next := &wire.KeyRecordPublish{Mailbox: box, Name: "keys.box", Version: 2, OwnerKey: [32]byte{7}, Record: []byte{2}}
	refused(t, conn.call(next), wire.CodePreconditionFailed)
	next.PreviousHash, next.Version = sha256.Sum256(record), 3
	refused(t, conn.call(next), wire.CodePreconditionFailed)
	wrong := *next
	wrong.Name = "keys.other"
	refused(t, conn.call(&wrong), wire.CodeMailboxGone)
	resolved := expect[*wire.ResolveReply](t, conn.call(&wire.Resolve{Name: "keys.box"}))
	if resolved.RecordVersion != 1 || string(resolved.Record) != string(record) || resolved.Owner != "keyowner" ||
		resolved.ID != box.ID {
		t.Errorf("resolve: version %d, %d bytes, %q", resolved.RecordVersion, len(resolved.Record), resolved.Owner)
	}

	// Thirty records of 60 kB are found in pages that fit frames.
	c.grant(t, "keyowner", wire.ActionManage, "keys.>")
	want := []string{"keys.box"}
	for i := range 30 {
		name := fmt.Sprintf("keys.b%02d", i)
		ref := c.mailbox(t, "keyowner", name)
		expect[*wire.Done](t, c.leading(t, "keyowner", name).call(
			&wire.KeyRecordPublish{Mailbox: ref, Name: name, Version: 1, OwnerKey: [32]byte{7}, Record: record}))
		want = append(want, name)
	}
	slices.Sort(want)
	for _, m := range []*wire.KeyLookup{
		{By: wire.LookupPrincipal, Principal: "keyowner", Limit: 1024}, {By: wire.LookupIdentityKey,
			IdentityKey: [32]byte{7}, Limit: 1024},
	} {
		var got []string
		eventually(t, "all records", func() bool {
			got, m.After = nil, ""
			for {
				reply := expect[*wire.KeyLookupReply](t, conn.call(m))
				for i := range reply.Items {
					if len(reply.Items[i].Record) == len(record) {
						got = append(got, reply.Items[i].Name)
					}
				}
				if m.After = reply.Next; m.After == "" {
					return slices.Equal(got, want)
				}
			}
		})
	}
}

// TestRefusedMailboxKeepsNoSecret: the secret of a mailbox that was not made is not kept for ever.
func TestRefusedMailboxKeepsNoSecret(t *testing.T) {
	c := common.get(t)
	box := c.owned(t, "secretive", "secret.box")
	conn := c.leading(t, "secretive", "secret.box")
	group := c.groupOf("secret.box")
	leader := c.node(c.leaderOf(t, group))
	other := random16()
	reply := expect[*wire.MailboxCreateReply](t, conn.call(&wire.MailboxCreate{Items: []wire.MailboxNew{
		{Name: "secret.box", ID: other}, {Name: "secret.box", ID: box.ID},
	}}))
	if reply.Items[0].Code != wire.CodeExists || reply.Items[1].Code != wire.CodeOK {
		t.Errorf("create: %v", reply.Items)
	}
	if leader.HasKey(group, other) || !leader.HasKey(group, box.ID) {
		t.Error("there is not a secret for the mailbox that is there, and for it only")
	}
}
