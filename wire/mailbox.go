package wire

import (
	"math"

	"github.com/sealmq/sealmq/internal/codec"
)

// MailboxCreate creates mailboxes that all belong to one group.
type MailboxCreate struct {
	Items   []MailboxNew
	Options Options
}

// MailboxNew is a mailbox to create.
type MailboxNew struct {
	Name    string
	ID      [16]byte // drawn by the client
	Options Options
}

// Type returns TypeMailboxCreate.
func (m *MailboxCreate) Type() Type { return TypeMailboxCreate }

// Append appends the payload.
func (m *MailboxCreate) Append(dst []byte) []byte {
	dst = codec.AppendUvarint(dst, uint64(len(m.Items)))
	for i := range m.Items {
		item := &m.Items[i]
		dst = appendString(dst, item.Name)
		dst = append(dst, item.ID[:]...)
		dst = appendOptions(dst, item.Options)
	}
	return appendOptions(dst, m.Options)
}

// Decode reads a payload.
func (m *MailboxCreate) Decode(payload []byte) error {
	r := codec.NewReader(payload)
	m.Items = readList(&r, m.Items, CreateItems, 2+16+1, func(r *codec.Reader, item *MailboxNew) {
		item.Name = readName(r)
		item.ID = r.Array16()
		item.Options = readOptions(r, item.Options)
	})
	m.Options = readOptions(&r, m.Options)
	return finish(&r, TypeMailboxCreate)
}

// MailboxCreateReply answers a mailbox create with a result for each item.
type MailboxCreateReply struct {
	Items   []MailboxCreated
	Options Options
}

// MailboxCreated is the result for one mailbox. CodeOK also if it was there with the same id and owner.
type MailboxCreated struct {
	Code    Code
	Group   uint16
	Options Options
}

// Type returns TypeMailboxCreateReply.
func (m *MailboxCreateReply) Type() Type { return TypeMailboxCreateReply }

// Append appends the payload.
func (m *MailboxCreateReply) Append(dst []byte) []byte {
	dst = codec.AppendUvarint(dst, uint64(len(m.Items)))
	for i := range m.Items {
		item := &m.Items[i]
		dst = codec.AppendU16(dst, uint16(item.Code))
		dst = codec.AppendU16(dst, item.Group)
		dst = appendOptions(dst, item.Options)
	}
	return appendOptions(dst, m.Options)
}

// Decode reads a payload.
func (m *MailboxCreateReply) Decode(payload []byte) error {
	r := codec.NewReader(payload)
	m.Items = readList(&r, m.Items, CreateItems, 5, func(r *codec.Reader, item *MailboxCreated) {
		item.Code = Code(r.U16())
		item.Group = readGroup(r)
		item.Options = readOptions(r, item.Options)
	})
	m.Options = readOptions(&r, m.Options)
	return finish(&r, TypeMailboxCreateReply)
}

func readGroup(r *codec.Reader) uint16 {
	group := r.U16()
	if group >= Groups {
		r.Fail(&FieldError{"group", ErrRange})
	}
	return group
}

// MailboxShow asks for what is known about a mailbox.
type MailboxShow struct {
	Name    string
	Options Options
}

// Type returns TypeMailboxShow.
func (m *MailboxShow) Type() Type { return TypeMailboxShow }

// Append appends the payload.
func (m *MailboxShow) Append(dst []byte) []byte {
	dst = appendString(dst, m.Name)
	return appendOptions(dst, m.Options)
}

// Decode reads a payload.
func (m *MailboxShow) Decode(payload []byte) error {
	r := codec.NewReader(payload)
	m.Name = readName(&r)
	m.Options = readOptions(&r, m.Options)
	return finish(&r, TypeMailboxShow)
}

// Policy is what a mailbox demands of messages. Bits are only ever appended.
type Policy uint32

// The bits of a policy.
const (
	PolicySealedOnly Policy = 1 << 0
	PolicySigned     Policy = 1 << 1
	PolicyPadded     Policy = 1 << 2
)

// EpochCount is how many messages wait for one key epoch.
type EpochCount struct {
	Epoch    uint32
	Messages uint64
}

// MailboxInfo answers a mailbox show and is an item of a listing.
type MailboxInfo struct {
	Name          string
	ID            [16]byte
	Slot, Group   uint16
	Owner         string // principal
	Policy        Policy
	Ready         uint64
	Leased        uint64
	Parked        uint64 // unreadable or delayed
	Dead          uint64 // failed too often
	Bytes         uint64
	CreatedMillis int64
	OldestMillis  int64 // stored time of the oldest message, 0 if there is none
	NextSeq       uint64
	RecordVersion uint64 // of the key record, 0 if there is none
	LeaseMillis   uint32
	TTLMillis     uint64
	Waiting       []EpochCount
	Options       Options
}

// Type returns TypeMailboxInfo.
func (m *MailboxInfo) Type() Type { return TypeMailboxInfo }

// Append appends the payload.
func (m *MailboxInfo) Append(dst []byte) []byte {
	dst = appendString(dst, m.Name)
	dst = append(dst, m.ID[:]...)
	dst = codec.AppendU16(dst, m.Slot)
	dst = codec.AppendU16(dst, m.Group)
	dst = appendString(dst, m.Owner)
	dst = codec.AppendU32(dst, uint32(m.Policy))
	for _, v := range [...]uint64{m.Ready, m.Leased, m.Parked, m.Dead, m.Bytes} {
		dst = codec.AppendUvarint(dst, v)
	}
	dst = codec.AppendU64(dst, uint64(m.CreatedMillis))
	dst = codec.AppendU64(dst, uint64(m.OldestMillis))
	dst = codec.AppendUvarint(dst, m.NextSeq)
	dst = codec.AppendUvarint(dst, m.RecordVersion)
	dst = codec.AppendUvarint(dst, uint64(m.LeaseMillis))
	dst = codec.AppendUvarint(dst, m.TTLMillis)
	dst = codec.AppendUvarint(dst, uint64(len(m.Waiting)))
	for _, w := range m.Waiting {
		dst = codec.AppendU32(dst, w.Epoch)
		dst = codec.AppendUvarint(dst, w.Messages)
	}
	return appendOptions(dst, m.Options)
}

// mailboxInfoLeast is the fewest bytes that a MailboxInfo takes.
const mailboxInfoLeast = 2 + 16 + 2 + 2 + 1 + 4 + 5 + 8 + 8 + 4 + 1 + 1

func (m *MailboxInfo) read(r *codec.Reader) {
	m.Name = readName(r)
	m.ID = r.Array16()
	m.Slot = readSlot(r)
	m.Group = readGroup(r)
	m.Owner = readToken(r, "owner")
	m.Policy = Policy(r.U32())
	m.Ready, m.Leased, m.Parked = r.Uvarint(), r.Uvarint(), r.Uvarint()
	m.Dead, m.Bytes = r.Uvarint(), r.Uvarint()
	m.CreatedMillis, m.OldestMillis = int64(r.U64()), int64(r.U64())
	m.NextSeq = r.Uvarint()
	m.RecordVersion = r.Uvarint()
	m.LeaseMillis = readU32(r, "lease_millis", 0, math.MaxUint32)
	m.TTLMillis = r.Uvarint()
	m.Waiting = readList(r, m.Waiting, EpochCounts, 5, func(r *codec.Reader, w *EpochCount) {
		w.Epoch = r.U32()
		w.Messages = r.Uvarint()
	})
	m.Options = readOptions(r, m.Options)
}

// Decode reads a payload.
func (m *MailboxInfo) Decode(payload []byte) error {
	r := codec.NewReader(payload)
	m.read(&r)
	return finish(&r, TypeMailboxInfo)
}

// MailboxList asks for a page of mailboxes in the order of their names.
type MailboxList struct {
	Prefix  string
	After   string // names after this one
	Limit   uint32
	Group   uint16 // 0 means every group, merged
	Options Options
}

// Type returns TypeMailboxList.
func (m *MailboxList) Type() Type { return TypeMailboxList }

// Append appends the payload.
func (m *MailboxList) Append(dst []byte) []byte {
	dst = appendString(dst, m.Prefix)
	dst = appendString(dst, m.After)
	dst = codec.AppendUvarint(dst, uint64(m.Limit))
	dst = codec.AppendU16(dst, m.Group)
	return appendOptions(dst, m.Options)
}

// Decode reads a payload.
func (m *MailboxList) Decode(payload []byte) error {
	r := codec.NewReader(payload)
	m.Prefix = readString(&r, "prefix", NameBytes, checkPrefix)
	m.After = readString(&r, "after", NameBytes, checkPrefix)
	m.Limit = readU32(&r, "limit", 1, PageItems)
	m.Group = readGroup(&r)
	m.Options = readOptions(&r, m.Options)
	return finish(&r, TypeMailboxList)
}

// MailboxListReply is a page of mailboxes.
type MailboxListReply struct {
	Items   []MailboxInfo
	Next    string // After of the next page, empty if this is the last
	Options Options
}

// Type returns TypeMailboxListReply.
func (m *MailboxListReply) Type() Type { return TypeMailboxListReply }

// Append appends the payload.
func (m *MailboxListReply) Append(dst []byte) []byte {
	dst = codec.AppendUvarint(dst, uint64(len(m.Items)))
	for i := range m.Items {
		dst = m.Items[i].Append(dst)
	}
	dst = appendString(dst, m.Next)
	return appendOptions(dst, m.Options)
}

// Decode reads a payload.
func (m *MailboxListReply) Decode(payload []byte) error {
	r := codec.NewReader(payload)
	m.Items = readList(&r, m.Items, PageItems, mailboxInfoLeast, func(r *codec.Reader, i *MailboxInfo) { i.read(r) })
	m.Next = readString(&r, "next", NameBytes, checkPrefix)
	m.Options = readOptions(&r, m.Options)
	return finish(&r, TypeMailboxListReply)
}

// MailboxDelete deletes a mailbox and what is in it, if its id is still this one. Done answers it.
type MailboxDelete struct {
	Name    string
	ID      [16]byte
	Options Options
}

// Type returns TypeMailboxDelete.
func (m *MailboxDelete) Type() Type { return TypeMailboxDelete }

// Append appends the payload.
func (m *MailboxDelete) Append(dst []byte) []byte {
	dst = appendString(dst, m.Name)
	dst = append(dst, m.ID[:]...)
	return appendOptions(dst, m.Options)
}

// Decode reads a payload.
func (m *MailboxDelete) Decode(payload []byte) error {
	r := codec.NewReader(payload)
	m.Name = readName(&r)
	m.ID = r.Array16()
	m.Options = readOptions(&r, m.Options)
	return finish(&r, TypeMailboxDelete)
}
