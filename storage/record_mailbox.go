package storage

import (
	"errors"

	"github.com/sealmq/sealmq/internal/codec"
)

var errValue = errors.New("value is outside of what the row allows")

// Mailbox is what seldom changes about a mailbox.
type Mailbox struct {
	Number        uint64 // in its group; the key
	ID            [16]byte
	Name, Owner   string
	CreatedMillis int64
	KeyVersion    uint64 // of the current key record, 0 if there is none
	KeyHash       [32]byte
	Identity      [32]byte // the owner's identity key, as the current key record names it
}

func (m *Mailbox) append(dst []byte) []byte {
	dst = append(dst, rowVersion)
	dst = append(dst, m.ID[:]...)
	dst = codec.AppendBytes8(dst, []byte(m.Name))
	dst = codec.AppendBytes8(dst, []byte(m.Owner))
	dst = codec.AppendUvarint(dst, uint64(m.CreatedMillis))
	dst = codec.AppendUvarint(dst, m.KeyVersion)
	if m.KeyVersion > 0 {
		dst = append(dst, m.KeyHash[:]...)
		dst = append(dst, m.Identity[:]...)
	}
	return dst
}

func (m *Mailbox) decode(row []byte) error {
	r := codec.NewReader(row)
	version(&r)
	*m = Mailbox{Number: m.Number, ID: r.Array16(), Name: string(r.Bytes8()), Owner: string(r.Bytes8())}
	m.CreatedMillis, m.KeyVersion = int64(r.Uvarint()), r.Uvarint()
	if m.KeyVersion > 0 {
		m.KeyHash, m.Identity = r.Array32(), r.Array32()
	}
	return damaged("mailbox", r.Done())
}

// MailboxState is what changes with every message.
type MailboxState struct {
	// Head is the lowest sequence number that is not done with, Next the one that the next message gets. Addresses of the
	// page that Base lies in begin at Base.
	Head, Next, Base uint64
	// Messages by what they are in. Returned ones are ready and were leased before; fresh ones are not counted here.
	Leased, Delayed, Dead, Returned uint64
	Bytes                           uint64 // of the body records of all messages that are not done with
	// Bucket is the expiry bucket whose row of this mailbox is open, 0 if none; First and Last are its messages.
	Bucket                  uint32
	BucketFirst, BucketLast uint64
	// Epochs are the key epochs that messages wait for, ascending.
	Epochs []EpochState

	// What a mailbox with few messages has besides is in the same row: a message that is soon consumed is then one row
	// written over three times. Of others, these are what is most often written.

	// Producers are senders with counted ids that have no row of their own.
	Producers []InlineProducer
	// Inline are the newest messages' addresses, those that are in no row of their own. All are in one page.
	Inline []Address
	// Page is the page that Head lies in. It never has a row of its own.
	Page Page
}

// InlineProducer is a producer in the state of its mailbox.
type InlineProducer struct {
	Sender   [16]byte // hash of the principal
	Producer [8]byte
	Window   uint32 // of dedup, in which it last sent
	State    Producer
}

// EpochState counts the messages of one key epoch.
type EpochState struct {
	Epoch   uint32
	Waiting uint64 // not done with, whatever their state
	Ready   uint64 // of these, can be leased now
	Fresh   uint64 // every message of this epoch below this one was leased, or is done with
}

// Ready counts the messages that can be leased now.
func (s *MailboxState) Ready() (n uint64) {
	for i := range s.Epochs {
		n += s.Epochs[i].Ready
	}
	return n
}

// Waiting counts all messages that are not done with.
func (s *MailboxState) Waiting() (n uint64) {
	for i := range s.Epochs {
		n += s.Epochs[i].Waiting
	}
	return n
}

// InlineFirst returns the number from which on addresses are in the state itself.
func (s *MailboxState) InlineFirst() uint64 { return s.Next - uint64(len(s.Inline)) }

// NewMailboxState is the state of a mailbox that never had a message. Numbers begin at 1.
func NewMailboxState() MailboxState { return MailboxState{Head: 1, Next: 1, Base: 1} }

func (s *MailboxState) append(dst []byte) []byte {
	dst = append(dst, addressVersion)
	for _, v := range [...]uint64{
		s.Base, s.Head - s.Base, s.Next - s.Head, s.Leased, s.Delayed, s.Dead, s.Returned, s.Bytes, uint64(s.Bucket),
	} {
		dst = codec.AppendUvarint(dst, v)
	}
	if s.Bucket != 0 {
		dst = codec.AppendUvarint(dst, s.BucketFirst)
		dst = codec.AppendUvarint(dst, s.BucketLast-s.BucketFirst)
	}
	dst = codec.AppendUvarint(dst, uint64(len(s.Epochs)))
	for i := range s.Epochs {
		e := &s.Epochs[i]
		dst = codec.AppendU32(dst, e.Epoch)
		dst = codec.AppendUvarint(dst, e.Waiting)
		dst = codec.AppendUvarint(dst, e.Ready)
		dst = codec.AppendUvarint(dst, e.Fresh)
	}
	return s.appendInline(dst)
}

func (s *MailboxState) appendInline(dst []byte) []byte {
	dst = codec.AppendUvarint(dst, uint64(len(s.Producers)))
	for i := range s.Producers {
		p := &s.Producers[i]
		dst = append(dst, p.Sender[:]...)
		dst = append(dst, p.Producer[:]...)
		dst = codec.AppendUvarint(dst, uint64(p.Window))
		dst = p.State.appendFields(dst)
	}
	dst = appendAddresses(dst, s.Inline)
	return s.Page.appendFields(dst)
}

// These are only what a row may claim; the rules have lower bounds.
const (
	maxEpochs = 1 << 16
	maxInline = 1 << 16
)

func (s *MailboxState) decode(row []byte) error {
	r := codec.NewReader(row)
	versionIs(&r, addressVersion)
	epochs := s.Epochs[:0:0]
	*s = MailboxState{Base: r.Uvarint()}
	s.Head = s.Base + r.Uvarint()
	s.Next = s.Head + r.Uvarint()
	s.Leased, s.Delayed, s.Dead, s.Returned, s.Bytes = r.Uvarint(), r.Uvarint(), r.Uvarint(), r.Uvarint(), r.Uvarint()
	if s.Bucket = uint32(r.Length(1<<32 - 1)); s.Bucket != 0 {
		s.BucketFirst = r.Uvarint()
		s.BucketLast = s.BucketFirst + r.Uvarint()
	}
	if s.Base == 0 || s.Head < s.Base || s.Next < s.Head || s.BucketLast < s.BucketFirst {
		r.Fail(errValue)
	}
	for i := range r.Count(maxEpochs, 7) {
		e := EpochState{Epoch: r.U32(), Waiting: r.Uvarint(), Ready: r.Uvarint(), Fresh: r.Uvarint()}
		if i > 0 && e.Epoch <= epochs[i-1].Epoch {
			r.Fail(errValue)
		}
		epochs = append(epochs, e)
	}
	s.Epochs = epochs
	s.readInline(&r)
	return damaged("mailbox state", r.Done())
}

func (s *MailboxState) readInline(r *codec.Reader) {
	for range r.Count(maxInline, 27) {
		p := InlineProducer{Sender: r.Array16()}
		copy(p.Producer[:], r.Take(8))
		p.Window = uint32(r.Length(1<<32 - 1))
		p.State.read(r)
		s.Producers = append(s.Producers, p)
	}
	s.Inline = readAddresses(r, PageSeqs)
	if n := uint64(len(s.Inline)); n > s.Next-s.Base || n > 0 && s.InlineFirst()/PageSeqs != (s.Next-1)/PageSeqs {
		r.Fail(errValue)
	}
	s.Page.read(r)
}

// GroupState is what a mail group keeps about itself.
type GroupState struct {
	NextMailbox uint64
	// Everything below these was dropped: windows of dedup, days of sessions, buckets of expiry. In the bucket itself,
	// mailboxes below ExpiryMailbox were dealt with, perhaps itself too.
	DedupWindow, SessionDay, ExpiryBucket uint32
	ExpiryMailbox                         uint64
}

func (g *GroupState) append(dst []byte) []byte {
	dst = append(dst, rowVersion)
	dst = codec.AppendU64(dst, g.NextMailbox)
	dst = codec.AppendU32(dst, g.DedupWindow)
	dst = codec.AppendU32(dst, g.SessionDay)
	dst = codec.AppendU32(dst, g.ExpiryBucket)
	return codec.AppendU64(dst, g.ExpiryMailbox)
}

func (g *GroupState) decode(row []byte) error {
	r := codec.NewReader(row)
	version(&r)
	*g = GroupState{
		NextMailbox: r.U64(), DedupWindow: r.U32(), SessionDay: r.U32(), ExpiryBucket: r.U32(), ExpiryMailbox: r.U64(),
	}
	return damaged("group", r.Done())
}
