package client

import (
	"crypto/rand"
	"encoding/binary"
	"slices"
	"strings"
	"time"

	"github.com/sealmq/sealmq/envelope"
	"github.com/sealmq/sealmq/wire"
)

// fakeBox is a mailbox of a fakeCluster. Everything in it is under the cluster's lock.
type fakeBox struct {
	f        *fakeCluster
	name     string
	id       [16]byte
	slot     uint16
	owner    string
	version  uint64
	record   []byte
	hash     [32]byte
	leaseFor time.Duration
	messages []*fakeMessage
	first    int // below it all are acked
	next     uint64
	dedup    map[string]fakeAnswer
	floors   map[string]uint64
	sessions map[[16]byte][]byte
	waiting  []*fakeReceiver
	attempts map[[16]byte]*wire.Deliver
	timers   []*time.Timer
}

type fakeAnswer struct {
	seq  uint64
	tag  [16]byte
	sent time.Time // last
}

// fakeRemembers is how long an id is remembered after it was last sent.
const fakeRemembers = 10 * time.Minute

const (
	stateReady = iota
	stateLeased
	stateDelayed
	stateAcked
	stateDead
)

type fakeMessage struct {
	seq       uint64
	state     int
	item      wire.DeliverItem
	keyed     bool
	lease     [8]byte
	principal string
	receiver  [16]byte
	until     time.Time
	failures  int
}

// fakeReceiver is a pull or a subscription.
type fakeReceiver struct {
	box         *fakeBox
	conn        *fakeConn
	request     uint32
	pull        *wire.Pull
	receiver    [16]byte
	low, high   uint32
	messages    int
	bytes       int
	leaseMillis uint32
	timer       *time.Timer
	resumed     bool
}

func (f *fakeCluster) create(principal string, m *wire.MailboxCreate) wire.Message {
	reply := &wire.MailboxCreateReply{}
	for _, item := range m.Items {
		out := wire.MailboxCreated{Group: f.groupOf(wire.SlotOf(item.Name))}
		if b := f.boxes[item.Name]; b != nil && (b.id != item.ID || b.owner != principal) {
			out.Code = wire.CodeExists
		} else if b == nil {
			f.boxes[item.Name] = &fakeBox{f: f, name: item.Name, id: item.ID, slot: wire.SlotOf(item.Name), owner: principal,
				leaseFor: 30 * time.Second, next: 1, dedup: map[string]fakeAnswer{}, floors: map[string]uint64{},
				sessions: map[[16]byte][]byte{}, attempts: map[[16]byte]*wire.Deliver{}}
		}
		reply.Items = append(reply.Items, out)
	}
	return reply
}

func (f *fakeCluster) list(m *wire.MailboxList) wire.Message {
	reply := &wire.MailboxListReply{}
	for name, b := range f.boxes {
		if strings.HasPrefix(name, m.Prefix) && name > m.After && f.groupOf(b.slot) == m.Group {
			reply.Items = append(reply.Items, *b.info())
		}
	}
	slices.SortFunc(reply.Items, func(a, b wire.MailboxInfo) int { return strings.Compare(a.Name, b.Name) })
	if len(reply.Items) > int(m.Limit) {
		reply.Items = reply.Items[:m.Limit]
		reply.Next = reply.Items[m.Limit-1].Name
	}
	return reply
}

func (f *fakeCluster) lookup(m *wire.KeyLookup) wire.Message {
	reply := &wire.KeyLookupReply{}
	for _, b := range f.boxes {
		if f.groupOf(b.slot) != m.Group || b.record == nil {
			continue
		}
		record, _ := envelope.ParseKeyRecord(b.record)
		if record.Owner().Key == m.IdentityKey {
			item := wire.KeyRecordItem{Name: b.name, ID: b.id, RecordVersion: b.version, Record: b.record}
			reply.Items = append(reply.Items, item)
		}
	}
	return reply
}

func (b *fakeBox) info() *wire.MailboxInfo {
	m := &wire.MailboxInfo{Name: b.name, ID: b.id, Slot: b.slot, Group: b.f.groupOf(b.slot), Owner: b.owner,
		NextSeq: b.next, RecordVersion: b.version, LeaseMillis: uint32(b.leaseFor.Milliseconds()),
		TTLMillis: uint64(b.f.ttl.Milliseconds())}
	byEpoch := map[uint32]uint64{}
	for _, x := range b.messages {
		switch x.state {
		case stateReady:
			m.Ready++
		case stateLeased:
			m.Leased++
		case stateDelayed:
			m.Parked++
		case stateDead:
			m.Dead++
		default:
			continue
		}
		m.Bytes += uint64(len(x.item.Sealed))
		byEpoch[x.item.Header.Epoch]++
	}
	for epoch, n := range byEpoch {
		m.Waiting = append(m.Waiting, wire.EpochCount{Epoch: epoch, Messages: n})
	}
	return m
}

func (b *fakeBox) resolve() wire.Message {
	return &wire.ResolveReply{ID: b.id, Slot: b.slot, Group: b.f.groupOf(b.slot), Owner: b.owner, RecordVersion: b.version,
		Record: b.record, LeaseMillis: uint32(b.leaseFor.Milliseconds()), TTLMillis: uint64(b.f.ttl.Milliseconds()),
		TimeMillis: b.f.now().UnixMilli()}
}

func (b *fakeBox) publish(principal string, m *wire.KeyRecordPublish) wire.Message {
	if principal != b.owner {
		return refuseWith(wire.CodePermissionDenied)
	}
	if m.Mailbox.ID != b.id {
		return refuseWith(wire.CodeMailboxGone)
	}
	if m.Version != b.version+1 || m.PreviousHash != b.hash {
		return refuseWith(wire.CodePreconditionFailed)
	}
	record, err := envelope.ParseKeyRecord(m.Record)
	if err != nil {
		return refuseWith(wire.CodeBadRequest)
	}
	b.version, b.record, b.hash = m.Version, m.Record, record.Hash()
	return &wire.Done{}
}

func (b *fakeBox) send(principal string, m *wire.Send) wire.Message {
	reply := &wire.SendReply{}
	expired := map[[16]byte]bool{}
	for i := range m.Sessions {
		if s := &m.Sessions[i]; s.Init != nil {
			if end := sessionEnd(s.Init); !end.After(b.f.now()) || end.Sub(b.f.now()) > 24*time.Hour+fakeSlack {
				expired[s.ID] = true
			} else {
				b.sessions[s.ID] = s.Init
			}
		}
	}
	minute := int64(b.f.now().Unix() / 60)
	floor := principal + string(m.Producer[:])
	b.floors[floor] = max(b.floors[floor], m.LowestUnanswered)
	for i := range m.Items {
		item := &m.Items[i]
		switch skew := int64(item.Header.NotAfterMinutes) - minute - int64(b.f.ttl.Minutes()); {
		case skew > 5 || skew < -5:
			reply.TimeMinutes = uint32(minute)
			reply.Add(wire.SendResult{Code: wire.CodeClockSkew})
			continue
		case expired[item.Header.Session]:
			reply.Add(wire.SendResult{Code: wire.CodeExpired})
			continue
		case b.sessions[item.Header.Session] == nil ||
			b.f.now().Sub(sessionEnd(b.sessions[item.Header.Session])) > fakeSlack:
			reply.Add(wire.SendResult{Code: wire.CodeSessionUnknown})
			continue
		case !item.Keyed && item.Header.Counter() < m.LowestUnanswered:
			reply.Add(wire.SendResult{Code: wire.CodeBadRequest})
			continue
		}
		reply.Add(b.store(principal, item))
	}
	b.pump()
	return reply
}

// fakeSlack is how far clocks may be apart.
const fakeSlack = 5 * time.Minute

func sessionEnd(init []byte) time.Time {
	h, err := envelope.ParseSessionHeader(init)
	if err != nil {
		panic(err)
	}
	return h.NotAfter
}

func (b *fakeBox) store(principal string, item *wire.SendItem) wire.SendResult {
	key := principal + string(item.Header.ID[:])
	if first, again := b.dedup[key]; again && time.Since(first.sent) <= fakeRemembers {
		if item.Keyed && first.tag != item.BodyTag {
			return wire.SendResult{Code: wire.CodeIDConflict}
		}
		first.sent = time.Now()
		b.dedup[key] = first
		return wire.SendResult{Seq: first.seq, Duplicate: true}
	}
	if !item.Keyed && item.Header.Counter() < b.floors[principal+string(item.Header.ID[:8])] {
		return wire.SendResult{Code: wire.CodeIDTooOld}
	}
	x := &fakeMessage{seq: b.next, keyed: item.Keyed, item: wire.DeliverItem{
		Seq: b.next, StoredMillis: b.f.now().UnixMilli(), Header: item.Header, Sealed: item.Sealed,
	}}
	b.next++
	b.messages = append(b.messages, x)
	b.dedup[key] = fakeAnswer{x.seq, item.BodyTag, time.Now()}
	return wire.SendResult{Seq: x.seq}
}

func (b *fakeBox) getSessions(m *wire.SessionGet) wire.Message {
	reply := &wire.SessionGetReply{}
	for _, id := range m.IDs {
		reply.Items = append(reply.Items, wire.SessionRef{ID: id, Init: b.sessions[id]})
	}
	return reply
}

func (b *fakeBox) pull(c *fakeConn, request uint32, m *wire.Pull) wire.Message {
	if d := b.attempts[m.Attempt]; d != nil {
		return d
	}
	r := &fakeReceiver{box: b, conn: c, request: request, pull: m, receiver: m.Receiver,
		low: m.EpochLow, high: m.EpochHigh, messages: int(m.MaxMessages), bytes: int(m.MaxBytes), leaseMillis: m.LeaseMillis}
	if d := b.lease(r); d != nil {
		b.attempts[m.Attempt] = d
		return d
	}
	if m.WaitMillis == 0 {
		return &wire.Deliver{Mailbox: wire.MailboxRef{Slot: b.slot, ID: b.id}}
	}
	b.waiting = append(b.waiting, r)
	r.timer = time.AfterFunc(time.Duration(m.WaitMillis)*time.Millisecond, func() {
		b.f.mu.Lock()
		defer b.f.mu.Unlock()
		if r.leave() {
			c.answer(request, &wire.Deliver{Mailbox: wire.MailboxRef{Slot: b.slot, ID: b.id}})
		}
	})
	return nil
}

func (b *fakeBox) subscribe(c *fakeConn, request uint32, m *wire.Subscribe) wire.Message {
	r := &fakeReceiver{box: b, conn: c, request: request, receiver: m.Receiver, low: m.EpochLow, high: m.EpochHigh,
		messages: int(m.CreditMessages), bytes: int(m.CreditBytes), leaseMillis: m.LeaseMillis}
	c.subs[request] = r
	b.waiting = append(b.waiting, r)
	b.pump()
	return nil
}

// leave takes a receiver out of line. It reports whether it was in it.
func (r *fakeReceiver) leave() bool {
	if r.timer != nil {
		r.timer.Stop()
	}
	delete(r.conn.subs, r.request)
	i := slices.Index(r.box.waiting, r)
	if i >= 0 {
		r.box.waiting = slices.Delete(r.box.waiting, i, i+1)
	}
	return i >= 0
}

// loseReceivers ends what waits when the leader changes.
func (b *fakeBox) loseReceivers() {
	for _, r := range slices.Clone(b.waiting) {
		no := b.f.notLeader(r.conn.node, b.f.groupOf(b.slot))
		if no == nil {
			continue
		}
		r.leave()
		if r.pull != nil {
			r.conn.answer(r.request, no)
		} else {
			r.conn.answer(r.request, &wire.SubscriptionEnd{Code: wire.CodeNotLeader, Leader: no.Leader})
		}
	}
}

// pump gives messages to those who wait.
func (b *fakeBox) pump() {
	for _, r := range slices.Clone(b.waiting) {
		for {
			d := b.lease(r)
			if d == nil {
				break
			}
			r.conn.answer(r.request, d)
			if r.pull != nil {
				b.attempts[r.pull.Attempt] = d
				r.leave()
				break
			}
			r.messages -= len(d.Items)
			for _, item := range d.Items {
				r.bytes -= len(item.Sealed)
			}
		}
	}
}

// lease picks messages for a receiver, nil if there are none.
func (b *fakeBox) lease(r *fakeReceiver) *wire.Deliver {
	b.expire()
	length := b.leaseFor
	if r.leaseMillis != 0 {
		length = time.Duration(r.leaseMillis) * time.Millisecond
	}
	d := &wire.Deliver{Mailbox: wire.MailboxRef{Slot: b.slot, ID: b.id}, LeaseMillis: uint32(length.Milliseconds())}
	rand.Read(d.Lease[:])
	size := 0
	for b.first < len(b.messages) && b.messages[b.first].state == stateAcked {
		b.first++
	}
	for _, x := range b.messages[b.first:] {
		own := x.state == stateLeased && x.receiver == r.receiver && !r.resumed && r.pull == nil
		epoch := x.item.Header.Epoch
		if x.state != stateReady && !own || epoch < r.low || epoch > r.high {
			continue
		}
		if len(d.Items) >= min(r.messages, 64) || len(d.Items) > 0 && size+len(x.item.Sealed) > r.bytes || r.bytes <= 0 {
			break
		}
		size += len(x.item.Sealed)
		x.state, x.lease, x.principal, x.receiver = stateLeased, d.Lease, r.conn.principal, r.receiver
		x.until = time.Now().Add(length)
		x.item.Attempts++
		item := x.item
		d.Place(&item, x.keyed)
		d.Items = append(d.Items, item)
	}
	r.resumed = true
	if len(d.Items) == 0 {
		return nil
	}
	for i := range d.Sessions {
		if s := &d.Sessions[i]; !r.conn.told[s.ID] {
			s.Init = b.sessions[s.ID]
			r.conn.told[s.ID] = true
		}
	}
	b.after(length + time.Millisecond)
	return d
}

// after looks again at what may have ended by then.
func (b *fakeBox) after(d time.Duration) {
	if b.f.closed {
		return
	}
	b.timers = append(b.timers, time.AfterFunc(d, func() {
		b.f.mu.Lock()
		defer b.f.mu.Unlock()
		if !b.f.closed {
			b.pump()
		}
	}))
}

func (b *fakeBox) stopTimers() {
	for _, t := range b.timers {
		t.Stop()
	}
	for _, r := range slices.Clone(b.waiting) {
		r.leave()
	}
}

func (b *fakeBox) expire() {
	if b.f.undated {
		return
	}
	for _, x := range b.messages {
		if x.state != stateAcked && b.f.now().Unix()/60 > int64(x.item.Header.NotAfterMinutes) && !b.f.undying {
			x.state = stateAcked
			continue
		}
		if (x.state == stateLeased || x.state == stateDelayed) && !time.Now().Before(x.until) {
			if x.state == stateLeased {
				x.failures++
			}
			x.state = stateReady
		}
	}
}

func (b *fakeBox) settle(principal string, lease [8]byte, seqs []wire.SeqRange, do func(*fakeMessage),
) *wire.LeaseReply {
	b.expire()
	reply := &wire.LeaseReply{}
	for _, r := range seqs {
		for seq := r.First; seq < r.First+uint64(r.Count); seq++ {
			code := wire.CodeLeaseLost
			if seq >= 1 && seq < b.next {
				x := b.messages[seq-1]
				if x.lease == lease && x.principal == principal && (x.state == stateLeased || x.state == stateAcked) {
					code = wire.CodeOK
					if x.state == stateLeased {
						do(x)
					}
				}
			}
			reply.Add(code, 1)
		}
	}
	b.pump()
	return reply
}

func (b *fakeBox) nack(principal string, m *wire.Nack) wire.Message {
	return b.settle(principal, m.Lease, m.Seqs, func(x *fakeMessage) {
		x.state = stateReady
		switch m.Code {
		case wire.NackBadSeal:
			x.state = stateDead
		case wire.NackReject:
			if x.failures++; x.failures >= 20 {
				x.state = stateDead
			} else if m.DelayMillis > 0 {
				b.delay(x, m.DelayMillis)
			}
		case wire.NackRetryAfter:
			b.delay(x, m.DelayMillis)
		case wire.NackRelease:
			x.item.Attempts--
		}
	})
}

// delay puts a message aside.
func (b *fakeBox) delay(x *fakeMessage, millis uint32) {
	d := time.Duration(millis) * time.Millisecond
	x.state, x.until = stateDelayed, time.Now().Add(d)
	b.after(d + time.Millisecond)
}

func (b *fakeBox) extend(principal string, m *wire.Extend) wire.Message {
	length := b.leaseFor
	if m.LeaseMillis != 0 {
		length = time.Duration(m.LeaseMillis) * time.Millisecond
	}
	reply := b.settle(principal, m.Lease, m.Seqs, func(x *fakeMessage) { x.until = time.Now().Add(length) })
	reply.LeaseMillis = uint32(length.Milliseconds())
	b.after(length + time.Millisecond)
	return reply
}

// counted returns the counter of a message id.
func counted(id MessageID) uint64 { return binary.BigEndian.Uint64(id[8:]) }
