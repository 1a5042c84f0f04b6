package wire

import (
	"encoding/binary"

	"github.com/sealmq/sealmq/internal/codec"
)

// SessionRef is a session that messages of a batch belong to. Init is the session's header, nil where the other side
// is expected to have it.
type SessionRef struct {
	ID   [16]byte
	Init []byte
}

// Send puts a batch of messages into one mailbox, in order. Each item succeeds or fails by itself.
type Send struct {
	Mailbox          MailboxRef
	Producer         [8]byte // of the counted ids among the items
	LowestUnanswered uint64  // the lowest counter of this producer that this mailbox has not answered yet
	Sessions         []SessionRef
	Items            []SendItem
	Options          Options
}

// SendItem is one message.
type SendItem struct {
	Session uint8       // index into Send.Sessions
	Keyed   bool        // Header.ID is a keyed id, not Send.Producer and a counter
	Header  ClearHeader // whole; its session and producer go over the wire once per batch
	BodyTag [16]byte    // for keyed ids
	Sealed  []byte      // nonce, ciphertext, tag
	Options Options
}

const (
	sendKeyed   = 1 << 0
	sendOptions = 1 << 1
	sendSession = 1 << 2

	// sendItemLeast is the fewest bytes that an item takes: flags, counter, header, length, nonce and tag.
	sendItemLeast = 1 + 1 + headerStartBytes + 1 + SealedMinBytes

	sessionIsID   = 0
	sessionIsInit = 1
)

// Type returns TypeSend.
func (m *Send) Type() Type { return TypeSend }

// Append appends the payload. It panics if an item's session index, session id or producer is not that of the batch:
// the receiver would restore another header than the one that the seal authenticates.
func (m *Send) Append(dst []byte) []byte {
	dst = appendMailbox(dst, &m.Mailbox)
	dst = append(dst, m.Producer[:]...)
	dst = codec.AppendUvarint(dst, m.LowestUnanswered)
	dst = append(dst, byte(len(m.Sessions)))
	for i := range m.Sessions {
		if s := &m.Sessions[i]; len(s.Init) != 0 {
			dst = codec.AppendBytes(append(dst, sessionIsInit), s.Init)
		} else {
			dst = append(append(dst, sessionIsID), s.ID[:]...)
		}
	}
	dst = codec.AppendUvarint(dst, uint64(len(m.Items)))
	next := m.LowestUnanswered
	for i := range m.Items {
		item := &m.Items[i]
		if item.Header.Session != m.Sessions[item.Session].ID {
			panic("wire: an item's session is not the one of its index")
		}
		if !item.Keyed && item.Header.Producer() != m.Producer {
			panic("wire: an item's producer is not the one of the batch")
		}
		dst, next = item.append(dst, next)
	}
	return appendOptions(dst, m.Options)
}

// append appends the item. next is the counter that is written as 0; it returns the one after this item's.
func (it *SendItem) append(dst []byte, next uint64) ([]byte, uint64) {
	flags := byte(0)
	if it.Keyed {
		flags |= sendKeyed
	}
	if len(it.Options) != 0 {
		flags |= sendOptions
	}
	if it.Session != 0 {
		flags |= sendSession
	}
	dst = append(dst, flags)
	if it.Session != 0 {
		dst = append(dst, it.Session)
	}
	if it.Keyed {
		dst = append(dst, it.Header.ID[:]...)
		dst = append(dst, it.BodyTag[:]...)
	} else {
		counter := it.Header.Counter()
		dst = codec.AppendUvarint(dst, zigzag(counter, next))
		next = counter + 1
	}
	dst = appendHeaderStart(dst, &it.Header)
	dst = appendHeaderOptions(dst, it.Header.Options)
	dst = codec.AppendBytes(dst, it.Sealed)
	if len(it.Options) != 0 {
		dst = appendOptions(dst, it.Options)
	}
	return dst, next
}

// Decode reads a payload. Ids of sessions that come with their header are computed from it.
func (m *Send) Decode(payload []byte) error {
	r := codec.NewReader(payload)
	m.Mailbox = readMailbox(&r)
	m.Producer = readArray8(&r)
	if m.LowestUnanswered = r.Uvarint(); m.LowestUnanswered > CounterMax {
		r.Fail(&FieldError{"lowest_unanswered", ErrRange})
	}
	m.readSessions(&r)
	m.Items = resize(m.Items, r.Count(BatchItems, sendItemLeast))
	next := m.LowestUnanswered
	for i := range m.Items {
		next = m.readItem(&r, &m.Items[i], next)
		if r.Err() != nil {
			break
		}
	}
	m.Options = readOptions(&r, m.Options)
	return finish(&r, TypeSend)
}

func (m *Send) readSessions(r *codec.Reader) {
	n := int(r.U8())
	if n > BatchSessions {
		r.Fail(codec.ErrLimit)
		return
	}
	m.Sessions = resize(m.Sessions, n)
	for i := range m.Sessions {
		s := &m.Sessions[i]
		switch r.U8() {
		case sessionIsID:
			s.ID, s.Init = r.Array16(), nil
		case sessionIsInit:
			s.Init = readInit(r)
			if r.Err() == nil {
				s.ID = SessionID(m.Mailbox.ID, s.Init)
			}
		default:
			r.Fail(&FieldError{"sessions", ErrForm})
		}
		if r.Err() != nil {
			return
		}
	}
}

// readInit reads the header of a session.
func readInit(r *codec.Reader) []byte {
	b := r.Bytes(SessionInitBytes)
	if r.Err() == nil && len(b) < SessionInitMinBytes {
		r.Fail(&FieldError{"init", ErrRange})
	}
	return b
}

func (m *Send) readItem(r *codec.Reader, it *SendItem, next uint64) uint64 {
	flags := readFlags(r, sendKeyed|sendOptions|sendSession)
	it.Session = readIndex(r, flags&sendSession != 0, len(m.Sessions))
	it.Keyed = flags&sendKeyed != 0
	if it.Keyed {
		it.Header.ID = r.Array16()
		it.BodyTag = r.Array16()
	} else {
		counter := unzigzag(r.Uvarint(), next)
		if counter > CounterMax {
			r.Fail(&FieldError{"counter", ErrRange})
		}
		next = counter + 1
		copy(it.Header.ID[:8], m.Producer[:])
		binary.BigEndian.PutUint64(it.Header.ID[8:], counter)
		it.BodyTag = [16]byte{}
	}
	readHeaderStart(r, &it.Header)
	readHeaderOptions(r, &it.Header)
	it.Sealed = readSealed(r)
	it.Options = readItemOptions(r, it.Options, flags&sendOptions != 0)
	if r.Err() == nil {
		it.Header.Session = m.Sessions[it.Session].ID
	}
	return next
}

// readIndex reads an index into a table of n rows: one byte, left out where it is 0.
func readIndex(r *codec.Reader, present bool, n int) uint8 {
	i := uint8(0)
	if present {
		if i = r.U8(); i == 0 {
			r.Fail(&FieldError{"index", ErrForm})
		}
	}
	if int(i) >= n {
		r.Fail(&FieldError{"index", ErrRange})
	}
	return i
}

func readSealed(r *codec.Reader) []byte {
	b := r.Bytes(SealedBytes)
	if r.Err() == nil && len(b) < SealedMinBytes {
		r.Fail(&FieldError{"sealed", ErrRange})
	}
	return b
}

// Index returns the index of a session in m.Sessions, adding it if it is not there. ok is false if there is no room.
func (m *Send) Index(session [16]byte) (index uint8, ok bool) {
	var i int
	m.Sessions, i = sessionIndex(m.Sessions, session)
	return uint8(i), i >= 0
}

func sessionIndex(sessions []SessionRef, id [16]byte) ([]SessionRef, int) {
	for i := len(sessions) - 1; i >= 0; i-- {
		if sessions[i].ID == id {
			return sessions, i
		}
	}
	if len(sessions) == BatchSessions {
		return sessions, -1
	}
	return append(sessions, SessionRef{ID: id}), len(sessions)
}

// SizeBound returns an upper bound of the bytes that the item takes in a frame.
func (it *SendItem) SizeBound() int {
	return 2 + 32 + headerBound(&it.Header) + 4 + len(it.Sealed) + optionsBound(it.Options)
}

// SizeBound returns an upper bound of the bytes that the frame takes without items, length field included.
func (m *Send) SizeBound() int {
	n := FrameHeaderBytes + mailboxBytes + 8 + 10 + 1 + 4 + optionsBound(m.Options)
	for i := range m.Sessions {
		n += 1 + max(16, 4+len(m.Sessions[i].Init))
	}
	return n
}
