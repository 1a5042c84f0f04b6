package wire

import "github.com/sealmq/sealmq/internal/codec"

// KeyRecordPublish stores a mailbox's next signed key record if the one before it is still the newest. Done answers it.
type KeyRecordPublish struct {
	Mailbox      MailboxRef
	Name         string
	Version      uint64   // of this record; the newest one must have the version before it
	PreviousHash [32]byte // of the newest record, zero for the first
	OwnerKey     [32]byte // identity key that signed it, to be found by
	Record       []byte
	Options      Options
}

// Type returns TypeKeyRecordPublish.
func (m *KeyRecordPublish) Type() Type { return TypeKeyRecordPublish }

// Append appends the payload.
func (m *KeyRecordPublish) Append(dst []byte) []byte {
	dst = appendMailbox(dst, &m.Mailbox)
	dst = appendString(dst, m.Name)
	dst = codec.AppendU64(dst, m.Version)
	dst = append(dst, m.PreviousHash[:]...)
	dst = append(dst, m.OwnerKey[:]...)
	dst = codec.AppendBytes(dst, m.Record)
	return appendOptions(dst, m.Options)
}

// Decode reads a payload.
func (m *KeyRecordPublish) Decode(payload []byte) error {
	r := codec.NewReader(payload)
	m.Mailbox = readMailbox(&r)
	m.Name = readName(&r)
	if m.Version = r.U64(); r.Err() == nil && m.Version == 0 {
		r.Fail(&FieldError{"version", ErrRange})
	}
	m.PreviousHash = r.Array32()
	m.OwnerKey = r.Array32()
	if m.Record = r.Bytes(KeyRecordBytes); r.Err() == nil && len(m.Record) == 0 {
		r.Fail(&FieldError{"record", ErrRange})
	}
	m.Options = readOptions(&r, m.Options)
	return finish(&r, TypeKeyRecordPublish)
}

// Resolve asks for everything that a sender or receiver needs to know about a mailbox.
type Resolve struct {
	Name    string
	Options Options
}

// Type returns TypeResolve.
func (m *Resolve) Type() Type { return TypeResolve }

// Append appends the payload.
func (m *Resolve) Append(dst []byte) []byte {
	dst = appendString(dst, m.Name)
	return appendOptions(dst, m.Options)
}

// Decode reads a payload.
func (m *Resolve) Decode(payload []byte) error {
	r := codec.NewReader(payload)
	m.Name = readName(&r)
	m.Options = readOptions(&r, m.Options)
	return finish(&r, TypeResolve)
}

// ResolveReply answers a resolve. What a sender trusts of it is only what the record's signature covers.
type ResolveReply struct {
	ID            [16]byte
	Slot, Group   uint16
	Leader        Leader
	Owner         string // principal
	Policy        Policy
	LeaseMillis   uint32
	TTLMillis     uint64
	TimeMillis    int64  // the node's clock, for the message's not-after
	RecordVersion uint64 // 0 if no record was published
	Record        []byte
	Options       Options
}

// Type returns TypeResolveReply.
func (m *ResolveReply) Type() Type { return TypeResolveReply }

// Append appends the payload.
func (m *ResolveReply) Append(dst []byte) []byte {
	dst = append(dst, m.ID[:]...)
	dst = codec.AppendU16(dst, m.Slot)
	dst = codec.AppendU16(dst, m.Group)
	dst = m.Leader.append(dst)
	dst = appendString(dst, m.Owner)
	dst = codec.AppendU32(dst, uint32(m.Policy))
	dst = codec.AppendU32(dst, m.LeaseMillis)
	dst = codec.AppendUvarint(dst, m.TTLMillis)
	dst = codec.AppendU64(dst, uint64(m.TimeMillis))
	dst = codec.AppendU64(dst, m.RecordVersion)
	dst = codec.AppendBytes(dst, m.Record)
	return appendOptions(dst, m.Options)
}

// Decode reads a payload.
func (m *ResolveReply) Decode(payload []byte) error {
	r := codec.NewReader(payload)
	m.ID = r.Array16()
	m.Slot = readSlot(&r)
	m.Group = readGroup(&r)
	m.Leader.read(&r)
	m.Owner = readToken(&r, "owner")
	m.Policy = Policy(r.U32())
	m.LeaseMillis = r.U32()
	m.TTLMillis = r.Uvarint()
	m.TimeMillis = int64(r.U64())
	m.RecordVersion = r.U64()
	m.Record = r.Bytes(KeyRecordBytes)
	if r.Err() == nil && (m.RecordVersion == 0) != (len(m.Record) == 0) {
		r.Fail(&FieldError{"record", ErrForm})
	}
	m.Options = readOptions(&r, m.Options)
	return finish(&r, TypeResolveReply)
}

// LookupBy says what a key lookup goes by.
type LookupBy uint8

// The ways to look keys up.
const (
	LookupPrincipal   LookupBy = 1
	LookupIdentityKey LookupBy = 2
)

// KeyLookup asks for the mailboxes of one owner in one group, with their key records.
type KeyLookup struct {
	By          LookupBy
	Principal   string   // by principal
	IdentityKey [32]byte // by identity key
	Group       uint16   // 0 means every group, merged
	After       string   // mailbox names after this one
	Limit       uint32
	Options     Options
}

// Type returns TypeKeyLookup.
func (m *KeyLookup) Type() Type { return TypeKeyLookup }

// Append appends the payload.
func (m *KeyLookup) Append(dst []byte) []byte {
	dst = append(dst, byte(m.By))
	if m.By == LookupPrincipal {
		dst = appendString(dst, m.Principal)
	} else {
		dst = append(dst, m.IdentityKey[:]...)
	}
	dst = codec.AppendU16(dst, m.Group)
	dst = appendString(dst, m.After)
	dst = codec.AppendUvarint(dst, uint64(m.Limit))
	return appendOptions(dst, m.Options)
}

// Decode reads a payload.
func (m *KeyLookup) Decode(payload []byte) error {
	r := codec.NewReader(payload)
	m.By = LookupBy(r.U8())
	m.Principal, m.IdentityKey = "", [32]byte{}
	switch m.By {
	case LookupPrincipal:
		m.Principal = readString(&r, "principal", NameBytes, CheckPrincipal)
	case LookupIdentityKey:
		m.IdentityKey = r.Array32()
	default:
		r.Fail(&FieldError{"by", ErrRange})
	}
	m.Group = readGroup(&r)
	m.After = readString(&r, "after", NameBytes, checkPrefix)
	m.Limit = readU32(&r, "limit", 1, PageItems)
	m.Options = readOptions(&r, m.Options)
	return finish(&r, TypeKeyLookup)
}

// KeyLookupReply is a page of key records in the order of their mailboxes' names.
type KeyLookupReply struct {
	Items   []KeyRecordItem
	Next    string // After of the next page, empty if this is the last
	Options Options
}

// KeyRecordItem is the key record of one mailbox.
type KeyRecordItem struct {
	Name          string
	ID            [16]byte
	RecordVersion uint64
	Record        []byte
	Options       Options
}

// Type returns TypeKeyLookupReply.
func (m *KeyLookupReply) Type() Type { return TypeKeyLookupReply }

// Append appends the payload.
func (m *KeyLookupReply) Append(dst []byte) []byte {
	dst = codec.AppendUvarint(dst, uint64(len(m.Items)))
	for i := range m.Items {
		item := &m.Items[i]
		dst = appendString(dst, item.Name)
		dst = append(dst, item.ID[:]...)
		dst = codec.AppendU64(dst, item.RecordVersion)
		dst = codec.AppendBytes(dst, item.Record)
		dst = appendOptions(dst, item.Options)
	}
	dst = appendString(dst, m.Next)
	return appendOptions(dst, m.Options)
}

// Decode reads a payload.
func (m *KeyLookupReply) Decode(payload []byte) error {
	r := codec.NewReader(payload)
	m.Items = readList(&r, m.Items, PageItems, 2+16+8+1+1, func(r *codec.Reader, item *KeyRecordItem) {
		item.Name = readName(r)
		item.ID = r.Array16()
		item.RecordVersion = r.U64()
		item.Record = r.Bytes(KeyRecordBytes)
		item.Options = readOptions(r, item.Options)
	})
	m.Next = readString(&r, "next", NameBytes, checkPrefix)
	m.Options = readOptions(&r, m.Options)
	return finish(&r, TypeKeyLookupReply)
}
