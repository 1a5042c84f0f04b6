package machine

import (
	"bytes"
	"cmp"
	"slices"
)

// twin is the rules once more, as plainly as they can be said: every message is looked at one by one, nothing is kept
// that can be worked out, and it shares no code with the machine but the types of commands and outcomes.
type twin struct {
	now   int64
	boxes map[[16]byte]*twinBox
	keys  map[[16]byte]map[uint32][32]byte
	names map[string][16]byte
}

type twinBox struct {
	name, owner string
	messages    []*twinMessage // all that ever were; number 1 is at 0
	head        uint64
	sessions    map[[16]byte]twinSession
	live        map[twinSender][]uint32
	producers   map[twinProducerID]*twinProducer
	keyed       map[twinKeyedID]*twinKeyed
	version     uint64
	hash        [32]byte
}

type twinSender struct {
	principal string
	day       int64
}

type twinSession struct {
	principal string
	day       int64
	notAfter  uint32
}

type twinProducerID struct {
	principal string
	producer  [8]byte
}

type twinProducer struct {
	floor  uint64
	seqs   map[uint64]uint64
	window int64
}

type twinKeyedID struct {
	principal string
	id        [16]byte
}

type twinKeyed struct {
	window int64
	seq    uint64
	tag    [16]byte
}

type twinState string

const (
	twinReady   twinState = "ready"
	twinLeased  twinState = "leased"
	twinDelayed twinState = "delayed"
	twinDead    twinState = "dead"
	twinDone    twinState = "done"
)

type twinMessage struct {
	Delivery
	state     twinState
	lease     [8]byte
	principal string
	receiver  [16]byte
	attempt   [16]byte
	until     int64 // deadline or end of delay
	ackedBy   [8]byte
}

func newTwin() *twin {
	return &twin{boxes: map[[16]byte]*twinBox{}, keys: map[[16]byte]map[uint32][32]byte{}, names: map[string][16]byte{}}
}

func (t *twin) past(notAfter uint32) bool { return int64(notAfter)*60_000 <= t.now }

func (b *twinBox) count(state twinState) (n uint64) {
	for _, m := range b.messages {
		if m.state == state {
			n++
		}
	}
	return n
}

func (b *twinBox) advance() {
	for int(b.head) <= len(b.messages) && b.messages[b.head-1].state == twinDone {
		b.head++
	}
}

func (b *twinBox) epochs() []uint32 {
	var out []uint32
	for _, m := range b.messages {
		if m.state != twinDone && !slices.Contains(out, m.Epoch) {
			out = append(out, m.Epoch)
		}
	}
	return out
}

func addCode(codes []CodeRun, c Code) []CodeRun {
	if n := len(codes); n > 0 && codes[n-1].Code == c {
		codes[n-1].Count++
		return codes
	}
	return append(codes, CodeRun{1, c})
}

// apply applies a command of an entry. at says where the body record of each item of a send is.
func (t *twin) apply(c command, e *Entry, at []RecordAddress) Outcome {
	o := Outcome{TimeMillis: t.now}
	switch c := c.(type) {
	case *KeyPut:
		o.Mailbox = c.Mailbox
		if t.keys[c.Mailbox] == nil {
			t.keys[c.Mailbox] = map[uint32][32]byte{}
		}
		if _, ok := t.keys[c.Mailbox][c.Generation]; !ok {
			t.keys[c.Mailbox][c.Generation] = c.Key
		}
		return o
	case *KeyDelete:
		o.Mailbox = c.Mailbox
		delete(t.keys, c.Mailbox)
		return o
	case *MailboxCreate:
		for _, item := range c.Items {
			o.Codes = addCode(o.Codes, t.create(c.Principal, item))
		}
		return o
	case *Tick:
		t.tick()
		return o
	}
	id := mailboxOf(c)
	o.Mailbox = id
	b := t.boxes[id]
	if b == nil {
		o.Code = CodeNoMailbox
		return o
	}
	t.onBox(b, c, e, at, &o)
	return o
}

func mailboxOf(c command) [16]byte {
	switch c := c.(type) {
	case *MailboxDelete:
		return c.Mailbox
	case *KeyRecordPublish:
		return c.Mailbox
	case *SessionPut:
		return c.Mailbox
	case *Send:
		return c.Mailbox
	case *Lease:
		return c.Mailbox
	case *Ack:
		return c.Mailbox
	case *Nack:
		return c.Mailbox
	case *Extend:
		return c.Mailbox
	case *Release:
		return c.Mailbox
	case *Expire:
		return c.Mailbox
	}
	panic("no mailbox")
}

func (t *twin) onBox(b *twinBox, c command, e *Entry, at []RecordAddress, o *Outcome) {
	ready, leased := b.count(twinReady), b.count(twinLeased)
	wake := func() {
		b.advance()
		o.Ready = b.count(twinReady)
		o.Wake = o.Ready > ready || o.Ready > 0 && leased >= MaxInFlight && b.count(twinLeased) < MaxInFlight
	}
	switch c := c.(type) {
	case *MailboxDelete:
		delete(t.names, b.name)
		delete(t.boxes, c.Mailbox)
	case *KeyRecordPublish:
		o.Code = b.publish(c)
	case *SessionPut:
		for i := range c.Items {
			o.Codes = addCode(o.Codes, t.putSession(b, c.Principal, &c.Items[i]))
		}
	case *Send:
		t.send(b, c, e, at, o)
		o.Ready = b.count(twinReady)
		o.Wake = o.Ready > ready
	case *Lease:
		t.lease(b, c, o)
	case *Ack:
		t.each(b, c.Ranges, CodeLeaseLost, o, func(m *twinMessage) Code {
			switch {
			case m.heldBy(c.Lease, c.Principal):
				m.state, m.ackedBy = twinDone, c.Lease
			case m.state != twinDone || m.ackedBy != c.Lease || m.ackedBy == [8]byte{}:
				return CodeLeaseLost
			}
			return CodeOK
		})
		wake()
	case *Nack:
		t.nack(b, c, o)
		wake()
	case *Extend:
		t.each(b, c.Ranges, CodeLeaseLost, o, func(m *twinMessage) Code {
			if !m.heldBy(c.Lease, c.Principal) {
				return CodeLeaseLost
			}
			m.until = t.now + twinLeaseMillis(c.LeaseMillis)
			o.Deadline = m.until
			return CodeOK
		})
		wake()
	case *Release:
		for _, m := range b.messages {
			if m.state == twinLeased && m.receiver == c.Receiver && (c.Principal == "" || m.principal == c.Principal) {
				t.back(m, twinReady, 0)
			}
		}
		wake()
	case *Expire:
		t.each(b, c.Ranges, CodeNotDue, o, func(m *twinMessage) Code {
			if m.state != twinLeased && m.state != twinDelayed || m.until > t.now {
				return CodeNotDue
			}
			if m.state == twinLeased {
				m.fail()
			}
			t.back(m, twinReady, 0)
			return CodeOK
		})
		wake()
	}
}

func twinLeaseMillis(asked uint32) int64 {
	switch {
	case asked == 0:
		return 30_000
	case asked < 1_000:
		return 1_000
	case asked > 12*3_600_000:
		return 12 * 3_600_000
	}
	return int64(asked)
}

func (m *twinMessage) heldBy(lease [8]byte, principal string) bool {
	return m.state == twinLeased && m.lease == lease && m.principal == principal
}

// fail counts a failure; back then sees that the message is dead.
func (m *twinMessage) fail() { m.Failures++ }

func (t *twin) back(m *twinMessage, to twinState, until int64) {
	failed := m.Failures >= MaxFailures
	switch {
	case t.past(m.NotAfterMinutes):
		m.state = twinDone
	case failed || to == twinDead:
		m.state = twinDead
	default:
		m.state, m.until = to, until
	}
}

// each calls fn with the messages of ranges. What a page remembers about who acknowledged is bounded.
func (t *twin) each(b *twinBox, ranges []SeqRange, missing Code, o *Outcome, fn func(*twinMessage) Code) {
	kept := b.head / 256
	if kept > 0 {
		kept--
	}
	end := uint64(len(b.messages)) // as it is now
	for _, r := range ranges {
		for seq := r.First; seq < r.First+uint64(r.Count); seq++ {
			if seq/256 < kept || seq > end {
				o.Codes = addCode(o.Codes, missing)
				continue
			}
			o.Codes = addCode(o.Codes, fn(b.messages[seq-1]))
			if seq%256 == 255 || seq == end || seq+1 == r.First+uint64(r.Count) {
				b.forget(seq / 256)
			}
		}
	}
}

func (b *twinBox) forget(page uint64) {
	var ids [][8]byte
	for _, m := range b.messages {
		if m.Seq/256 == page && m.ackedBy != [8]byte{} && !slices.Contains(ids, m.ackedBy) {
			ids = append(ids, m.ackedBy)
		}
	}
	if len(ids) <= 32 {
		return
	}
	for _, m := range b.messages {
		if m.Seq/256 == page && slices.Contains(ids[:16], m.ackedBy) {
			m.ackedBy = [8]byte{}
		}
	}
}

func (t *twin) create(owner string, item MailboxCreateItem) Code {
	if b := t.boxes[item.ID]; b != nil {
		if b.name == item.Name && b.owner == owner {
			return CodeOK
		}
		return CodeExists
	}
	if _, taken := t.names[item.Name]; taken {
		return CodeExists
	}
	t.names[item.Name] = item.ID
	t.boxes[item.ID] = &twinBox{
		name: item.Name, owner: owner, head: 1,
		sessions: map[[16]byte]twinSession{}, live: map[twinSender][]uint32{},
		producers: map[twinProducerID]*twinProducer{}, keyed: map[twinKeyedID]*twinKeyed{},
	}
	return CodeOK
}

func (b *twinBox) publish(c *KeyRecordPublish) Code {
	switch {
	case b.owner != c.Principal:
		return CodeNotOwner
	case c.Version == b.version && c.Hash == b.hash:
		return CodeOK
	case c.Version != b.version+1 || c.Previous != b.hash:
		return CodePrecondition
	}
	b.version, b.hash = c.Version, c.Hash
	return CodeOK
}

func (t *twin) day() int64 { return t.now / 86_400_000 }

func (t *twin) putSession(b *twinBox, principal string, item *SessionItem) Code {
	notAfter := int64(item.NotAfterMinutes) * 60_000
	if notAfter <= t.now || notAfter > t.now+86_400_000+300_000 {
		return CodeExpired
	}
	if s, ok := b.sessions[item.ID]; ok && s.day >= t.day()-1 {
		if s.principal != principal {
			return CodeSessionUnknown
		}
		return CodeOK
	}
	live := 0
	for _, day := range []int64{t.day(), t.day() - 1} {
		for _, m := range b.live[twinSender{principal, day}] {
			if !t.past(m) {
				live++
			}
		}
	}
	if live >= 64 {
		return CodeSessionLimit
	}
	key := twinSender{principal, t.day()}
	b.live[key] = append(b.live[key], item.NotAfterMinutes)
	b.sessions[item.ID] = twinSession{principal, t.day(), item.NotAfterMinutes}
	return CodeOK
}

func (t *twin) window() int64 { return t.now / 600_000 }

func (t *twin) send(b *twinBox, c *Send, e *Entry, at []RecordAddress, o *Outcome) {
	codes := map[[16]byte]Code{}
	for i := range c.NewSessions {
		codes[c.NewSessions[i].ID] = t.putSession(b, c.Principal, &c.NewSessions[i])
	}
	for i := range c.Items {
		it := &c.Items[i]
		seq, duplicate, code := t.sendOne(b, c, it, codes)
		if code == CodeOK && !duplicate {
			seq = uint64(len(b.messages)) + 1
			b.messages = append(b.messages, &twinMessage{state: twinReady, Delivery: Delivery{
				Seq: seq, Index: e.Index, Term: e.Term, Offset: at[i].Offset, Length: at[i].Length, Digest: it.Digest,
				StoredMillis: t.now, Epoch: it.Epoch, NotAfterMinutes: it.NotAfterMinutes,
			}})
			t.rememberSent(b, c, it, seq)
		}
		n := len(o.Sends) - 1
		if n >= 0 && o.Sends[n].Code == code && o.Sends[n].Duplicate == duplicate &&
			(code != CodeOK || o.Sends[n].Seq+uint64(o.Sends[n].Count) == seq) {
			o.Sends[n].Count++
		} else {
			o.Sends = append(o.Sends, SendRun{1, code, duplicate, seq})
		}
	}
}

func (t *twin) sendOne(b *twinBox, c *Send, it *SendItem, codes map[[16]byte]Code) (uint64, bool, Code) {
	p := &twinProducer{}
	if it.Keyed {
		if k := b.keyed[twinKeyedID{c.Principal, it.ID}]; k != nil && k.window >= t.window()-1 {
			if k.tag != it.Tag {
				return 0, false, CodeIDConflict
			}
			return k.seq, true, CodeOK
		}
	} else {
		id := twinProducerID{c.Principal, c.Producer}
		p = b.producers[id]
		if p == nil || p.window < t.window()-1 {
			p = &twinProducer{seqs: map[uint64]uint64{}}
			b.producers[id] = p
		}
		p.window = t.window()
		p.floor = max(p.floor, c.Lowest)
		for counter := range p.seqs {
			if counter < p.floor {
				delete(p.seqs, counter)
			}
		}
		if it.Counter < p.floor {
			return 0, false, CodeTooOld
		}
		if seq, ok := p.seqs[it.Counter]; ok {
			return seq, true, CodeOK
		}
	}
	session := c.Sessions[it.Session]
	s, ok := b.sessions[session]
	switch {
	case codes[session] != CodeOK:
		return 0, false, codes[session]
	case !ok || s.day < t.day()-1 || s.principal != c.Principal || int64(s.notAfter)*60_000+300_000 < t.now:
		return 0, false, CodeSessionUnknown
	case t.past(it.NotAfterMinutes) || int64(it.NotAfterMinutes)*60_000 > t.now+14*86_400_000+300_000:
		return 0, false, CodeExpired
	case !it.Keyed && len(p.runs()) >= MaxProducerRuns:
		return 0, false, CodeProducerWindow
	case !slices.Contains(b.epochs(), it.Epoch) && len(b.epochs()) >= 64:
		return 0, false, CodeEpochLimit
	}
	return 0, false, CodeOK
}

func (p *twinProducer) runs() (starts []uint64) {
	for counter, seq := range p.seqs {
		if before, ok := p.seqs[counter-1]; !ok || counter == 0 || before != seq-1 {
			starts = append(starts, counter)
		}
	}
	return starts
}

func (t *twin) rememberSent(b *twinBox, c *Send, it *SendItem, seq uint64) {
	if it.Keyed {
		b.keyed[twinKeyedID{c.Principal, it.ID}] = &twinKeyed{t.window(), seq, it.Tag}
	} else {
		b.producers[twinProducerID{c.Principal, c.Producer}].seqs[it.Counter] = seq
	}
}

func (t *twin) lease(b *twinBox, c *Lease, o *Outcome) {
	defer func() {
		b.advance()
		o.Ready = b.count(twinReady)
	}()
	o.Lease = c.Lease
	if t.repeat(b, c, o) {
		return
	}
	for _, m := range b.messages {
		if m.state == twinLeased && m.lease == c.Lease {
			o.Code = CodeLeaseConflict
			return
		}
	}
	room := MaxInFlight - int(b.count(twinLeased))
	left := min(int(c.MaxMessages), room)
	bytesLeft := c.MaxBytes
	for _, m := range b.messages {
		if left == 0 {
			break
		}
		if m.state != twinReady || m.Epoch < c.EpochLow || m.Epoch > c.EpochHigh {
			continue
		}
		if t.past(m.NotAfterMinutes) {
			m.state = twinDone
			continue
		}
		if uint64(m.Length) > bytesLeft && len(o.Deliveries) > 0 {
			break
		}
		bytesLeft -= min(bytesLeft, uint64(m.Length))
		left--
		m.state, m.lease, m.principal = twinLeased, c.Lease, c.Principal
		m.receiver, m.attempt, m.until = c.Receiver, c.Attempt, t.now+twinLeaseMillis(c.LeaseMillis)
		m.Attempts++
		o.Deadline = m.until
		o.Deliveries = append(o.Deliveries, m.Delivery)
	}
}

func (t *twin) repeat(b *twinBox, c *Lease, o *Outcome) bool {
	if c.Attempt == [16]byte{} {
		return false
	}
	held := map[[8]byte][]*twinMessage{}
	for _, m := range b.messages {
		if m.state == twinLeased && m.attempt == c.Attempt && m.principal == c.Principal && m.receiver == c.Receiver {
			held[m.lease] = append(held[m.lease], m)
		}
	}
	var ids [][8]byte
	for id, messages := range held {
		if !slices.ContainsFunc(messages, func(m *twinMessage) bool { return m.until <= t.now }) {
			ids = append(ids, id)
		}
	}
	if len(ids) == 0 {
		return false
	}
	o.Lease = slices.MinFunc(ids, func(a, b [8]byte) int { return bytes.Compare(a[:], b[:]) })
	for _, m := range held[o.Lease] {
		o.Deliveries = append(o.Deliveries, m.Delivery)
	}
	o.Deadline = slices.MinFunc(held[o.Lease], func(a, b *twinMessage) int { return cmp.Compare(a.until, b.until) }).until
	return true
}

func (t *twin) nack(b *twinBox, c *Nack, o *Outcome) {
	t.each(b, c.Ranges, CodeLeaseLost, o, func(m *twinMessage) Code {
		if !m.heldBy(c.Lease, c.Principal) {
			return CodeLeaseLost
		}
		to, until := twinReady, int64(0)
		if c.DelayMillis > 0 {
			to, until = twinDelayed, t.now+min(int64(c.DelayMillis), 12*3_600_000)
		}
		switch c.Reason {
		case NackBadSeal:
			to = twinDead
		case NackReject:
			m.fail()
		case NackRelease:
			m.Attempts--
		}
		if to == twinDelayed && m.Failures < MaxFailures {
			o.Deadline = until
		}
		t.back(m, to, until)
		return CodeOK
	})
}

func (t *twin) tick() {
	for _, b := range t.boxes {
		for _, m := range b.messages {
			ended := int64(m.NotAfterMinutes/10+1)*600_000 <= t.now
			if ended && m.state != twinDone && m.state != twinLeased {
				m.state = twinDone
			}
		}
		b.advance()
	}
}
