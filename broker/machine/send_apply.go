package machine

import "github.com/sealmq/sealmq/storage"

// sending is the memory of the send that is being applied.
type sending struct {
	command  *Send
	mailbox  *mailbox
	sender   [16]byte
	producer *producer // nil until a counted item asks for it
	codes    []Code    // of c.Sessions, in order
	page     *page     // that is being filled, nil until a message asks for it
	sends    []SendRun
	ready    uint64
}

// send gives numbers to the messages of a command, one after the other. What was stored before is answered as before,
// whatever else has changed since.
func (m *Mail) send(c *Send, o *Outcome) {
	mb := m.find(c.Mailbox, o)
	if mb == nil {
		return
	}
	s := &m.sending
	s.command, s.mailbox, s.sender, s.producer, s.page = c, mb, m.hash(c.Principal), nil, nil
	s.sends, s.ready = s.sends[:0], 0
	m.checkSessions(s)
	for i := range c.Items {
		it := &c.Items[i]
		seq, duplicate, code := m.remembered(s, it)
		if code == CodeOK && !duplicate {
			if code = m.admit(s, it); code == CodeOK {
				seq = m.storeMessage(s, it)
			}
		}
		if m.err != nil {
			return
		}
		if m.wantOutcomes {
			s.answer(code, seq, duplicate)
		}
	}
	if mb.inlineAddresses > maxInlineAddresses {
		m.putAddresses(mb, s.page)
	}
	if s.producer != nil {
		m.sent(mb, s.producer)
	}
	if m.wantOutcomes {
		o.Sends = take(&m.slab.sends, s.sends)
	}
	o.Ready = mb.state.Ready()
	o.Wake = s.ready > 0
}

// checkSessions stores the headers that came along and finds out which sessions may be sent under.
func (m *Mail) checkSessions(s *sending) {
	c := s.command
	s.codes = s.codes[:0]
	for range c.Sessions {
		s.codes = append(s.codes, CodeOK)
	}
	for i := range c.NewSessions {
		code := m.putSession(s.mailbox, s.sender, &c.NewSessions[i])
		for j := range c.Sessions {
			if c.Sessions[j] == c.NewSessions[i].ID {
				s.codes[j] = code
			}
		}
	}
	for j := range c.Sessions {
		if s.codes[j] == CodeOK {
			s.codes[j] = m.usable(s.mailbox, c.Sessions[j], s.sender)
		}
	}
}

// remembered looks an item up among those that were stored already.
func (m *Mail) remembered(s *sending, it *SendItem) (seq uint64, duplicate bool, code Code) {
	if it.Keyed {
		k, ok := m.findKeyed(s.mailbox, s.sender, it.ID)
		if ok && k.Tag != it.Tag {
			return 0, false, CodeIDConflict
		}
		return k.Seq, ok, CodeOK
	}
	if s.producer == nil {
		s.producer = m.producer(s.mailbox, producerID{s.sender, s.command.Producer})
		s.producer.raise(s.command.Lowest)
	}
	if it.Counter < s.producer.Floor {
		return 0, false, CodeTooOld
	}
	seq, duplicate = s.producer.find(it.Counter)
	return seq, duplicate, CodeOK
}

// admit says whether a new message may be stored.
func (m *Mail) admit(s *sending, it *SendItem) Code {
	if code := s.codes[it.Session]; code != CodeOK {
		return code
	}
	notAfter := int64(it.NotAfterMinutes) * minuteMillis
	if notAfter <= m.now || notAfter > m.now+MaxTimeToLiveMillis+clockSlackMillis {
		return CodeExpired
	}
	if !it.Keyed && s.producer.full() {
		return CodeProducerWindow
	}
	if !s.mailbox.addEpoch(it.Epoch, s.mailbox.state.Next) {
		return CodeEpochLimit
	}
	return CodeOK
}

// storeMessage gives a message the next number.
func (m *Mail) storeMessage(s *sending, it *SendItem) (seq uint64) {
	mb := s.mailbox
	state := &mb.state
	seq = state.Next
	if s.page == nil {
		s.page = m.page(mb, seq/storage.PageSeqs)
	}
	s.page.addresses = append(s.page.addresses, storage.Address{
		Index: m.index, Term: m.term, StoredMillis: m.now, Offset: m.offset + it.Record.Offset, Length: it.Record.Length,
		Epoch: it.Epoch, NotAfterMinutes: it.NotAfterMinutes, Digest: it.Digest,
	})
	mb.inlineAddresses++
	state.Next++
	state.Bytes += uint64(it.Record.Length)
	e := mb.epoch(it.Epoch)
	e.Waiting++
	e.Ready++
	mb.stateDirty = true
	s.ready++
	m.pending.messages++
	m.due(mb, it.NotAfterMinutes, seq)
	if it.Keyed {
		m.addKeyed(mb, s.sender, it.ID, storage.Keyed{Seq: seq, Tag: it.Tag})
	} else {
		s.producer.add(it.Counter, seq)
	}
	if seq == s.page.end() {
		m.putAddresses(mb, s.page)
		s.page = nil
	}
	return seq
}

// maxInlineAddresses is how many of the newest messages' addresses stay in the state row: those that come one by one
// share a row that way.
const maxInlineAddresses = 8

// putAddresses gives the addresses that are in the state row a row of their own.
func (m *Mail) putAddresses(mb *mailbox, p *page) {
	n := len(p.addresses) - mb.inlineAddresses
	first := p.known + uint64(n)
	m.batch.PutAddresses(mb.row.Number, first, p.addresses[n:])
	p.rows = append(p.rows, p.offset(first))
	mb.inlineAddresses = 0
}

func (s *sending) answer(code Code, seq uint64, duplicate bool) {
	if code != CodeOK {
		seq = 0
	}
	if n := len(s.sends) - 1; n >= 0 {
		last := &s.sends[n]
		next := last.Seq
		if code == CodeOK {
			next += uint64(last.Count)
		}
		if last.Code == code && last.Duplicate == duplicate && next == seq {
			last.Count++
			return
		}
	}
	s.sends = append(s.sends, SendRun{Count: 1, Code: code, Duplicate: duplicate, Seq: seq})
}
