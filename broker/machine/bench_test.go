package machine

import (
	"fmt"
	"testing"
)

// load is the shape of a benchmark: what one sender sends at a time, and to how many mailboxes.
type benchLoad struct {
	batch, mailboxes int
	keyed            bool
}

type bench struct {
	benchLoad
	b       *testing.B
	m       *Mail
	log     testLog
	counter []uint64
	next    int
	sealed  []byte
	header  []byte
	leases  uint64
	keys    uint64
}

func newBench(b *testing.B, l benchLoad) *bench {
	s := &bench{benchLoad: l, b: b, m: newMail(b), log: testLog{now: testNow}, counter: make([]uint64, l.mailboxes)}
	s.sealed, s.header = make([]byte, 1024+28), make([]byte, 44)
	for i := range l.mailboxes {
		create := &MailboxCreate{Principal: "owner", Items: []MailboxCreateItem{{fmt.Sprintf("box.%d", i), boxID(uint64(i))}}}
		put := &SessionPut{Principal: "sender", Mailbox: boxID(uint64(i)), Items: []SessionItem{
			{sessionID(uint64(i)), minutes(testNow) + 600, make([]byte, 1300)},
		}}
		apply(b, s.m, s.log.entry(create, put))
	}
	return s
}

func (s *bench) send(dst []byte) ([]byte, [16]byte) {
	box := s.next % s.mailboxes
	s.next++
	c := Send{
		Principal: "sender", Mailbox: boxID(uint64(box)), Producer: [8]byte{1}, Lowest: s.counter[box],
		Sessions: [][16]byte{sessionID(uint64(box))}, Items: make([]SendItem, s.batch),
	}
	for i := range c.Items {
		it := &c.Items[i]
		it.Counter = s.counter[box]
		it.Keyed = s.keyed
		if s.keyed {
			s.keys++
			it.ID = sessionID(s.keys * 0x9E3779B97F4A7C15)
		}
		it.Epoch, it.NotAfterMinutes = 7, minutes(s.log.now)+1440
		it.Header, it.Sealed = s.header, s.sealed
		s.counter[box]++
	}
	return c.Append(dst), c.Mailbox
}

// entries returns entries of about 256 KiB with n messages, as the leader would fill them, and the mailboxes in the
// order in which they were sent to.
func (s *bench) entries(n int) (out []Entry, boxes [][16]byte) {
	for n > 0 {
		s.log.now += 5
		data := AppendEntryHeader(make([]byte, 0, 300<<10), s.log.now, 1)
		for len(data) < 256<<10 && n > 0 {
			var box [16]byte
			data, box = s.send(data)
			boxes = append(boxes, box)
			n -= s.batch
		}
		s.log.index++
		out = append(out, Entry{Index: s.log.index, Term: 1, Data: data})
	}
	return out, boxes
}

// commands returns entries of as many commands as fit into 64 KiB.
func (s *bench) commands(cs []command) (out []Entry) {
	for len(cs) > 0 {
		s.log.now += 5
		data := AppendEntryHeader(nil, s.log.now, 1)
		for len(data) < 16<<10 && len(cs) > 0 {
			data = cs[0].Append(data)
			cs = cs[1:]
		}
		s.log.index++
		out = append(out, Entry{Index: s.log.index, Term: 1, Data: data})
	}
	return out
}

// round is how many messages are prepared at a time, outside of what is measured.
const round = 8_192

func (s *bench) timed(entries []Entry) [][]Outcome {
	var out [][]Outcome
	s.b.StartTimer()
	for i := range entries {
		o, err := s.m.Apply(entries[i:i+1], nil, true)
		if err != nil {
			s.b.Fatal(err)
		}
		out = append(out, o...)
	}
	s.b.StopTimer()
	return out
}

func (s *bench) lease(boxes [][16]byte) []Entry {
	var cs []command
	for _, box := range boxes {
		s.leases++
		cs = append(cs, &Lease{
			Principal: "owner", Mailbox: box, Receiver: [16]byte{1}, Lease: leaseID(s.leases),
			MaxMessages: uint32(s.batch), MaxBytes: 1 << 30, EpochHigh: 1 << 30,
		})
	}
	return s.commands(cs)
}

func (s *bench) acks(out [][]Outcome) []Entry {
	var cs []command
	for _, entry := range out {
		for i := range entry {
			o := &entry[i]
			if len(o.Deliveries) != s.batch {
				s.b.Fatalf("leased %d messages of %d: %v", len(o.Deliveries), s.batch, o.Code)
			}
			cs = append(cs, &Ack{
				Principal: "owner", Mailbox: o.Mailbox, Lease: o.Lease,
				Ranges: []SeqRange{{o.Deliveries[0].Seq, uint32(s.batch)}},
			})
		}
	}
	return s.commands(cs)
}

func benchmark(b *testing.B, l benchLoad, phase string) {
	s := newBench(b, l)
	b.ReportAllocs()
	b.ResetTimer()
	b.StopTimer()
	for done := 0; done < b.N; {
		n := max(min(round, b.N-done), l.batch)
		n -= n % l.batch
		sends, boxes := s.entries(n)
		s.phase(phase, "send", sends)
		out := s.phase(phase, "lease", s.lease(boxes))
		if phase != "send" || l.mailboxes > 0 {
			acked := s.phase(phase, "ack", s.acks(out))
			for _, entry := range acked {
				for i := range entry {
					if entry[i].Codes[0] != (CodeRun{uint32(l.batch), CodeOK}) {
						b.Fatalf("ack answered %v", entry[i])
					}
				}
			}
		}
		done += n
	}
}

// phase applies entries, and measures it if it is the phase that is asked for, or all are.
func (s *bench) phase(asked, is string, entries []Entry) [][]Outcome {
	if asked == is || asked == "all" {
		return s.timed(entries)
	}
	out, err := s.m.Apply(entries, nil, true)
	if err != nil {
		s.b.Fatal(err)
	}
	return out
}

// BenchmarkApply measures a message at a time, whatever the batch: ns/op and allocs/op are per message.
func BenchmarkApply(b *testing.B) {
	for _, phase := range []string{"send", "lease", "ack", "all"} {
		for _, l := range []benchLoad{
			{batch: 64, mailboxes: 4}, {batch: 64, mailboxes: 4, keyed: true},
			{batch: 1, mailboxes: 1}, {batch: 1, mailboxes: 10_000},
		} {
			name := fmt.Sprintf("%s/batch=%d/mailboxes=%d", phase, l.batch, l.mailboxes)
			if l.keyed {
				name += "/keyed"
			}
			b.Run(name, func(b *testing.B) { benchmark(b, l, phase) })
		}
	}
}
