package machine

import (
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// TestHighestCounter: what a sender may choose never makes a row that does not parse again, which would end every node
// whenever it reads the mailbox.
func TestHighestCounter(t *testing.T) {
	stores := storesOn(t, vfs.NewMem(), true)
	defer stores.Close()
	anew := func(e Entry) []Outcome {
		m, err := OpenMail(stores, 1, 0)
		if err != nil {
			t.Fatal(err)
		}
		out := apply(t, m, e)
		written(t, m)
		return out[0]
	}
	log := &testLog{now: testNow}
	send := func(counter, lowest uint64) *Send {
		return &Send{
			Principal: "sender", Mailbox: boxID(1), Producer: [8]byte{1}, Lowest: lowest, Sessions: [][16]byte{sessionID(1)},
			Items: []SendItem{{
				Counter: counter, Epoch: 1, NotAfterMinutes: minutes(testNow) + 60, Header: make([]byte, 44),
				Sealed: make([]byte, 28),
			}},
		}
	}
	anew(log.entry(
		&MailboxCreate{Principal: "owner", Items: []MailboxCreateItem{{"box", boxID(1)}}},
		&SessionPut{Principal: "sender", Mailbox: boxID(1), Items: []SessionItem{
			{sessionID(1), minutes(testNow) + 600, make([]byte, 100)},
		}},
	))
	for _, x := range []struct {
		counter, lowest uint64
		code            Code
	}{
		{1<<64 - 1, 1<<64 - 1, CodeMalformed}, {1<<64 - 1, 0, CodeMalformed}, {MaxCounter + 1, MaxCounter, CodeMalformed},
		{MaxCounter, MaxCounter, CodeOK}, {MaxCounter, MaxCounter, CodeOK},
	} {
		if got := anew(log.entry(send(x.counter, x.lowest)))[0]; got.Code != x.code {
			t.Errorf("counter %d: %v, not %v", x.counter, got.Code, x.code)
		}
	}
	if got := anew(log.entry(send(MaxCounter, MaxCounter)))[0].Sends[0]; !got.Duplicate || got.Seq != 1 {
		t.Errorf("the highest counter again: %+v", got)
	}
}
