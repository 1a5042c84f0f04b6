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
