package wire

import "github.com/sealmq/sealmq/internal/codec"

// SessionPut stores headers of sessions before messages refer to them. A send may carry them as well.
type SessionPut struct {
	Mailbox MailboxRef
	Inits   [][]byte
	Options Options
}

// Type returns TypeSessionPut.
func (m *SessionPut) Type() Type { return TypeSessionPut }

// Append appends the payload.
func (m *SessionPut) Append(dst []byte) []byte {
	dst = appendMailbox(dst, &m.Mailbox)
	dst = codec.AppendUvarint(dst, uint64(len(m.Inits)))
	for _, init := range m.Inits {
		dst = codec.AppendBytes(dst, init)
	}
	return appendOptions(dst, m.Options)
}

// Decode reads a payload.
func (m *SessionPut) Decode(payload []byte) error {
	r := codec.NewReader(payload)
	m.Mailbox = readMailbox(&r)
	m.Inits = readList(&r, m.Inits, BatchSessions, 1+SessionInitMinBytes, func(r *codec.Reader, init *[]byte) {
		*init = readInit(r)
	})
	m.Options = readOptions(&r, m.Options)
	return finish(&r, TypeSessionPut)
}

// SessionPutReply answers a session put with a code for each header.
type SessionPutReply struct {
	Codes   []Code
	Options Options
}

// Type returns TypeSessionPutReply.
func (m *SessionPutReply) Type() Type { return TypeSessionPutReply }

// Append appends the payload.
func (m *SessionPutReply) Append(dst []byte) []byte {
	dst = codec.AppendUvarint(dst, uint64(len(m.Codes)))
	for _, code := range m.Codes {
		dst = codec.AppendU16(dst, uint16(code))
	}
	return appendOptions(dst, m.Options)
}

// Decode reads a payload.
func (m *SessionPutReply) Decode(payload []byte) error {
	r := codec.NewReader(payload)
	m.Codes = readList(&r, m.Codes, BatchSessions, 2, func(r *codec.Reader, code *Code) { *code = Code(r.U16()) })
	m.Options = readOptions(&r, m.Options)
	return finish(&r, TypeSessionPutReply)
}

// SessionGet asks for headers of sessions whose messages were delivered.
type SessionGet struct {
	Mailbox MailboxRef
	IDs     [][16]byte
	Options Options
}

// Type returns TypeSessionGet.
func (m *SessionGet) Type() Type { return TypeSessionGet }

// Append appends the payload.
func (m *SessionGet) Append(dst []byte) []byte {
	dst = appendMailbox(dst, &m.Mailbox)
	dst = codec.AppendUvarint(dst, uint64(len(m.IDs)))
	for i := range m.IDs {
		dst = append(dst, m.IDs[i][:]...)
	}
	return appendOptions(dst, m.Options)
}

// Decode reads a payload.
func (m *SessionGet) Decode(payload []byte) error {
	r := codec.NewReader(payload)
	m.Mailbox = readMailbox(&r)
	m.IDs = readList(&r, m.IDs, BatchSessions, 16, func(r *codec.Reader, id *[16]byte) { *id = r.Array16() })
	m.Options = readOptions(&r, m.Options)
	return finish(&r, TypeSessionGet)
}

// SessionGetReply answers a session get. A session that the node does not have comes without a header.
type SessionGetReply struct {
	Items   []SessionRef
	Options Options
}

// Type returns TypeSessionGetReply.
func (m *SessionGetReply) Type() Type { return TypeSessionGetReply }

// Append appends the payload.
func (m *SessionGetReply) Append(dst []byte) []byte {
	dst = codec.AppendUvarint(dst, uint64(len(m.Items)))
	for i := range m.Items {
		dst = m.Items[i].append(dst)
	}
	return appendOptions(dst, m.Options)
}

// Decode reads a payload. Who asked checks that each header has the id that it came under.
func (m *SessionGetReply) Decode(payload []byte) error {
	r := codec.NewReader(payload)
	m.Items = readList(&r, m.Items, BatchSessions, 17, func(r *codec.Reader, s *SessionRef) { s.read(r) })
	m.Options = readOptions(&r, m.Options)
	return finish(&r, TypeSessionGetReply)
}

// append appends a session as nodes send it: the id, then the header or an empty one.
func (s *SessionRef) append(dst []byte) []byte {
	dst = append(dst, s.ID[:]...)
	return codec.AppendBytes(dst, s.Init)
}

func (s *SessionRef) read(r *codec.Reader) {
	s.ID = r.Array16()
	s.Init = r.Bytes(SessionInitBytes)
	if n := len(s.Init); n != 0 && n < SessionInitMinBytes {
		r.Fail(&FieldError{"init", ErrRange})
	}
}
