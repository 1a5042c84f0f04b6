package machine

import "testing"

// TestFilterIsReadAgain: a machine that is opened knows which ids were not stored before, unless there were too many.
func TestFilterIsReadAgain(t *testing.T) {
	stores := newStores(t)
	open := func() *Mail {
		m, err := OpenMail(stores, 1, 0)
		if err != nil {
			t.Fatal(err)
		}
		return m
	}
	log := testLog{now: testNow}
	m := open()
	apply(t, m, log.entry(
		&MailboxCreate{Principal: "owner", Items: []MailboxCreateItem{{"box", boxID(1)}}},
		&SessionPut{Principal: "sender", Mailbox: boxID(1), Items: []SessionItem{
			{sessionID(1), minutes(testNow) + 600, make([]byte, 100)},
		}},
	))
	send := func(m *Mail, ids ...uint64) SendRun {
		c := &Send{Principal: "sender", Mailbox: boxID(1), Producer: [8]byte{1}, Sessions: [][16]byte{sessionID(1)}}
		for _, id := range ids {
			c.Items = append(c.Items, SendItem{
				Keyed: true, ID: sessionID(id), Epoch: 1, NotAfterMinutes: minutes(log.now) + 1440,
				Header: make([]byte, 44), Sealed: make([]byte, 100),
			})
		}
		return apply(t, m, log.entry(c))[0][0].Sends[0]
	}
	send(m, 1, 2, 3)
	log.now += dedupWindowMillis
	send(m, 4, 5)
	written(t, m)

	mb := m.mailbox(boxID(1))
	hash := func(id uint64) uint64 { return idHash(mb.row.Number, m.hash("sender"), sessionID(id)) }
	for _, limit := range []int{0, 1, 2, 3, filterReadIDs} {
		again := open()
		if err := again.readFilters(limit); err != nil {
			t.Fatal(err)
		}
		now, before := &again.filters[0], &again.filters[1]
		if now.whole != (limit >= 2) || before.whole != (limit >= 3) {
			t.Errorf("limit %d: whole %v, %v", limit, now.whole, before.whole)
		}
		if !now.perhaps(hash(4)) || !now.perhaps(hash(5)) || !before.perhaps(hash(1)) {
			t.Errorf("limit %d: an id that was stored is not known", limit)
		}
		if now.whole && now.perhaps(hash(1)) && now.perhaps(hash(2)) && now.perhaps(hash(9)) {
			t.Errorf("limit %d: everything is perhaps there", limit)
		}
	}
	if got := send(open(), 2); !got.Duplicate || got.Seq != 2 {
		t.Errorf("sent again: %+v", got)
	}
}
