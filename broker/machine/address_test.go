package machine

import (
	"errors"
	"testing"

	"github.com/sealmq/sealmq/storage"
)

// TestRowsOfAddressesMustMeet: addresses are found by counting from the first of their page. A row that reaches over what
// follows it would put one message's address in another's place.
func TestRowsOfAddressesMustMeet(t *testing.T) {
	stores := newStores(t)
	s := &bench{benchLoad: benchLoad{batch: 9, mailboxes: 1}, log: testLog{now: testNow}, counter: make([]uint64, 1)}
	open := func() *Mail {
		m, err := OpenMail(stores, 1, 0)
		if err != nil {
			t.Fatal(err)
		}
		return m
	}
	s.m = open()
	apply(t, s.m, s.log.entry(
		&MailboxCreate{Principal: "owner", Items: []MailboxCreateItem{{"box", boxID(0)}}},
		&SessionPut{Principal: "sender", Mailbox: boxID(0), Items: []SessionItem{
			{sessionID(0), minutes(testNow) + 600, make([]byte, 100)},
		}},
	))
	for range 2 { // two rows of nine
		sends, _ := s.entries(9)
		apply(t, s.m, sends...)
	}
	reader := written(t, s.m)
	last, err := reader.Addresses(1, 10)
	if err != nil || len(last) != 9 {
		t.Fatalf("the second row has %d addresses: %v", len(last), err)
	}
	batch := stores.NewBatch(1)
	batch.PutAddresses(1, 10, append(last, last[8]))
	if err := batch.Commit(&storage.Marks{Applied: s.m.Applied(), TimeMillis: s.log.now}, nil); err != nil {
		t.Fatal(err)
	}
	_, err = open().Apply(s.lease([][16]byte{boxID(0)}), nil, true)
	if !errors.Is(err, storage.ErrDamaged) {
		t.Errorf("leased by rows that do not meet: %v", err)
	}
}

// TestOnlyTheLastPageHasRoom: what a backlog keeps in memory once it is written is its newest addresses, beside the page
// that is being filled.
func TestOnlyTheLastPageHasRoom(t *testing.T) {
	s := &bench{benchLoad: benchLoad{batch: 9, mailboxes: 1}, log: testLog{now: testNow}, counter: make([]uint64, 1)}
	s.m = newMail(t)
	apply(t, s.m, s.log.entry(
		&MailboxCreate{Principal: "owner", Items: []MailboxCreateItem{{"box", boxID(0)}}},
		&SessionPut{Principal: "sender", Mailbox: boxID(0), Items: []SessionItem{
			{sessionID(0), minutes(testNow) + 600, make([]byte, 100)},
		}},
	))
	for range 60 {
		sends, _ := s.entries(9)
		apply(t, s.m, sends...)
		written(t, s.m)
	}
	mb := s.m.cache.byID[boxID(0)]
	if len(mb.pages) != 3 {
		t.Fatalf("%d messages are in %d pages", mb.state.Next-1, len(mb.pages))
	}
	for i, p := range mb.pages {
		want := 0
		if i == len(mb.pages)-1 {
			want = 2 * maxInlineAddresses
		}
		if cap(p.room) != want || cap(p.addresses) != want || len(p.addresses) > maxInlineAddresses {
			t.Errorf("page %d has room for %d addresses, and %d of %d in memory", i, cap(p.room), len(p.addresses),
				cap(p.addresses))
		}
	}
	if &mb.inline[0] != &mb.room.producers[0] || &mb.sessions.few[0] != &mb.room.sessions[0] ||
		&mb.state.Epochs[0] != &mb.room.epochs[0] {
		t.Error("the mailbox does not use its room")
	}
}
