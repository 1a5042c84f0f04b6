package wire

import "github.com/sealmq/sealmq/internal/codec"

// GrantAdd lets the principals that match a subject do something to the mailboxes that match a resource.
type GrantAdd struct {
	Subject  string // principal pattern
	Actions  Actions
	Resource string // mailbox name pattern
	Options  Options
}

// Type returns TypeGrantAdd.
func (m *GrantAdd) Type() Type { return TypeGrantAdd }

// Append appends the payload.
func (m *GrantAdd) Append(dst []byte) []byte {
	dst = appendString(dst, m.Subject)
	dst = codec.AppendU32(dst, uint32(m.Actions))
	dst = appendString(dst, m.Resource)
	return appendOptions(dst, m.Options)
}

// Decode reads a payload. It refuses actions that it does not know.
func (m *GrantAdd) Decode(payload []byte) error {
	r := codec.NewReader(payload)
	m.Subject = readString(&r, "subject", NameBytes, CheckPrincipal)
	if m.Actions = Actions(r.U32()); r.Err() == nil && (m.Actions == 0 || m.Actions&^AllActions != 0) {
		r.Fail(&FieldError{"actions", ErrRange})
	}
	m.Resource = readString(&r, "resource", NameBytes, CheckPattern)
	m.Options = readOptions(&r, m.Options)
	return finish(&r, TypeGrantAdd)
}

// GrantAddReply answers a grant add.
type GrantAddReply struct {
	ID      [8]byte
	Late    []string // nodes that have not applied it yet
	Options Options
}

// Type returns TypeGrantAddReply.
func (m *GrantAddReply) Type() Type { return TypeGrantAddReply }

// Append appends the payload.
func (m *GrantAddReply) Append(dst []byte) []byte {
	dst = append(dst, m.ID[:]...)
	dst = appendNodes(dst, m.Late)
	return appendOptions(dst, m.Options)
}

// Decode reads a payload.
func (m *GrantAddReply) Decode(payload []byte) error {
	r := codec.NewReader(payload)
	m.ID = readArray8(&r)
	m.Late = readNodes(&r, m.Late)
	m.Options = readOptions(&r, m.Options)
	return finish(&r, TypeGrantAddReply)
}

func appendNodes(dst []byte, nodes []string) []byte {
	dst = codec.AppendUvarint(dst, uint64(len(nodes)))
	for _, node := range nodes {
		dst = appendString(dst, node)
	}
	return dst
}

func readNodes(r *codec.Reader, reuse []string) []string {
	return readList(r, reuse, Nodes, 1, func(r *codec.Reader, node *string) { *node = readNode(r) })
}

// GrantRemove takes a grant back.
type GrantRemove struct {
	ID      [8]byte
	Options Options
}

// Type returns TypeGrantRemove.
func (m *GrantRemove) Type() Type { return TypeGrantRemove }

// Append appends the payload.
func (m *GrantRemove) Append(dst []byte) []byte {
	dst = append(dst, m.ID[:]...)
	return appendOptions(dst, m.Options)
}

// Decode reads a payload.
func (m *GrantRemove) Decode(payload []byte) error {
	r := codec.NewReader(payload)
	m.ID = readArray8(&r)
	m.Options = readOptions(&r, m.Options)
	return finish(&r, TypeGrantRemove)
}

// GrantRemoveReply answers a grant remove once no node serves the grant any more.
type GrantRemoveReply struct {
	Late    []string // nodes that have not applied it, and serve nothing until they have
	Options Options
}

// Type returns TypeGrantRemoveReply.
func (m *GrantRemoveReply) Type() Type { return TypeGrantRemoveReply }

// Append appends the payload.
func (m *GrantRemoveReply) Append(dst []byte) []byte {
	dst = appendNodes(dst, m.Late)
	return appendOptions(dst, m.Options)
}

// Decode reads a payload.
func (m *GrantRemoveReply) Decode(payload []byte) error {
	r := codec.NewReader(payload)
	m.Late = readNodes(&r, m.Late)
	m.Options = readOptions(&r, m.Options)
	return finish(&r, TypeGrantRemoveReply)
}

// GrantList asks for a page of grants in the order of their ids.
type GrantList struct {
	Subject string // only grants with exactly this subject; empty means all
	After   [8]byte
	Limit   uint32
	Options Options
}

// Type returns TypeGrantList.
func (m *GrantList) Type() Type { return TypeGrantList }

// Append appends the payload.
func (m *GrantList) Append(dst []byte) []byte {
	dst = appendString(dst, m.Subject)
	dst = append(dst, m.After[:]...)
	dst = codec.AppendUvarint(dst, uint64(m.Limit))
	return appendOptions(dst, m.Options)
}

// Decode reads a payload.
func (m *GrantList) Decode(payload []byte) error {
	r := codec.NewReader(payload)
	m.Subject = readToken(&r, "subject")
	m.After = readArray8(&r)
	m.Limit = readU32(&r, "limit", 1, PageItems)
	m.Options = readOptions(&r, m.Options)
	return finish(&r, TypeGrantList)
}

// GrantListReply is a page of grants.
type GrantListReply struct {
	Items   []Grant
	Next    [8]byte // After of the next page, zero if this is the last
	Options Options
}

// Grant is one grant.
type Grant struct {
	ID       [8]byte
	Subject  string
	Actions  Actions
	Resource string
	Options  Options
}

// Type returns TypeGrantListReply.
func (m *GrantListReply) Type() Type { return TypeGrantListReply }

// Append appends the payload.
func (m *GrantListReply) Append(dst []byte) []byte {
	dst = codec.AppendUvarint(dst, uint64(len(m.Items)))
	for i := range m.Items {
		item := &m.Items[i]
		dst = append(dst, item.ID[:]...)
		dst = appendString(dst, item.Subject)
		dst = codec.AppendU32(dst, uint32(item.Actions))
		dst = appendString(dst, item.Resource)
		dst = appendOptions(dst, item.Options)
	}
	dst = append(dst, m.Next[:]...)
	return appendOptions(dst, m.Options)
}

// Decode reads a payload. Actions that it does not know are kept.
func (m *GrantListReply) Decode(payload []byte) error {
	r := codec.NewReader(payload)
	m.Items = readList(&r, m.Items, PageItems, 8+2+4+2+1, func(r *codec.Reader, item *Grant) {
		item.ID = readArray8(r)
		item.Subject = readString(r, "subject", NameBytes, CheckPrincipal)
		item.Actions = Actions(r.U32())
		item.Resource = readString(r, "resource", NameBytes, CheckPattern)
		item.Options = readOptions(r, item.Options)
	})
	m.Next = readArray8(&r)
	m.Options = readOptions(&r, m.Options)
	return finish(&r, TypeGrantListReply)
}
