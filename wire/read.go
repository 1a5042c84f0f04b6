package wire

import (
	"slices"

	"github.com/sealmq/sealmq/internal/codec"
)

// MailboxRef names a mailbox to the node that leads it: the slot routes, the id tells a mailbox from an earlier one of
// the same name.
type MailboxRef struct {
	Slot uint16
	ID   [16]byte
}

// mailboxBytes is the length of a MailboxRef.
const mailboxBytes = 2 + 16

func appendMailbox(dst []byte, m *MailboxRef) []byte {
	dst = codec.AppendU16(dst, m.Slot)
	return append(dst, m.ID[:]...)
}

func readMailbox(r *codec.Reader) (m MailboxRef) {
	m.Slot = readSlot(r)
	m.ID = r.Array16()
	return m
}

func readSlot(r *codec.Reader) uint16 {
	slot := r.U16()
	if slot >= Slots {
		r.Fail(&FieldError{"slot", ErrRange})
	}
	return slot
}

// finish ends the decoding of a message of type t.
func finish(r *codec.Reader, t Type) error {
	if err := r.Done(); err != nil {
		return &DecodeError{t, err}
	}
	return nil
}

// readNumber reads a varint from low to high.
func readNumber(r *codec.Reader, field string, low, high uint64) uint64 {
	v := r.Uvarint()
	if r.Err() == nil && (v < low || v > high) {
		r.Fail(&FieldError{field, ErrRange})
		return low
	}
	return v
}

// readU32 reads a varint from low to high, both below 2^32.
func readU32(r *codec.Reader, field string, low, high uint32) uint32 {
	return uint32(readNumber(r, field, uint64(low), uint64(high)))
}

// readFlags reads a byte in which only the bits of known may be set.
func readFlags(r *codec.Reader, known uint8) uint8 {
	flags := r.U8()
	if flags&^known != 0 {
		r.Fail(&FieldError{"flags", ErrFlags})
	}
	return flags
}

// readLeaseMillis reads how long a lease is asked for; 0 means the mailbox's own time.
func readLeaseMillis(r *codec.Reader) uint32 {
	v := readU32(r, "lease_millis", 0, LeaseMaxMillis)
	if v != 0 && v < LeaseMinMillis {
		r.Fail(&FieldError{"lease_millis", ErrRange})
	}
	return v
}

// readEpochs reads the range of key epochs that a receiver holds.
func readEpochs(r *codec.Reader) (low, high uint32) {
	low, high = r.U32(), r.U32()
	if r.Err() == nil && low > high {
		r.Fail(&FieldError{"epoch_low", ErrRange})
	}
	return low, high
}

// readString reads a varint length and that many bytes, and checks them.
func readString(r *codec.Reader, field string, limit int, check func(string) error) string {
	s := string(r.Bytes(limit))
	if r.Err() == nil {
		if err := check(s); err != nil {
			r.Fail(&FieldError{field, err})
		}
	}
	return s
}

func readName(r *codec.Reader) string { return readString(r, "name", NameBytes, CheckName) }

func readText(r *codec.Reader, field string) string {
	return readString(r, field, TextBytes, checkText)
}

func readNode(r *codec.Reader) string { return readString(r, "node", NodeBytes, checkToken) }

func readAddress(r *codec.Reader) string { return readString(r, "address", NameBytes, checkToken) }

// readToken reads a principal, a subject or its pattern, which may be empty.
func readToken(r *codec.Reader, field string) string {
	return readString(r, field, NameBytes, checkToken)
}

func readArray8(r *codec.Reader) (v [8]byte) {
	copy(v[:], r.Take(8))
	return v
}

func appendString(dst []byte, s string) []byte {
	return append(codec.AppendUvarint(dst, uint64(len(s))), s...)
}

// readList reads a count and that many items, each of which takes at least least bytes, into reuse. read must set
// every field of the item.
func readList[T any](r *codec.Reader, reuse []T, limit, least int, read func(*codec.Reader, *T)) []T {
	reuse = resize(reuse, r.Count(limit, least))
	for i := range reuse {
		read(r, &reuse[i])
		if r.Err() != nil {
			break
		}
	}
	return reuse
}

// resize returns a list of n items that holds on to what reuse has: its array, and the slices of its old items.
func resize[T any](reuse []T, n int) []T {
	if n <= cap(reuse) {
		return reuse[:n]
	}
	return slices.Grow(reuse[:cap(reuse)], n-cap(reuse))[:n]
}

// zigzag maps differences of either sign to small numbers: 0, -1, 1, -2 to 0, 1, 2, 3. Both arguments wrap around, so
// every pair of values has exactly one difference.
func zigzag(v, from uint64) uint64 {
	d := int64(v - from)
	return uint64(d<<1) ^ uint64(d>>63)
}

func unzigzag(z, from uint64) uint64 { return from + (z>>1 ^ -(z & 1)) }
