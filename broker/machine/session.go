package machine

import (
	"errors"
	"slices"

	"github.com/sealmq/sealmq/internal/codec"
	"github.com/sealmq/sealmq/storage"
)

// SessionItem is the header of an end-to-end session, sealed by the leader under the mailbox's secret.
type SessionItem struct {
	ID              [16]byte
	NotAfterMinutes uint32
	Header          []byte
}

func appendSessions(dst []byte, items []SessionItem) []byte {
	dst = codec.AppendUvarint(dst, uint64(len(items)))
	for i := range items {
		dst = append(dst, items[i].ID[:]...)
		dst = codec.AppendU32(dst, items[i].NotAfterMinutes)
		dst = codec.AppendBytes(dst, items[i].Header)
	}
	return dst
}

func sessionsSize(items []SessionItem) int {
	n := codec.UvarintLen(uint64(len(items)))
	for i := range items {
		n += 20 + codec.UvarintLen(uint64(len(items[i].Header))) + len(items[i].Header)
	}
	return n
}

func readSessions(r *codec.Reader, dst []SessionItem) []SessionItem {
	dst = dst[:0]
	for range r.Count(MaxSendSessions, 21) {
		s := SessionItem{ID: r.Array16(), NotAfterMinutes: r.U32(), Header: r.Bytes(MaxSessionHeaderBytes)}
		dst = append(dst, s)
	}
	return dst
}

// SessionPut stores session headers. Each is answered; one that is already there by the same principal is CodeOK.
type SessionPut struct {
	Principal string
	Mailbox   [16]byte
	Items     []SessionItem
}

// Append appends the command to an entry.
func (c *SessionPut) Append(dst []byte) []byte {
	start := len(dst)
	dst = begin(dst, KindSessionPut)
	dst = appendPrincipal(dst, c.Principal)
	dst = append(dst, c.Mailbox[:]...)
	dst = appendSessions(dst, c.Items)
	return frame(dst, start)
}

func (c *SessionPut) decode(r *codec.Reader, n names) {
	c.Principal, c.Mailbox = n.read(r), r.Array16()
	c.Items = readSessions(r, c.Items)
	if c.Principal == "" || len(c.Items) == 0 {
		r.Fail(errRange)
	}
}

// session is what a send needs to know of a session's row.
type session struct {
	day             uint32
	sender          [16]byte
	notAfterMinutes uint32
}

// liveSessions is the not-afters of a sender's sessions, of the day they were put in and of the day before.
type liveSessions struct {
	day              uint32
	today, yesterday storage.LiveSessions
}

func (m *Mail) sessionPut(c *SessionPut, o *Outcome) {
	mb := m.find(c.Mailbox, o)
	if mb == nil {
		return
	}
	m.codes = m.codes[:0]
	sender := m.hash(c.Principal)
	for i := range c.Items {
		m.code(m.putSession(mb, sender, &c.Items[i]), 1)
		if m.err != nil {
			return
		}
	}
	o.Codes = m.takeCodes()
}

func (m *Mail) putSession(mb *mailbox, sender [16]byte, item *SessionItem) Code {
	notAfter := int64(item.NotAfterMinutes) * minuteMillis
	if notAfter <= m.now || notAfter > m.now+MaxSessionMillis {
		return CodeExpired
	}
	if s, ok := m.session(mb, item.ID); ok {
		if s.sender != sender {
			return CodeSessionUnknown // somebody else's: draw another
		}
		return CodeOK
	}
	if m.err != nil {
		return CodeSessionUnknown
	}
	m.pending.seen = true
	live := m.liveSessions(mb, sender)
	left := m.minutesLeft(live.today) + m.minutesLeft(live.yesterday)
	if left+m.minutesLeft(storage.LiveSessions{NotAfterMinutes: []uint32{item.NotAfterMinutes}}) > MaxSessionMinutes {
		return CodeSessionLimit
	}
	today := storage.SessionDay(m.now)
	live.today.NotAfterMinutes = slices.DeleteFunc(live.today.NotAfterMinutes, m.past)
	live.today.NotAfterMinutes = append(live.today.NotAfterMinutes, item.NotAfterMinutes)
	mb.live[sender] = live
	m.batch.PutLiveSessions(today, mb.row.Number, sender, &live.today)
	row := storage.Session{Sender: sender, NotAfterMinutes: item.NotAfterMinutes, Header: item.Header}
	m.batch.PutSession(today, mb.row.Number, item.ID, &row)
	mb.sessions.put(item.ID, session{today, sender, item.NotAfterMinutes})
	return CodeOK
}

// sessions are those of a mailbox that are known. Most mailboxes have few senders, and side by side these are found with
// the least waiting for memory.
type sessions struct {
	few  []knownSession
	many map[[16]byte]session // all of them, once they are more
}

type knownSession struct {
	id [16]byte
	session
}

const maxFewSessions = 8

func (s *sessions) find(id [16]byte) (session, bool) {
	for i := range s.few {
		if s.few[i].id == id {
			return s.few[i].session, true
		}
	}
	found, ok := s.many[id]
	return found, ok
}

// put makes a session known.
func (s *sessions) put(id [16]byte, new session) {
	for i := range s.few {
		if s.few[i].id == id {
			s.few[i].session = new
			return
		}
	}
	switch {
	case s.many != nil:
		s.many[id] = new
	case len(s.few) < maxFewSessions:
		s.few = append(s.few, knownSession{id, new})
	default:
		s.many = map[[16]byte]session{id: new}
		for i := range s.few {
			s.many[s.few[i].id] = s.few[i].session
		}
		s.few = nil
	}
}

func (s *sessions) len() int { return len(s.few) + len(s.many) }

// session finds a session that was put today or yesterday; an older one is past its not-after.
func (m *Mail) session(mb *mailbox, id [16]byte) (session, bool) {
	today := storage.SessionDay(m.now)
	if s, ok := mb.sessions.find(id); ok {
		return s, s.day+1 >= today
	}
	for day := today; day+1 >= today; day-- {
		row, err := m.reader.Session(day, mb.row.Number, id)
		if err == nil {
			s := session{day, row.Sender, row.NotAfterMinutes}
			mb.sessions.put(id, s)
			return s, true
		}
		if !errors.Is(err, storage.ErrNotFound) {
			m.failed(err)
		}
		if day == 0 {
			break
		}
	}
	return session{}, false
}

// usable says whether a sender may send under a session now.
func (m *Mail) usable(mb *mailbox, id, sender [16]byte) Code {
	s, ok := m.session(mb, id)
	if !ok || s.sender != sender || int64(s.notAfterMinutes)*minuteMillis+clockSlackMillis < m.now {
		return CodeSessionUnknown
	}
	return CodeOK
}

func (m *Mail) liveSessions(mb *mailbox, sender [16]byte) liveSessions {
	today := storage.SessionDay(m.now)
	live, ok := mb.live[sender]
	switch {
	case ok && live.day == today:
		return live
	case ok && live.day+1 == today:
		live = liveSessions{day: today, yesterday: live.today}
	default:
		live = liveSessions{day: today, today: m.readLive(mb, today, sender)}
		if today > 0 {
			live.yesterday = m.readLive(mb, today-1, sender)
		}
	}
	if mb.live == nil {
		mb.live = map[[16]byte]liveSessions{}
	}
	mb.live[sender] = live
	return live
}

func (m *Mail) readLive(mb *mailbox, day uint32, sender [16]byte) storage.LiveSessions {
	l, err := m.reader.LiveSessions(day, mb.row.Number, sender)
	if !errors.Is(err, storage.ErrNotFound) {
		m.failed(err)
	}
	return l
}

// minutesLeft counts what sessions may still be used for, begun minutes as whole ones.
func (m *Mail) minutesLeft(l storage.LiveSessions) (minutes int64) {
	for _, notAfter := range l.NotAfterMinutes {
		left := (int64(notAfter)*minuteMillis - m.now + minuteMillis - 1) / minuteMillis
		minutes += min(max(left, 0), MaxCountedMinutes)
	}
	return minutes
}
