package machine

import (
	"encoding/hex"
	"fmt"
	"math/rand/v2"
	"reflect"
	"slices"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/sealmq/sealmq/internal/codec"
	"github.com/sealmq/sealmq/internal/testkit"
	"github.com/sealmq/sealmq/storage"
)

// generator makes commands that mean something: it looks at the twin to name leases that exist, and often does not.
type generator struct {
	*rand.Rand
	twin    *twin
	log     testLog
	leases  uint64
	counter map[string]uint64
	bulk    bool // many messages that live long, so that heads cross pages
}

func newGenerator(seed uint64) *generator {
	return &generator{
		Rand: rand.New(rand.NewPCG(seed, 1)), twin: newTwin(), log: testLog{now: testNow},
		counter: map[string]uint64{}, bulk: seed%2 == 1,
	}
}

var (
	principals = []string{"ada", "bob", "cyd"}
	epochs     = []uint32{3, 4, 9}
)

func (g *generator) principal() string  { return principals[g.IntN(len(principals))] }
func (g *generator) box() [16]byte      { return boxID(uint64(g.IntN(4))) }
func (g *generator) receiver() [16]byte { return [16]byte{1 + byte(g.IntN(3))} }

func (g *generator) advanceTime() {
	switch n := g.IntN(100); {
	case n < 50:
		g.log.now += int64(g.IntN(2_000))
	case n < 60:
		g.log.now += int64(g.IntN(60_000))
	case n < 63:
		g.log.now += int64(g.IntN(20 * 60_000))
	case n < 64:
		g.log.now += int64(g.IntN(3 * 86_400_000))
	case n < 66:
		g.log.now -= int64(g.IntN(5_000)) // a leader whose clock is behind
	}
}

func (g *generator) command() command {
	switch n := g.IntN(100); {
	case n < 3:
		return g.create()
	case n < 4 && g.IntN(8) == 0:
		return &MailboxDelete{Principal: g.principal(), Mailbox: g.box()}
	case n < 6:
		return g.publish()
	case n < 10:
		return &SessionPut{Principal: g.principal(), Mailbox: g.box(), Items: g.sessions(1 + g.IntN(3))}
	case n < 35:
		return g.send()
	case n < 58:
		return g.lease()
	case n < 75:
		lease, principal, ranges, box := g.held()
		return &Ack{Principal: principal, Mailbox: box, Lease: lease, Ranges: ranges}
	case n < 84:
		lease, principal, ranges, box := g.held()
		c := &Nack{Principal: principal, Mailbox: box, Lease: lease, Ranges: ranges}
		c.Reason = NackReason(1 + g.IntN(6))
		if g.IntN(2) == 0 {
			c.DelayMillis = uint32(g.IntN(30_000))
		}
		return c
	case n < 89:
		lease, principal, ranges, box := g.held()
		return &Extend{
			Principal: principal, Mailbox: box, Lease: lease, Ranges: ranges, LeaseMillis: uint32(g.IntN(60_000)),
		}
	case n < 91:
		c := &Release{Mailbox: g.box(), Receiver: g.receiver()}
		if g.IntN(2) == 0 {
			c.Principal = g.principal()
		}
		return c
	case n < 96:
		_, _, ranges, box := g.held()
		return &Expire{Mailbox: box, Ranges: ranges}
	default:
		if g.IntN(4) == 0 {
			return &KeyDelete{Mailbox: g.box()}
		}
		return &KeyPut{Mailbox: g.box(), Generation: uint32(g.IntN(2)), Key: [32]byte{byte(g.IntN(9))}}
	}
}

func (g *generator) create() command {
	c := &MailboxCreate{Principal: g.principal()}
	for range 1 + g.IntN(3) {
		n := g.IntN(4)
		name := fmt.Sprintf("box.%d", n)
		if g.IntN(5) == 0 {
			name = fmt.Sprintf("box.%d", g.IntN(6))
		}
		c.Items = append(c.Items, MailboxCreateItem{name, boxID(uint64(n))})
	}
	return c
}

func (g *generator) publish() command {
	box := g.box()
	c := &KeyRecordPublish{
		Principal: g.principal(), Mailbox: box, Version: 1, Record: []byte("record"),
		Identity: [32]byte{byte(g.IntN(2))}, Hash: [32]byte{byte(g.IntN(200))},
	}
	if b := g.twin.boxes[box]; b != nil {
		c.Version, c.Previous = b.version+1, b.hash
		if g.IntN(3) == 0 {
			c.Version = b.version + uint64(g.IntN(3))
		}
		if g.IntN(2) == 0 {
			c.Principal = b.owner
		}
	}
	c.Version = max(c.Version, 1)
	return c
}

func (g *generator) sessions(n int) (items []SessionItem) {
	for range n {
		items = append(items, SessionItem{
			ID: sessionID(uint64(g.IntN(12))), NotAfterMinutes: minutes(g.log.now) + uint32(g.IntN(1500)),
			Header: []byte("header"),
		})
	}
	return items
}

func (g *generator) send() command {
	c := &Send{Principal: g.principal(), Mailbox: g.box(), Producer: [8]byte{byte(g.IntN(2))}}
	if g.IntN(2) == 0 {
		c.NewSessions = g.sessions(1 + g.IntN(2))
		for _, s := range c.NewSessions {
			c.Sessions = append(c.Sessions, s.ID)
		}
	}
	c.Sessions = append(c.Sessions, sessionID(uint64(g.IntN(12))))
	next := g.counter[c.Principal]
	c.Lowest = next - min(next, uint64(g.IntN(40)))
	size := 1 + g.IntN(4)
	if g.bulk || g.IntN(6) == 0 {
		size = 1 + g.IntN(120)
	}
	for range size {
		it := SendItem{
			Session: uint8(g.IntN(len(c.Sessions))), Epoch: epochs[g.IntN(len(epochs))],
			NotAfterMinutes: minutes(g.log.now) + uint32(g.IntN(40)),
			Header:          make([]byte, 44), Sealed: make([]byte, 28+g.IntN(100)),
		}
		if g.bulk || g.IntN(3) == 0 {
			it.NotAfterMinutes += uint32(g.IntN(20_000))
		}
		switch n := g.IntN(10); {
		case n < 3:
			it.Keyed, it.ID, it.Tag = true, [16]byte{byte(g.IntN(60))}, [16]byte{byte(g.IntN(10) / 9)}
		case n < 5 && next > 0:
			it.Counter = uint64(g.Int64N(int64(next + 2)))
		default:
			it.Counter = next
			next++
		}
		it.Digest = RecordDigest(it.Header, it.Sealed)
		c.Items = append(c.Items, it)
	}
	g.counter[c.Principal] = next
	return c
}

func (g *generator) lease() command {
	g.leases++
	c := &Lease{
		Principal: g.principal(), Mailbox: g.box(), Receiver: g.receiver(), Lease: leaseID(g.leases),
		MaxMessages: 1 + uint32(g.IntN(70)), MaxBytes: uint64(g.IntN(20_000)), EpochHigh: 100,
		LeaseMillis: uint32(g.IntN(60_000)),
	}
	if g.bulk {
		c.MaxMessages, c.MaxBytes = 1+uint32(g.IntN(300)), 1<<20
	} else if g.IntN(2) == 0 {
		c.MaxMessages = 1 + uint32(g.IntN(3))
	}
	if g.IntN(3) == 0 {
		c.EpochLow = epochs[g.IntN(len(epochs))]
		c.EpochHigh = c.EpochLow + uint32(g.IntN(2))
	}
	if g.IntN(3) == 0 {
		c.Attempt = [16]byte{byte(1 + g.IntN(6))}
	}
	if g.IntN(40) == 0 {
		c.Lease = leaseID(1 + g.Uint64N(g.leases))
	}
	return c
}

// held names messages: mostly some that a lease holds, sometimes anything.
func (g *generator) held() (lease [8]byte, principal string, ranges []SeqRange, box [16]byte) {
	box = g.box()
	lease, principal = leaseID(1+g.Uint64N(g.leases+1)), g.principal()
	ranges = []SeqRange{{1 + g.Uint64N(300), 1 + uint32(g.IntN(300))}}
	b := g.twin.boxes[box]
	if b == nil || len(b.messages) == 0 || g.IntN(12) == 0 {
		return lease, principal, ranges, box
	}
	var some []*twinMessage
	for _, m := range b.messages {
		if m.state == twinLeased || m.state == twinDelayed || g.IntN(200) == 0 && m.ackedBy != [8]byte{} {
			some = append(some, m)
		}
	}
	if len(some) == 0 {
		return lease, principal, ranges, box
	}
	m := some[g.IntN(len(some))]
	if m.state == twinLeased {
		lease, principal = m.lease, m.principal
	} else if m.state == twinDone {
		lease = m.ackedBy
	}
	if g.IntN(20) == 0 {
		principal = g.principal()
	}
	ranges = []SeqRange{{m.Seq, 1}}
	if g.bulk && m.state == twinLeased && g.IntN(4) != 0 {
		ranges = []SeqRange{{max(m.Seq, 101) - 100, 300}}
	} else if g.IntN(2) == 0 {
		ranges = nil
		for _, o := range some {
			if o.lease == m.lease && (g.IntN(8) != 0) {
				ranges = append(ranges, SeqRange{o.Seq, 1 + uint32(g.IntN(2))})
			}
		}
		ranges = append(ranges, SeqRange{m.Seq, 1 + uint32(g.IntN(60))})
		if g.IntN(6) == 0 {
			g.Shuffle(len(ranges), func(i, j int) { ranges[i], ranges[j] = ranges[j], ranges[i] })
		}
	}
	return lease, principal, ranges, box
}

// entry makes an entry, applies it to the twin and returns it with what the twin says. A tick has an entry for itself,
// and the next one is a tick as well while there is more for it to do: the twin knows no limit of work.
func (g *generator) entry(more bool) (Entry, []Outcome) {
	if !more {
		g.advanceTime()
	}
	var commands []command
	g.twin.now = max(g.twin.now, g.log.now)
	if more || g.IntN(25) == 0 {
		commands = append(commands, &Tick{})
	} else {
		for range 1 + g.IntN(3) {
			commands = append(commands, g.command())
		}
	}
	e := g.log.entry(commands...)
	var out []Outcome
	for i, c := range commands {
		out = append(out, g.twin.apply(c, &e, recordsOf(e.Data, i)))
	}
	return e, out
}

// recordsOf finds the body records of the n-th command of an entry by reading the entry from its start.
func recordsOf(data []byte, n int) (at []RecordAddress) {
	_, r, _, err := readEntry(data)
	if err != nil {
		panic(err)
	}
	for range n {
		r.Bytes(len(data))
	}
	body := r.Bytes(len(data))
	start := len(data) - r.Len() - len(body)
	if Kind(body[0]) != KindSend {
		return nil
	}
	fields := codec.NewReader(body[2:])
	var c Send
	c.decode(&fields, nil)
	for _, it := range c.Items {
		at = append(at, RecordAddress{uint32(start) + 2 + it.Record.Offset, it.Record.Length})
	}
	return at
}

func mustEqual(t *testing.T, what string, got, want any) {
	t.Helper()
	if !reflect.DeepEqual(got, want) {
		t.Fatalf("%s:\n got %+v\nwant %+v", what, got, want)
	}
}

func checkBoxes(t *testing.T, m *Mail, w *twin) {
	t.Helper()
	r := written(t, m)
	for id, b := range w.boxes {
		row, err := r.MailboxByID(id)
		if err != nil {
			t.Fatal(err)
		}
		byName, err := r.MailboxByName(b.name)
		if err != nil || byName != row {
			t.Fatalf("by name %+v, by id %+v, %v", byName, row, err)
		}
		s, err := r.MailboxState(row.Number)
		if err != nil {
			t.Fatal(err)
		}
		type counts struct {
			owner                                                    string
			version, head, next, ready, waiting, leased, delay, dead uint64
			bytes                                                    uint64
			epochs                                                   int
		}
		want := counts{
			b.owner, b.version, b.head, uint64(len(b.messages)) + 1, b.count(twinReady), 0, b.count(twinLeased),
			b.count(twinDelayed), b.count(twinDead), 0, len(b.epochs()),
		}
		for _, m := range b.messages {
			if m.state != twinDone {
				want.waiting++
				want.bytes += uint64(m.Length)
			}
		}
		got := counts{
			row.Owner, row.KeyVersion, s.Head, s.Next, s.Ready(), s.Waiting(), s.Leased, s.Delayed, s.Dead, s.Bytes,
			len(s.Epochs),
		}
		mustEqual(t, "counts of "+b.name, got, want)
		checkHolds(t, r, row.Number, b)
	}
	if list, err := r.List("box.", "", 100); err != nil || len(list) != len(w.boxes) {
		t.Fatalf("%d mailboxes listed, want %d: %v", len(list), len(w.boxes), err)
	}
	for id, generations := range w.keys {
		for generation, want := range generations {
			if got, err := r.MailboxKey(id, generation); err != nil || got != want {
				t.Fatalf("secret is %x, %v, want %x", got, err, want)
			}
		}
	}
}

func checkHolds(t *testing.T, r storage.Reader, number uint64, b *twinBox) {
	t.Helper()
	want := map[uint64]int64{}
	for _, m := range b.messages {
		if m.state == twinLeased || m.state == twinDelayed {
			want[m.Seq] = m.until
		}
	}
	got := map[uint64]int64{}
	err := r.Holds(func(h storage.Hold) error {
		for i := range uint64(h.Count) {
			if h.Mailbox == number {
				got[h.First+i] = h.AtMillis
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	mustEqual(t, "holds", got, want)
	var seqs []uint64
	for _, principal := range principals {
		for receiver := range byte(4) {
			leased, err := r.Leased(number, [16]byte{receiver}, principal)
			if err != nil {
				t.Fatal(err)
			}
			for _, l := range leased {
				for _, m := range l.Messages {
					w := b.messages[m.Seq-1]
					if !w.heldBy(l.Lease, principal) || w.Index != m.Index || w.Offset != m.Offset || w.Digest != m.Digest ||
						w.until != l.DeadlineMillis || w.Attempts != m.Attempts {
						t.Fatalf("leased %+v of %+v, want %+v", m, l, w)
					}
					seqs = append(seqs, m.Seq)
				}
			}
		}
	}
	if slices.Sort(seqs); len(slices.Compact(seqs)) != int(b.count(twinLeased)) {
		t.Fatalf("%d messages are listed as leased, want %d", len(seqs), b.count(twinLeased))
	}
}

func digest(t *testing.T, m *Mail) [32]byte {
	t.Helper()
	d, err := written(t, m).Digest()
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// TestTwin compares every outcome of random commands with the twin's, and the rows now and then. Then it applies the
// same log again, cut into other runs, with a cache that holds nothing, and through restarts and power cuts: the rows
// must come out the same to the byte.
func TestTwin(t *testing.T) {
	seeds, size, ways := 6, 500, 1
	if testkit.Long(t) {
		seeds, size, ways = 100, 2_000, 4
	}
	for seed := range seeds {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			log := compareWithTwin(t, uint64(seed), size)
			for way := range ways {
				for _, longest := range []int{200, 30, 4, 1} {
					r := rand.New(rand.NewPCG(uint64(seed), uint64(way*1000+longest)))
					replay(t, log, r, longest, longest > 4 || testkit.Long(t))
				}
			}
		})
	}
}

// compareRows says which rows differ, and from where on.
func compareRows(t *testing.T, got, want map[string]string) {
	t.Helper()
	for k := range want {
		a, b := got[k], want[k]
		if a == b {
			continue
		}
		n := 0
		for n < min(len(a), len(b)) && a[n] == b[n] {
			n++
		}
		t.Errorf("row %s of %d digits differs from digit %d on:\n got %.60s\nwant %.60s", k, len(b), n, a[n:], b[n:])
	}
	for k := range got {
		if _, ok := want[k]; !ok {
			t.Errorf("row %s should not be there", k)
		}
	}
}

type recorded struct {
	entries  []Entry
	outcomes [][]Outcome
	digest   [32]byte
	rows     map[string]string
}

func rows(t *testing.T, m *Mail) map[string]string {
	t.Helper()
	out := map[string]string{}
	err := written(t, m).Rows(func(k, row []byte) error {
		out[hex.EncodeToString(k)] = hex.EncodeToString(row)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func compareWithTwin(t *testing.T, seed uint64, size int) recorded {
	g := newGenerator(seed)
	m := newMail(t)
	var log recorded
	more := false
	for i := range size {
		e, want := g.entry(more)
		got := apply(t, m, e)[0]
		more = got[0].More
		want[0].More = more
		log.entries, log.outcomes = append(log.entries, e), append(log.outcomes, want)
		mustEqualOutcomes(t, log, i, [][]Outcome{got})
		if more {
			continue
		}
		if i%50 == 0 || i == size-1 {
			checkBoxes(t, m, g.twin)
		}
	}
	log.digest, log.rows = digest(t, m), rows(t, m)
	return log
}

// mustEqualOutcomes compares outcomes of entries, from one on, with what the twin said.
func mustEqualOutcomes(t *testing.T, log recorded, from int, got [][]Outcome) {
	t.Helper()
	for i := range got {
		e, want := log.entries[from+i], log.outcomes[from+i]
		if reflect.DeepEqual(got[i], want) {
			continue
		}
		for j := range want {
			mustEqual(t, fmt.Sprintf("entry %d command %d (%v)", e.Index, j, describe(e, j)), got[i][j], want[j])
		}
	}
}

// describe prints a command of an entry.
func describe(e Entry, n int) string {
	_, r, _, _ := readEntry(e.Data)
	for range n {
		r.Bytes(len(e.Data))
	}
	body := r.Bytes(len(e.Data))
	fields := codec.NewReader(body[2:])
	c := newCommand(Kind(body[0]))
	c.decode(&fields, nil)
	return fmt.Sprintf("%T %+v", c, c)
}

func newCommand(k Kind) command {
	switch k {
	case KindKeyPut:
		return &KeyPut{}
	case KindKeyDelete:
		return &KeyDelete{}
	case KindMailboxCreate:
		return &MailboxCreate{}
	case KindMailboxDelete:
		return &MailboxDelete{}
	case KindKeyRecordPublish:
		return &KeyRecordPublish{}
	case KindSessionPut:
		return &SessionPut{}
	case KindSend:
		return &Send{}
	case KindLease:
		return &Lease{}
	case KindAck:
		return &Ack{}
	case KindNack:
		return &Nack{}
	case KindExtend:
		return &Extend{}
	case KindRelease:
		return &Release{}
	case KindExpire:
		return &Expire{}
	case KindTick:
		return &Tick{}
	case KindGrantAdd:
		return &GrantAdd{}
	case KindGrantRemove:
		return &GrantRemove{}
	}
	return nil
}

// replay applies a log in random runs of at most some entries. Between runs it forgets all that is in memory and, with
// crashes, flushes one store or all, restarts, or loses power: then it goes on from what was durable, as Raft would.
func replay(t *testing.T, log recorded, r *rand.Rand, longest int, crashes bool) {
	fs := vfs.NewCrashableMem()
	stores := storesOn(t, fs, true)
	defer func() { stores.Close() }()
	open := func() *Mail {
		m, err := OpenMail(stores, 1, int64(r.IntN(2))*r.Int64N(100_000)+1)
		if err != nil {
			t.Fatal(err)
		}
		m.cache.leased = r.IntN(4)
		return m
	}
	restart := func() (*Mail, int) {
		m := open()
		durable, err := stores.DurableApplied(1)
		if err != nil || durable.Index != m.Applied().Index {
			t.Fatalf("durable at %d, in memory at %d, %v", durable.Index, m.Applied().Index, err)
		}
		return m, int(durable.Index)
	}
	m, at := restart()
	for at < len(log.entries) {
		n := min(1+r.IntN(longest), len(log.entries)-at)
		whole := max(m.inState.Index, m.inKeys.Index) <= uint64(at)
		out, err := m.Apply(log.entries[at:at+n], nil, r.IntN(2) == 0)
		if err != nil {
			t.Fatal(err)
		}
		if out != nil && whole { // entries that a store held already are not answered
			mustEqualOutcomes(t, log, at, out)
		}
		at += n
		if m.Applied().Index != uint64(at) {
			t.Fatalf("applied %d, want %d", m.Applied().Index, at)
		}
		if r.IntN(2) == 0 {
			written(t, m)
		}
		if r.IntN(2) == 0 {
			m = open() // what was not written is applied again
			at = int(m.Applied().Index)
		}
		if !crashes {
			continue
		}
		switch r.IntN(6 * (1 + len(log.entries)/longest/50)) {
		case 0:
			written(t, m)
			if err := stores.Flush(t.Context()); err != nil {
				t.Fatal(err)
			}
			if d, err := stores.DurableApplied(1); err != nil || d.Index != m.Applied().Index {
				t.Fatalf("durable at %d after a flush, %v, want %d", d.Index, err, m.Applied().Index)
			}
		case 1:
			if err := stores.FlushOne(storage.Kind(r.IntN(3))); err != nil {
				t.Fatal(err)
			}
		case 2:
			if err := stores.Close(); err != nil {
				t.Fatal(err)
			}
			stores = storesOn(t, fs, false)
			m, at = restart()
		case 3:
			crashed := fs.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: r.IntN(101), RNG: r})
			if err := stores.Close(); err != nil {
				t.Fatal(err)
			}
			fs = crashed
			stores = storesOn(t, fs, false)
			m, at = restart()
		}
	}
	compareRows(t, rows(t, m), log.rows)
	if got := digest(t, m); got != log.digest {
		t.Errorf("digest is %x, want %x", got, log.digest)
	}
}
