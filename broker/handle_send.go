package broker

import (
	"errors"
	"time"

	"github.com/sealmq/sealmq/broker/machine"
	"github.com/sealmq/sealmq/internal/codec"
	"github.com/sealmq/sealmq/storage"
	"github.com/sealmq/sealmq/wire"
)

// timeToLive is the longest that a message may live, and what a mailbox allows unless it says otherwise.
const timeToLive = 14 * 24 * time.Hour

// clockSkewMinutes is how far a message's not-after may be from the node's clock plus the time to live. It is taken
// over as it stands, because the seal authenticates it.
const clockSkewMinutes = 5

// handleSend appends the command to the group's open entry straight from the frame: the one copy of the bodies.
func (c *conn) handleSend(request uint32, payload []byte) error {
	m := &c.decoded.send
	if err := m.Decode(payload); err != nil {
		return err
	}
	g, err := c.leading(m.Mailbox.Slot)
	if err != nil {
		return c.failErr(request, g, err)
	}
	on := c.broker.basis() // before anything is decided: what is taken back from here on is noticed by stands
	u, err := c.use(g, m.Mailbox.ID)
	if err == nil {
		err = u.mayBy(on, wire.ActionSend)
	}
	if err != nil {
		return c.failErr(request, g, err)
	}
	mb := u.mailbox
	command := &c.decoded.command
	done := &sendDone{conn: c, group: g, request: request, stat: u.allowed(machine.ActionStat)}
	if err := c.sendCommand(command, m, g, mb, done); err != nil {
		return c.failErr(request, g, err)
	}
	if len(command.Items) == 0 {
		done.done(&machine.Outcome{}, nil)
		return nil
	}
	add := func(stands func() bool) error { return g.proposer.addAll(stands, proposed{command.Append, done}) }
	if err = add(func() bool { return c.broker.stands(on) }); err == errMoved {
		err = c.underRight(func() error { return u.may(wire.ActionSend) }, add)
	}
	if err != nil {
		return c.failErr(request, g, err)
	}
	// A receiver that waits already gets its lease in the same entry: one commit instead of two.
	g.waits.wake(mb.ID, uint64(len(command.Items)))
	return nil
}

// sendCommand translates a send into a command. Items that are refused at the door are noted in done and left out.
func (c *conn) sendCommand(command *machine.Send, m *wire.Send, g *mailGroup, mb *storage.Mailbox,
	done *sendDone) error {
	*command = machine.Send{
		Principal: c.principal, Mailbox: mb.ID, Producer: m.Producer, Lowest: m.LowestUnanswered,
		NewSessions: command.NewSessions[:0], Sessions: command.Sessions[:0], Items: command.Items[:0],
	}
	for i := range m.Sessions {
		s := &m.Sessions[i]
		command.Sessions = append(command.Sessions, s.ID)
		if s.Init == nil {
			continue
		}
		item, err := g.sessionItem(mb, s)
		if err != nil {
			return err
		}
		command.NewSessions = append(command.NewSessions, item)
	}
	nowMinutes := uint32(g.stamp() / 60_000)
	headers := c.decoded.headers[:0]
	for i := range m.Items {
		item := &m.Items[i]
		if code := c.checkItem(item, nowMinutes); code != wire.CodeOK {
			done.refuse(i, code, nowMinutes)
			continue
		}
		start := len(headers)
		headers = wire.AppendClearHeader(headers, &item.Header)
		header := headers[start:len(headers):len(headers)]
		out := machine.SendItem{
			Keyed: item.Keyed, Session: item.Session, Epoch: item.Header.Epoch,
			NotAfterMinutes: item.Header.NotAfterMinutes, Digest: machine.RecordDigest(header, item.Sealed),
			Header: header, Sealed: item.Sealed,
		}
		if item.Keyed {
			out.ID, out.Tag = item.Header.ID, item.BodyTag
		} else {
			out.Counter = item.Header.Counter()
		}
		command.Items = append(command.Items, out)
	}
	c.decoded.headers = headers[:0]
	return nil
}

// checkItem refuses what needs no replicated state to be refused.
func (c *conn) checkItem(item *wire.SendItem, nowMinutes uint32) wire.Code {
	skew := int64(item.Header.NotAfterMinutes) - int64(nowMinutes) - int64(timeToLive/time.Minute)
	switch {
	case item.Header.Needs() != 0, item.Header.Type != wire.BodySealed:
		return wire.CodeUnsupported
	case len(item.Sealed) > c.broker.o.BodyBytes+wire.SealedBytes-wire.BodyBytes:
		return wire.CodeTooLarge
	case skew > clockSkewMinutes, skew < -clockSkewMinutes:
		return wire.CodeClockSkew
	}
	return wire.CodeOK
}

// sessionItem seals the header of a new session for storing.
func (g *mailGroup) sessionItem(mb *storage.Mailbox, s *wire.SessionRef) (machine.SessionItem, error) {
	notAfter, err := sessionNotAfter(s.Init)
	if err != nil {
		return machine.SessionItem{}, err
	}
	sealed, err := g.headers.seal(mb.ID, s.ID, s.Init)
	if errors.Is(err, storage.ErrNotFound) {
		return machine.SessionItem{}, refusal(wire.CodeMailboxGone, "the mailbox has no key any more")
	}
	return machine.SessionItem{ID: s.ID, NotAfterMinutes: notAfter, Header: sealed}, err
}

// sessionNotAfter reads the one field of a session header that the broker goes by: how long to keep it.
//
//	u8 version | u8 suite | u16 flags | u32 not-after, unix minutes | ...
func sessionNotAfter(init []byte) (uint32, error) {
	r := codec.NewReader(init)
	version := r.U8()
	r.Take(3)
	notAfter := r.U32()
	if r.Err() != nil || version != 1 {
		return 0, refusal(wire.CodeUnsupported, "the session header has an unknown version")
	}
	return notAfter, nil
}

// sendDone answers a send.
type sendDone struct {
	conn    *conn
	group   *mailGroup
	request uint32
	stat    bool // the sender may know sequence numbers
	refused []refusedItem
	minutes uint32 // this node's clock, if an item was refused for its clock

	// The answer, nearly always of one run.
	answer wire.SendReply
	first  [1]wire.SendRun
}

type refusedItem struct {
	index int
	code  wire.Code
}

func (d *sendDone) refuse(index int, code wire.Code, nowMinutes uint32) {
	d.refused = append(d.refused, refusedItem{index, code})
	if code == wire.CodeClockSkew {
		d.minutes = nowMinutes
	}
}

func (d *sendDone) done(o *machine.Outcome, err error) {
	if err == nil && o.Code != machine.CodeOK {
		err = codeError(o.Code)
	}
	if err != nil {
		d.conn.failErr(d.request, d.group, err)
		return
	}
	d.conn.answer(d.request, d.reply(o))
	if o.Wake {
		d.group.waits.wake(o.Mailbox, o.Ready)
	}
}

// reply merges what the machine said with what was refused at the door, in the order of the items.
func (d *sendDone) reply(o *machine.Outcome) *wire.SendReply {
	d.answer.TimeMinutes, d.answer.Runs = d.minutes, d.first[:0]
	m := replyMaker{sendDone: d, rest: d.refused, reply: &d.answer}
	for _, s := range o.Sends {
		for s.Count > 0 {
			m.refusals()
			n := s.Count
			if len(m.rest) > 0 {
				n = min(n, uint32(m.rest[0].index-m.place))
			}
			m.stored(s, n)
			s.Count -= n
			s.Seq += uint64(n)
		}
	}
	m.refusals()
	return m.reply
}

// replyMaker puts the runs of a send's answer together.
type replyMaker struct {
	*sendDone
	reply *wire.SendReply
	place int           // of the next item
	rest  []refusedItem // not yet in the reply
}

// refusals adds the refused items that come next.
func (m *replyMaker) refusals() {
	for len(m.rest) > 0 && m.rest[0].index == m.place {
		m.add(wire.SendRun{Count: 1, Code: m.rest[0].code})
		m.rest = m.rest[1:]
	}
}

// stored adds the first n items of what the machine said.
func (m *replyMaker) stored(s machine.SendRun, n uint32) {
	run := wire.SendRun{Count: n, Code: wireCode(s.Code), Duplicate: s.Duplicate}
	if s.Code == machine.CodeOK {
		counter := m.conn.broker.metrics.sends
		if s.Duplicate {
			counter = m.conn.broker.metrics.duplicates
		}
		counter.Add(float64(n))
		if m.stat {
			run.Seq = s.Seq
		}
	}
	m.add(run)
}

func (m *replyMaker) add(run wire.SendRun) {
	if run.Code != wire.CodeOK {
		m.conn.broker.metrics.failures(run.Code).Add(float64(run.Count))
		if waitHelps(run.Code) {
			m.reply.RetryAfterMillis = retryAfterMillis
		}
	}
	m.reply.Runs = append(m.reply.Runs, run)
	m.place += int(run.Count)
}
