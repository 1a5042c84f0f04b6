package wire

import "testing"

// measure returns what a frame takes beside sealed bytes and the fields of clear headers, per message.
func measure(t *testing.T, what string, m Message, messages, exempt int, limit float64) {
	t.Helper()
	frame := len(AppendFrame(nil, 1, m))
	got := float64(frame-exempt) / float64(messages)
	t.Logf("%-46s %6.2f bytes a message (limit %2v), %8.2f in all", what, got, limit, float64(frame)/float64(messages))
	if limit != 0 && got > limit {
		t.Errorf("%s: %.2f bytes a message, limit %v", what, got, limit)
	}
}

// What the protocol costs on batches of 64 messages of 1 KiB with counted ids to one mailbox. Everything in the frame
// counts but the sealed bytes and the 12 bytes of each clear header; what has no target has the limit 0. Of the bytes
// in all, 1,024 are the message's and 28 nonce and tag.
func TestOverheadPerMessage(t *testing.T) {
	const n, sealed = 64, 1024 + 28
	exempt := n * (sealed + headerStartBytes)

	send := batch(n, sealed)
	measure(t, "send", send, n, exempt, 8)

	first := batch(n, sealed)
	first.Sessions[0].Init = make([]byte, 1500)
	first.Sessions[0].ID = SessionID(first.Mailbox.ID, first.Sessions[0].Init)
	for i := range first.Items {
		first.Items[i].Header.Session = first.Sessions[0].ID
	}
	measure(t, "send, bringing a session header of 1,500", first, n, exempt, 0)

	reply := &SendReply{}
	for i := range n {
		reply.Add(SendResult{Seq: 1<<40 + uint64(i)})
	}
	measure(t, "send reply", reply, n, 0, 0)

	measure(t, "delivery", delivery(n, sealed, 1<<40), n, exempt, 10)
	measure(t, "delivery, 4 producers with a session each", mixed(n, sealed), n, exempt, 12)

	measure(t, "ack of a whole batch", &Ack{Seqs: []SeqRange{{1 << 40, n}}}, n, 0, 4)
	gaps := &Ack{}
	for i := range uint64(n) {
		gaps.Seqs = AddSeq(gaps.Seqs, 1<<40+2*i)
	}
	measure(t, "ack of every second message", gaps, n, 0, 4)
	measure(t, "lease reply", &LeaseReply{Runs: []LeaseRun{{n, CodeOK}}}, n, 0, 0)
}

// mixed is a delivery of messages from four producers in turn, a hundred a second.
func mixed(n, sealed int) *Deliver {
	m := &Deliver{LeaseMillis: 29_990}
	for i := range n {
		p := i % 4
		item := DeliverItem{Seq: 1<<40 + uint64(i), Attempts: 1, StoredMillis: 1_800_000_000_000 + int64(10*i)}
		item.Header = ClearHeader{
			Type: BodySealed, NotAfterMinutes: 30_000_000, Epoch: 3, Session: [16]byte{byte(p)},
			ID: CountedID([8]byte{byte(p)}, uint64(p)<<30+uint64(i/4)),
		}
		item.Sealed = make([]byte, sealed)
		m.Place(&item, false)
		m.Items = append(m.Items, item)
	}
	return m
}
