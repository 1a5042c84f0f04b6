package machine

import (
	"context"
	"fmt"
	"testing"
)

// box is a machine with one mailbox and one session, for tests that need many messages.
type limitBox struct {
	t       *testing.T
	m       *Mail
	log     testLog
	counter uint64
	leases  uint64
}

func newLimitBox(t *testing.T) *limitBox {
	b := &limitBox{t: t, m: newMail(t), log: testLog{now: testNow}}
	b.run(
		&MailboxCreate{"ada", []MailboxCreateItem{{"box", boxID(1)}}},
		&SessionPut{"ada", boxID(1), []SessionItem{{sessionID(1), minutes(testNow) + 600, nil}}},
	)
	return b
}

func (b *limitBox) run(cs ...command) []Outcome {
	b.t.Helper()
	return apply(b.t, b.m, b.log.entry(cs...))[0]
}

// send makes a command of n messages whose counters are step apart.
func (b *limitBox) send(n int, step uint64, life uint32) *Send {
	c := &Send{Principal: "ada", Mailbox: boxID(1), Sessions: [][16]byte{sessionID(1)}}
	for range n {
		c.Items = append(c.Items, SendItem{
			Counter: b.counter, Epoch: 1, NotAfterMinutes: minutes(b.log.now) + life, Header: make([]byte, 44), Sealed: make([]byte, 28),
		})
		b.counter += step
	}
	return c
}

func (b *limitBox) lease(n uint32) *Lease {
	b.leases++
	return &Lease{
		Principal: "ada", Mailbox: boxID(1), Lease: leaseID(b.leases), MaxMessages: n, MaxBytes: 1 << 40, EpochHigh: 1 << 31,
	}
}

// A mailbox has at most MaxInFlight messages leased; an ack that makes room says so, so that receivers ask again.
func TestInFlightLimit(t *testing.T) {
	b := newLimitBox(t)
	b.run(b.send(MaxInFlight+500, 1, 60))
	if o := b.run(b.lease(MaxInFlight - 1))[0]; len(o.Deliveries) != MaxInFlight-1 {
		t.Fatalf("leased %d", len(o.Deliveries))
	}
	if o := b.run(b.lease(5))[0]; len(o.Deliveries) != 1 || o.Ready != 500 {
		t.Fatalf("leased %d, ready %d", len(o.Deliveries), o.Ready)
	}
	if o := b.run(b.lease(5))[0]; len(o.Deliveries) != 0 || o.Code != CodeOK || o.Ready != 500 {
		t.Fatalf("leased %d above the limit: %v", len(o.Deliveries), o.Code)
	}
	out := b.run(&Ack{"ada", boxID(1), leaseID(1), []SeqRange{{1, 3}}}, &Ack{"ada", boxID(1), leaseID(1), []SeqRange{{4, 1}}})
	if !out[0].Wake || out[1].Wake {
		t.Errorf("wake is %v and %v: only the ack that leaves the limit should wake", out[0].Wake, out[1].Wake)
	}
	if o := b.run(b.lease(9))[0]; len(o.Deliveries) != 4 {
		t.Errorf("leased %d of 4", len(o.Deliveries))
	}
}

func TestEpochLimit(t *testing.T) {
	b := newLimitBox(t)
	for epoch := range uint32(MaxWaitingEpochs) {
		c := b.send(1, 1, 60)
		c.Items[0].Epoch = epoch
		if o := b.run(c)[0]; o.Sends[0].Code != CodeOK {
			t.Fatalf("epoch %d: %v", epoch, o.Sends[0].Code)
		}
	}
	c := b.send(2, 1, 60)
	c.Items[0].Epoch, c.Items[1].Epoch = MaxWaitingEpochs, MaxWaitingEpochs-1
	o := b.run(c)[0]
	if o.Sends[0].Code != CodeEpochLimit || o.Sends[1].Code != CodeOK {
		t.Fatalf("%+v", o.Sends)
	}
	b.run(b.lease(1), &Ack{"ada", boxID(1), leaseID(1), []SeqRange{{1, 1}}})
	c = b.send(1, 1, 60)
	c.Items[0].Epoch = MaxWaitingEpochs
	if o := b.run(c)[0]; o.Sends[0].Code != CodeOK {
		t.Fatalf("after one was drained: %v", o.Sends[0].Code)
	}
}

// A producer that never says what was answered is refused before its row grows without bound.
func TestProducerWindow(t *testing.T) {
	b := newLimitBox(t)
	if o := b.run(b.send(MaxProducerRuns+10, 2, 60))[0]; len(o.Sends) != 2 || o.Sends[0].Count != MaxProducerRuns ||
		o.Sends[1] != (SendRun{10, CodeProducerWindow, false, 0}) {
		t.Fatalf("%+v", o.Sends)
	}
	c := b.send(1, 2, 60)
	c.Items[0].Counter = 2 // one of those that were stored
	if o := b.run(c)[0]; !o.Sends[0].Duplicate || o.Sends[0].Seq != 2 {
		t.Fatalf("%+v", o.Sends)
	}
	c = b.send(3, 2, 60)
	c.Lowest = 20
	if o := b.run(c)[0]; o.Sends[0] != (SendRun{3, CodeOK, false, MaxProducerRuns + 1}) {
		t.Fatalf("%+v", o.Sends)
	}
}

// What a tick leaves for the next one, whichever way the entries are cut into runs.
func TestTickBudget(t *testing.T) {
	const boxes, messages = 3_000, 6_000
	build := func() (*limitBox, []Entry) {
		b := newLimitBox(t)
		entries := []Entry{b.log.entry(b.send(messages, 1, 5), b.lease(10))}
		for n := uint64(2); n < boxes; n += 500 {
			create := &MailboxCreate{Principal: "ada"}
			var cs []command
			for i := n; i < n+500; i++ {
				create.Items = append(create.Items, MailboxCreateItem{fmt.Sprint("box.", i), boxID(i)})
				put := &SessionPut{"ada", boxID(i), []SessionItem{{sessionID(1), minutes(testNow) + 600, nil}}}
				send := b.send(1, 1, 5)
				send.Mailbox, b.counter = boxID(i), b.counter-1
				cs = append(cs, put, send)
			}
			entries = append(entries, b.log.entry(append([]command{create}, cs...)...))
		}
		b.log.now += 20 * minuteMillis
		for range 5 {
			entries = append(entries, b.log.entry(&Tick{}))
		}
		return b, entries
	}
	one, entries := build()
	more := []bool{}
	for _, e := range entries {
		out := apply(t, one.m, e)[0]
		if len(out) == 1 {
			more = append(more, out[0].More)
		}
	}
	if want := "[true true false false false]"; fmt.Sprint(more) != want {
		t.Errorf("more is %v, want %v", more, want)
	}
	left := uint64(0)
	for n := uint64(1); n < boxes; n++ {
		row, err := one.m.Lookup(boxID(n))
		if err != nil {
			t.Fatal(err)
		}
		s, err := written(t, one.m).MailboxState(row.Number)
		if err != nil {
			t.Fatal(err)
		}
		left += s.Waiting()
	}
	if left != 10 { // those that are leased
		t.Errorf("%d messages are left, want 10", left)
	}
	for _, split := range []int{len(entries), 4} {
		other, _ := build()
		for at := 0; at < len(entries); at += split {
			apply(t, other.m, entries[at:min(at+split, len(entries))]...)
		}
		if digest(t, other.m) != digest(t, one.m) {
			t.Errorf("runs of %d entries come out otherwise than one by one", split)
		}
	}
}

// The configuration that Raft hands over is kept with the index, in whatever run it comes.
func TestConfiguration(t *testing.T) {
	b := newLimitBox(t)
	config := Applied{Index: 5, Term: 2, ConfigIndex: 5, Config: []byte("members")}
	if _, err := b.m.Apply(nil, &config, false); err != nil {
		t.Fatal(err)
	}
	check := func(got Applied, index uint64) {
		t.Helper()
		if got.Index != index || got.ConfigIndex != 5 || string(got.Config) != "members" {
			t.Fatalf("applied %+v", got)
		}
	}
	check(b.m.Applied(), 5)
	b.log.index = 6
	b.run(&Tick{})
	check(b.m.Applied(), 7)
	if durable, err := b.m.stores.DurableApplied(1); err != nil || durable.Index != 0 {
		t.Fatalf("durable before a flush: %+v, %v", durable, err)
	}
	written(t, b.m)
	if err := b.m.stores.Flush(context.Background()); err != nil {
		t.Fatal(err)
	}
	durable, err := b.m.stores.DurableApplied(1)
	if err != nil {
		t.Fatal(err)
	}
	check(durable, 7)
	older := Applied{Index: 6, ConfigIndex: 4, Config: []byte("older")}
	if _, err := b.m.Apply(nil, &older, false); err != nil {
		t.Fatal(err)
	}
	check(b.m.Applied(), 7)
}

// Entries that are in the stores already, and those of Raft's own, change nothing and are not answered.
func TestSkippedEntries(t *testing.T) {
	b := newLimitBox(t)
	e := b.log.entry(b.send(1, 1, 60))
	noop := Entry{Index: e.Index + 1, Term: 1}
	again := Entry{Index: e.Index, Term: 1, Data: e.Data}
	out := apply(t, b.m, e, noop, again)
	if len(out[0]) != 1 || out[1] != nil || out[2] != nil {
		t.Errorf("%d, %d and %d outcomes", len(out[0]), len(out[1]), len(out[2]))
	}
	before := digest(t, b.m)
	if out := apply(t, b.m, again, noop); out[0] != nil || out[1] != nil {
		t.Errorf("answered %v", out)
	}
	if digest(t, b.m) != before {
		t.Error("an entry that was applied before changed something")
	}
	if out, err := b.m.Apply(nil, nil, false); out != nil || err != nil {
		t.Errorf("an empty run gives %v, %v", out, err)
	}
	b.log.index += 5
	if out, err := b.m.Apply([]Entry{b.log.entry(b.send(1, 1, 60))}, nil, false); out != nil || err != nil {
		t.Errorf("a run whose outcomes nobody wants gives %v, %v", out, err)
	}
}

// A page remembers only the last leases that acknowledged, so that the row of a mailbox whose messages are acknowledged
// one by one stays small.
func TestAckedAreForgotten(t *testing.T) {
	b := newLimitBox(t)
	const n = 250
	b.run(b.send(n+1, 1, 60))
	ack := func(seq uint64) *Ack { return &Ack{"ada", boxID(1), leaseID(seq), []SeqRange{{seq, 1}}} }
	largest := 0
	for seq := uint64(1); seq <= n; seq++ {
		if o := b.run(b.lease(1), ack(seq))[1]; o.Codes[0].Code != CodeOK {
			t.Fatalf("ack %d: %v", seq, o.Codes)
		}
		for k, row := range rows(t, b.m) {
			if k[4:6] == "21" {
				largest = max(largest, len(row)/2)
			}
		}
	}
	remembered := 0
	for seq := uint64(1); seq <= n; seq++ {
		if o := b.run(ack(seq))[0]; o.Codes[0].Code == CodeOK {
			remembered++
		} else if seq > n-maxAcked/2 {
			t.Errorf("the ack of %d is not remembered", seq)
		}
	}
	if remembered > maxAcked || remembered < maxAcked/2 {
		t.Errorf("%d acks are remembered", remembered)
	}
	if largest > 600 {
		t.Errorf("the row grew to %d bytes", largest)
	}
}
