package broker

import (
	"errors"
	"fmt"
	"log/slog"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/sealmq/sealmq/broker/machine"
	"github.com/sealmq/sealmq/raftlog"
	"github.com/sealmq/sealmq/storage"
	"github.com/sealmq/sealmq/wire"
)

// aloneGroup is a mail group without a log, and without grants.
func aloneGroup(t *testing.T) *mailGroup {
	t.Helper()
	fs := vfs.NewMem()
	o := storage.Options{
		Dir: "data", FS: func(storage.Kind) vfs.FS { return fs }, Fatal: func(err error) { t.Error(err) },
	}
	if err := storage.Create(o); err != nil {
		t.Fatal(err)
	}
	stores, err := storage.Open(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { stores.Close() })
	rights, err := machine.OpenControl(stores)
	if err != nil {
		t.Fatal(err)
	}
	rules, err := machine.OpenMail(stores, 1, 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	b := &Broker{stores: stores, log: slog.New(slog.DiscardHandler), control: &controlPlane{machine: rights}}
	g := &mailGroup{
		group: group{broker: b, id: 1, rules: rules, reader: stores.Reader(1)}, machine: rules,
		waits: newWaitList[*receiver](), holds: newHolds(),
	}
	g.headers = newHeaderSealer(g.reader)
	b.mail = []*mailGroup{g}
	return g
}

// apply applies an entry of some commands at a time.
func (g *mailGroup) apply(t *testing.T, nowMillis int64, commands ...interface{ Append([]byte) []byte }) {
	t.Helper()
	data := machine.AppendEntryHeader(nil, nowMillis, 0)
	for _, c := range commands {
		data = c.Append(data)
	}
	entry := machine.Entry{Index: g.rules.Applied().Index + 1, Term: 1, Data: data}
	outcomes, err := g.rules.Apply([]machine.Entry{entry}, nil, true)
	if err != nil {
		t.Fatal(err)
	}
	for i, o := range outcomes[0] {
		if o.Code != machine.CodeOK {
			t.Fatalf("command %d: %v", i, o.Code)
		}
	}
}

// hearsAll makes the node fresh, or not.
func (c *controlPlane) hearsAll(fresh bool) {
	if at := time.Now(); fresh {
		c.freshness.since.Store(&at)
	} else {
		c.freshness.since.Store(nil)
	}
}

// TestListingEndsWhenRightsGoStale: what a node cannot decide any more it does not leave out.
func TestListingEndsWhenRightsGoStale(t *testing.T) {
	g := aloneGroup(t)
	c := &conn{broker: g.broker, principal: "owner"}
	control := g.broker.control
	control.hearsAll(true)
	pages := 0
	list := func(after string, n int) (page []storage.Mailbox, err error) {
		if pages++; pages == 2 {
			control.hearsAll(false)
		}
		for i := range n {
			if pages < 3 {
				page = append(page, storage.Mailbox{Name: fmt.Sprint("box", i), Owner: []string{"owner", "other"}[i%2]})
			}
		}
		return page, nil
	}
	if got, err := g.visible(c, "", 3, wire.ActionSend, list); !errors.Is(err, errStale) {
		t.Errorf("listed %d mailboxes, %v", len(got), err)
	}

	if _, err := c.named(g, "none", wire.ActionStat); !errors.Is(err, errStale) {
		t.Errorf("a mailbox that is not there: %v", err)
	}
	item := &wire.MailboxNew{Name: "new.box", ID: [16]byte{1}}
	if code, err := c.checkCreate(g, item); !errors.Is(err, errStale) {
		t.Errorf("create: %v, %v", code, err)
	}
	control.hearsAll(true)
	if code, err := c.checkCreate(g, item); err != nil || code != wire.CodePermissionDenied {
		t.Errorf("create when fresh: %v, %v", code, err)
	}
}

// TestDeadlinesAreFoundBesideServing: a new leader serves and stops leading while it looks through what mailboxes hold.
func TestDeadlinesAreFoundBesideServing(t *testing.T) {
	g := aloneGroup(t)
	box, now := [16]byte{1}, int64(1_800_000_000_000)
	until := uint32((now + timeToLive.Milliseconds()) / 60_000)
	send := &machine.Send{
		Principal: "p", Mailbox: box, Producer: [8]byte{3}, Lowest: 1, Sessions: [][16]byte{{2}},
		NewSessions: []machine.SessionItem{{ID: [16]byte{2}, NotAfterMinutes: uint32(now/60_000) + 60, Header: []byte{1}}},
		Items:       []machine.SendItem{{Counter: 1, NotAfterMinutes: until, Header: []byte{1}, Sealed: []byte{1}}},
	}
	g.apply(t, now, &machine.MailboxCreate{Principal: "p", Items: []machine.MailboxCreateItem{{Name: "b", ID: box}}},
		send, &machine.Lease{Principal: "p", Mailbox: box, Lease: [8]byte{4}, MaxMessages: 1, MaxBytes: 1 << 20,
			LeaseMillis: 5000})

	// What is found cannot be noted yet.
	g.holds.mu.Lock()
	led, lost := make(chan struct{}), make(chan struct{})
	go func() {
		g.follow(raftlog.LeaderState{Leading: true})
		close(led)
		g.follow(raftlog.LeaderState{})
		close(lost)
	}()
	await(t, "the beginning of a term", led)
	waiting := &receiver{}
	for g.waits.join(box, waiting) {
		g.waits.leave(box, waiting)
		time.Sleep(time.Millisecond)
	}
	g.holds.mu.Unlock()
	await(t, "the end of a term", lost)
	if due := g.holds.due(now+10_000, 10); len(due) != 0 {
		t.Errorf("%d deadlines are kept of a term that is over", len(due))
	}

	g.follow(raftlog.LeaderState{Leading: true})
	g.search.work.Wait()
	if due := g.holds.due(now+4999, 10); len(due) != 0 {
		t.Error("a deadline comes too early")
	}
	if due := g.holds.due(now+5000, 10); len(due) != 1 || due[0] != box {
		t.Errorf("due are %x", due)
	}
	if g.findHolds(func() bool { return true }); len(g.holds.nearest) != 0 {
		t.Error("a search that is over goes on")
	}
}

func await(t *testing.T, what string, c <-chan struct{}) {
	t.Helper()
	select {
	case <-c:
	case <-time.After(30 * time.Second):
		t.Fatalf("waited for %s in vain", what)
	}
}
