package machine

import (
	"crypto/sha256"

	"github.com/sealmq/sealmq/internal/codec"
)

// Send stores messages in a mailbox. Each item is answered by itself.
type Send struct {
	Principal string
	Mailbox   [16]byte
	// Producer and Lowest are for counted ids: Lowest is the lowest counter that the producer still waits for.
	Producer [8]byte
	Lowest   uint64
	// NewSessions are headers that travel with the messages that need them.
	NewSessions []SessionItem
	// Sessions are the sessions that items refer to by index, new ones as well.
	Sessions [][16]byte
	Items    []SendItem
}

// SendItem is one message. Header (the exact clear header) and Sealed (nonce, ciphertext, tag) make the body record,
// which Append writes in one piece; in a decoded item they are nil and Record is the address of that piece.
type SendItem struct {
	Keyed           bool
	Counter         uint64   // counted id
	ID, Tag         [16]byte // keyed id and its body tag
	Session         uint8    // index in Sessions
	Epoch           uint32
	NotAfterMinutes uint32
	Digest          [16]byte // RecordDigest(Header, Sealed)
	Options         []byte   // (u8 tag, u8 length, value)*, tags ascending; unknown ones with the high bit are refused
	Header, Sealed  []byte
	Record          RecordAddress
}

// RecordAddress is where a body record is in its entry.
type RecordAddress struct {
	Offset, Length uint32
}

// SchemeSealed is the first byte of a body record that a client sealed.
const SchemeSealed = 0

// RecordDigest is what the leader stamps for a body record: the first half of its SHA-256. Who reads the record back
// compares it, so that an entry replaced by another can never be delivered in its place.
func RecordDigest(header, sealed []byte) (digest [16]byte) {
	h := sha256.New()
	h.Write([]byte{SchemeSealed})
	h.Write(header)
	h.Write(sealed)
	var sum [sha256.Size]byte
	copy(digest[:], h.Sum(sum[:0]))
	return digest
}

// StoredDigest is RecordDigest of a whole body record as it is stored.
func StoredDigest(record []byte) (digest [16]byte) {
	sum := sha256.Sum256(record)
	copy(digest[:], sum[:])
	return digest
}

const (
	itemKeyed   = 1 << 0
	itemOptions = 1 << 1
)

// Append appends the command to an entry. It is the only copy of the bodies.
func (c *Send) Append(dst []byte) []byte {
	dst = codec.AppendUvarint(dst, uint64(c.size()))
	dst = begin(dst, KindSend)
	dst = appendPrincipal(dst, c.Principal)
	dst = append(dst, c.Mailbox[:]...)
	dst = append(dst, c.Producer[:]...)
	dst = codec.AppendUvarint(dst, c.Lowest)
	dst = appendSessions(dst, c.NewSessions)
	dst = append(dst, byte(len(c.Sessions)))
	for i := range c.Sessions {
		dst = append(dst, c.Sessions[i][:]...)
	}
	dst = codec.AppendUvarint(dst, uint64(len(c.Items)))
	for i := range c.Items {
		dst = c.Items[i].append(dst, c.Lowest)
	}
	return dst
}

func (c *Send) size() int {
	n := 2 + 1 + len(c.Principal) + 16 + 8 + codec.UvarintLen(c.Lowest) + sessionsSize(c.NewSessions)
	n += 1 + 16*len(c.Sessions) + codec.UvarintLen(uint64(len(c.Items)))
	for i := range c.Items {
		n += c.Items[i].size(c.Lowest)
	}
	return n
}

func (it *SendItem) append(dst []byte, lowest uint64) []byte {
	flags := byte(0)
	if it.Keyed {
		flags |= itemKeyed
	}
	if len(it.Options) > 0 {
		flags |= itemOptions
	}
	dst = append(dst, flags, it.Session)
	if it.Keyed {
		dst = append(dst, it.ID[:]...)
		dst = append(dst, it.Tag[:]...)
	} else {
		dst = codec.AppendUvarint(dst, it.Counter-lowest)
	}
	dst = codec.AppendU32(dst, it.Epoch)
	dst = codec.AppendU32(dst, it.NotAfterMinutes)
	dst = append(dst, it.Digest[:]...)
	if len(it.Options) > 0 {
		dst = codec.AppendBytes8(dst, it.Options)
	}
	dst = codec.AppendUvarint(dst, uint64(1+len(it.Header)+len(it.Sealed)))
	dst = append(dst, SchemeSealed)
	dst = append(dst, it.Header...)
	return append(dst, it.Sealed...)
}

func (it *SendItem) size(lowest uint64) int {
	n := 2 + 4 + 4 + 16
	if it.Keyed {
		n += 32
	} else {
		n += codec.UvarintLen(it.Counter - lowest)
	}
	if len(it.Options) > 0 {
		n += 1 + len(it.Options)
	}
	record := 1 + len(it.Header) + len(it.Sealed)
	return n + codec.UvarintLen(uint64(record)) + record
}

// leastItem is the size of the smallest possible item.
const leastItem = 2 + 1 + 4 + 4 + 16 + 1 + 1

// decode reads the command. The addresses of the items' records count from the start of the fields, that is, from
// where r stands; addressing moves them to the start of the entry.
func (c *Send) decode(r *codec.Reader, n names) {
	whole := r.Len()
	c.Principal, c.Mailbox, c.Producer, c.Lowest = n.read(r), r.Array16(), array8(r), r.Uvarint()
	c.NewSessions = readSessions(r, c.NewSessions)
	c.Sessions = c.Sessions[:0]
	for range int(r.U8()) {
		if r.Err() != nil {
			return
		}
		c.Sessions = append(c.Sessions, r.Array16())
	}
	count := r.Count(MaxSendItems, leastItem)
	if cap(c.Items) < count {
		c.Items = make([]SendItem, 0, max(count, 64))
	}
	c.Items = c.Items[:count]
	for i := range c.Items {
		c.Items[i].decode(r, c, whole)
	}
	if c.Principal == "" || count == 0 {
		r.Fail(errRange)
	}
	if r.Err() != nil {
		c.Items = c.Items[:0]
	}
}

func (it *SendItem) decode(r *codec.Reader, c *Send, whole int) {
	*it = SendItem{}
	flags := r.U8()
	if flags&^(itemKeyed|itemOptions) != 0 {
		r.Fail(errUnsupported)
	}
	it.Session = r.U8()
	if int(it.Session) >= len(c.Sessions) {
		r.Fail(errRange)
	}
	if it.Keyed = flags&itemKeyed != 0; it.Keyed {
		it.ID, it.Tag = r.Array16(), r.Array16()
	} else {
		// A run of counters has an end: the row that it stands in would not parse with the highest of all.
		if it.Counter = c.Lowest + r.Uvarint(); it.Counter > MaxCounter {
			r.Fail(errRange)
		}
	}
	it.Epoch, it.NotAfterMinutes, it.Digest = r.U32(), r.U32(), r.Array16()
	if flags&itemOptions != 0 {
		it.Options = r.Bytes8()
		checkOptions(r, it.Options)
	}
	length := r.Length(r.Len())
	it.Record = RecordAddress{Offset: uint32(whole - r.Len()), Length: uint32(length)}
	record := r.Take(length)
	if len(record) == 0 || record[0] != SchemeSealed {
		r.Fail(errUnsupported)
	}
}

// optionCritical marks options that must be understood.
const optionCritical = 0x80

// checkOptions refuses an options area that does not parse or that holds a critical option: none is known yet.
func checkOptions(r *codec.Reader, area []byte) {
	options := codec.NewReader(area)
	last := -1
	for options.Len() > 0 {
		tag := options.U8()
		options.Bytes8()
		if tag&optionCritical != 0 {
			options.Fail(errUnsupported)
		}
		if int(tag) <= last {
			options.Fail(errRange)
		}
		last = int(tag)
	}
	if len(area) == 0 {
		options.Fail(errRange)
	}
	if err := options.Done(); err != nil {
		r.Fail(err)
	}
}
