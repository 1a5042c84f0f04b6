package wire

import (
	"encoding/binary"
	"testing"
)

// batch returns n messages of sealedBytes from one producer in one session.
func batch(n, sealedBytes int) *Send {
	m := &Send{
		Mailbox:          MailboxRef{Slot: 77, ID: [16]byte{1, 2, 3}},
		Producer:         [8]byte{9, 8, 7, 6, 5, 4, 3, 2},
		LowestUnanswered: 5_000_000,
		Sessions:         []SessionRef{{ID: [16]byte{4, 4}}},
	}
	for i := range n {
		m.Items = append(m.Items, SendItem{
			Header: ClearHeader{
				Type: BodySealed, Flags: HeaderPadded, NotAfterMinutes: 30_000_000, Epoch: 3,
				Session: m.Sessions[0].ID, ID: CountedID(m.Producer, m.LowestUnanswered+uint64(i)),
			},
			Sealed: make([]byte, sealedBytes),
		})
	}
	return m
}

// delivery returns the delivery of what batch sent, the first message with number seq.
func delivery(n, sealedBytes int, seq uint64) *Deliver {
	send := batch(n, sealedBytes)
	m := &Deliver{Mailbox: send.Mailbox, Lease: [8]byte{1}, LeaseMillis: 29_990}
	for i := range send.Items {
		item := DeliverItem{
			Seq: seq + uint64(i), Attempts: 1, StoredMillis: 1_800_000_000_000 + int64(i/7),
			Header: send.Items[i].Header, Sealed: send.Items[i].Sealed,
		}
		m.Place(&item, false)
		m.Items = append(m.Items, item)
	}
	return m
}

// hot returns the messages of the path that every message takes.
func hot() map[string]Message {
	reply := &SendReply{}
	for i := range 64 {
		reply.Add(SendResult{Seq: 1000 + uint64(i)})
	}
	keyed := batch(64, 1024)
	for i := range keyed.Items {
		keyed.Items[i].Keyed = true
		binary.BigEndian.PutUint64(keyed.Items[i].Header.ID[:], uint64(i)*0x9e3779b97f4a7c15)
	}
	ack := &Ack{Seqs: []SeqRange{{1000, 64}}}
	return map[string]Message{
		"send": batch(64, 1024), "send-keyed": keyed, "send-reply": reply,
		"deliver": delivery(64, 1024, 1000), "ack": ack, "lease-reply": &LeaseReply{Runs: []LeaseRun{{64, CodeOK}}},
	}
}

func BenchmarkHotPath(b *testing.B) {
	for name, m := range hot() {
		frame := AppendFrame(nil, 1, m)
		b.Run(name+"/append", func(b *testing.B) {
			b.SetBytes(int64(len(frame)))
			b.ReportAllocs()
			dst := frame
			for b.Loop() {
				dst = AppendFrame(dst[:0], 1, m)
			}
		})
		b.Run(name+"/decode", func(b *testing.B) {
			b.SetBytes(int64(len(frame)))
			b.ReportAllocs()
			into := New(m.Type())
			payload := AppendFrame(nil, 1, m)[FrameHeaderBytes:]
			for b.Loop() {
				if err := into.Decode(payload); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// Decoding into a message that was used before, and appending to a slice with room, takes no memory.
func TestHotPathDoesNotAllocate(t *testing.T) {
	for name, m := range hot() {
		dst := AppendFrame(nil, 1, m)
		payload := dst[FrameHeaderBytes:]
		into := New(m.Type())
		decode := func() {
			if err := into.Decode(payload); err != nil {
				t.Fatal(err)
			}
		}
		decode()
		if n := testing.AllocsPerRun(20, decode); n != 0 {
			t.Errorf("%s: decode allocates %v times", name, n)
		}
		room := make([]byte, 0, len(dst))
		if n := testing.AllocsPerRun(20, func() { AppendFrame(room, 1, m) }); n != 0 {
			t.Errorf("%s: append allocates %v times", name, n)
		}
	}
}
