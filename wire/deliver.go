package wire

import (
	"encoding/binary"
	"math"

	"github.com/sealmq/sealmq/internal/codec"
)

// Deliver brings a batch of messages under one lease. Without items it answers a pull that found nothing. Of an item,
// the sender's seal authenticates the header and the sealed bytes; everything else is the node's word.
type Deliver struct {
	Mailbox     MailboxRef
	Lease       [8]byte
	LeaseMillis uint32 // what is left of the lease
	Sessions    []SessionRef
	Producers   [][8]byte
	Items       []DeliverItem
	Options     Options
}

// DeliverItem is one message.
type DeliverItem struct {
	Session      uint8 // index into Deliver.Sessions
	Producer     uint8 // index into Deliver.Producers, if not Whole
	Whole        bool  // the message id stands whole: it is keyed, or the table of producers is full
	Seq          uint64
	Attempts     uint32 // deliveries, this one included
	StoredMillis int64
	Birth        [16]byte    // the mailbox id that the message was sealed for, zero if it is this mailbox's
	Header       ClearHeader // whole; its session and producer go over the wire once per batch
	Sealed       []byte      // nonce, ciphertext, tag
	Options      Options
}

const (
	deliverWhole    = 1 << 0
	deliverOptions  = 1 << 1
	deliverSession  = 1 << 2
	deliverProducer = 1 << 3
	deliverAttempts = 1 << 4
	deliverBirth    = 1 << 5
	deliverFlags    = 1<<6 - 1

	// deliverItemLeast is the fewest bytes that an item takes: flags, seq, stored, counter, header, length, nonce, tag.
	deliverItemLeast = 1 + 1 + 1 + 1 + headerStartBytes + 1 + SealedMinBytes
)

// Type returns TypeDeliver.
func (m *Deliver) Type() Type { return TypeDeliver }

// running is what the items of a delivery are written as differences to.
type running struct {
	seq     uint64                 // the number that is written as 0
	stored  uint64                 // of the item before
	counter [BatchProducers]uint64 // of each producer, the counter that is written as 0
}

// Append appends the payload. It panics if an item's session or producer is not the one of its index.
func (m *Deliver) Append(dst []byte) []byte {
	dst = appendMailbox(dst, &m.Mailbox)
	dst = append(dst, m.Lease[:]...)
	dst = codec.AppendUvarint(dst, uint64(m.LeaseMillis))
	dst = append(dst, byte(len(m.Sessions)))
	for i := range m.Sessions {
		dst = m.Sessions[i].append(dst)
	}
	dst = append(dst, byte(len(m.Producers)))
	for i := range m.Producers {
		dst = append(dst, m.Producers[i][:]...)
	}
	dst = codec.AppendUvarint(dst, uint64(len(m.Items)))
	at := running{seq: 1}
	for i := range m.Items {
		item := &m.Items[i]
		if item.Header.Session != m.Sessions[item.Session].ID {
			panic("wire: an item's session is not the one of its index")
		}
		if !item.Whole && item.Header.Producer() != m.Producers[item.Producer] {
			panic("wire: an item's producer is not the one of its index")
		}
		dst = item.append(dst, &at)
	}
	return appendOptions(dst, m.Options)
}

func (it *DeliverItem) flags() byte {
	flags := byte(0)
	if it.Whole {
		flags |= deliverWhole
	}
	if len(it.Options) != 0 {
		flags |= deliverOptions
	}
	if it.Session != 0 {
		flags |= deliverSession
	}
	if it.Producer != 0 {
		flags |= deliverProducer
	}
	if it.Attempts != 1 {
		flags |= deliverAttempts
	}
	if it.Birth != [16]byte{} {
		flags |= deliverBirth
	}
	return flags
}

func (it *DeliverItem) append(dst []byte, at *running) []byte {
	dst = append(dst, it.flags())
	if it.Session != 0 {
		dst = append(dst, it.Session)
	}
	if it.Producer != 0 {
		dst = append(dst, it.Producer)
	}
	dst = codec.AppendUvarint(dst, zigzag(it.Seq, at.seq))
	if it.Attempts != 1 {
		dst = codec.AppendUvarint(dst, uint64(it.Attempts))
	}
	dst = codec.AppendUvarint(dst, zigzag(uint64(it.StoredMillis), at.stored))
	if it.Birth != [16]byte{} {
		dst = append(dst, it.Birth[:]...)
	}
	if it.Whole {
		dst = append(dst, it.Header.ID[:]...)
	} else {
		counter := it.Header.Counter()
		dst = codec.AppendUvarint(dst, zigzag(counter, at.counter[it.Producer]))
		at.counter[it.Producer] = counter + 1
	}
	at.seq, at.stored = it.Seq+1, uint64(it.StoredMillis)
	dst = appendHeaderStart(dst, &it.Header)
	dst = appendHeaderOptions(dst, it.Header.Options)
	dst = codec.AppendBytes(dst, it.Sealed)
	if len(it.Options) != 0 {
		dst = appendOptions(dst, it.Options)
	}
	return dst
}

// Decode reads a payload. Ids of sessions are the node's word until their header was opened.
func (m *Deliver) Decode(payload []byte) error {
	r := codec.NewReader(payload)
	m.Mailbox = readMailbox(&r)
	m.Lease = readArray8(&r)
	m.LeaseMillis = readU32(&r, "lease_millis", 0, LeaseMaxMillis)
	m.readTables(&r)
	m.Items = resize(m.Items, r.Count(BatchItems, deliverItemLeast))
	at := running{seq: 1}
	for i := range m.Items {
		m.readItem(&r, &m.Items[i], &at)
		if r.Err() != nil {
			break
		}
	}
	m.Options = readOptions(&r, m.Options)
	return finish(&r, TypeDeliver)
}

func (m *Deliver) readTables(r *codec.Reader) {
	n := int(r.U8())
	if n > BatchSessions {
		r.Fail(codec.ErrLimit)
		n = 0
	}
	m.Sessions = resize(m.Sessions, n)
	for i := range m.Sessions {
		m.Sessions[i].read(r)
	}
	m.Producers = resize(m.Producers, int(r.U8()))
	for i := range m.Producers {
		m.Producers[i] = readArray8(r)
	}
}

func (m *Deliver) readItem(r *codec.Reader, it *DeliverItem, at *running) {
	flags := readFlags(r, deliverFlags)
	it.Session = readIndex(r, flags&deliverSession != 0, len(m.Sessions))
	it.Whole = flags&deliverWhole != 0
	it.Producer = 0
	if !it.Whole {
		it.Producer = readIndex(r, flags&deliverProducer != 0, len(m.Producers))
	} else if flags&deliverProducer != 0 {
		r.Fail(&FieldError{"flags", ErrForm})
	}
	it.Seq = unzigzag(r.Uvarint(), at.seq)
	if r.Err() == nil && it.Seq == 0 {
		r.Fail(&FieldError{"seq", ErrRange})
	}
	it.Attempts = 1
	if flags&deliverAttempts != 0 {
		it.Attempts = readU32(r, "attempts", 2, math.MaxUint32)
	}
	it.StoredMillis = int64(unzigzag(r.Uvarint(), at.stored))
	it.Birth = [16]byte{}
	if flags&deliverBirth != 0 {
		it.Birth = r.Array16()
		if it.Birth == [16]byte{} {
			r.Fail(&FieldError{"birth", ErrForm})
		}
	}
	m.readID(r, it, at)
	at.seq, at.stored = it.Seq+1, uint64(it.StoredMillis)
	readHeaderStart(r, &it.Header)
	readHeaderOptions(r, &it.Header)
	it.Sealed = readSealed(r)
	it.Options = readItemOptions(r, it.Options, flags&deliverOptions != 0)
	if r.Err() == nil {
		it.Header.Session = m.Sessions[it.Session].ID
	}
}

func (m *Deliver) readID(r *codec.Reader, it *DeliverItem, at *running) {
	if it.Whole {
		it.Header.ID = r.Array16()
		return
	}
	z := r.Uvarint()
	if r.Err() != nil {
		return
	}
	counter := unzigzag(z, at.counter[it.Producer])
	at.counter[it.Producer] = counter + 1
	copy(it.Header.ID[:8], m.Producers[it.Producer][:])
	binary.BigEndian.PutUint64(it.Header.ID[8:], counter)
}

// Place sets the item's indexes from its header, adding rows to the tables of m. keyed says that the header's id is
// not a producer's counter. It is false if the item has to wait for the next delivery: no session fits any more.
func (m *Deliver) Place(it *DeliverItem, keyed bool) bool {
	var i int
	if m.Sessions, i = sessionIndex(m.Sessions, it.Header.Session); i < 0 {
		return false
	}
	it.Session, it.Producer, it.Whole = uint8(i), 0, keyed
	if keyed {
		return true
	}
	producer := it.Header.Producer()
	for i := len(m.Producers) - 1; i >= 0; i-- {
		if m.Producers[i] == producer {
			it.Producer = uint8(i)
			return true
		}
	}
	if len(m.Producers) == BatchProducers {
		it.Whole = true
		return true
	}
	it.Producer = uint8(len(m.Producers))
	m.Producers = append(m.Producers, producer)
	return true
}

// SizeBound returns an upper bound of the bytes that the item takes in a frame, a row in the table of producers
// included.
func (it *DeliverItem) SizeBound() int {
	return 3 + 10 + 5 + 10 + 16 + 8 + 16 + headerBound(&it.Header) + 4 + len(it.Sealed) + optionsBound(it.Options)
}

// SizeBound returns an upper bound of the bytes that the frame takes without items and producers, length field
// included.
func (m *Deliver) SizeBound() int {
	n := FrameHeaderBytes + mailboxBytes + 8 + 5 + 1 + 1 + 4 + optionsBound(m.Options)
	for i := range m.Sessions {
		n += 16 + 4 + len(m.Sessions[i].Init)
	}
	return n
}
