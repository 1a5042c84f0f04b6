package storage

import "github.com/sealmq/sealmq/internal/codec"

// PageSeqs is how many sequence numbers share a page of delivery states. No row of addresses crosses from one page to
// the next.
const PageSeqs = 256

// Address is where a message's body record is, and what it was stored with. It has no pointers, so addresses in memory
// cost the garbage collector nothing to look at.
type Address struct {
	Index, Term     uint64 // of the entry
	StoredMillis    int64
	Offset, Length  uint32 // of the body record in the entry
	Epoch           uint32
	NotAfterMinutes uint32
	Digest          [16]byte
}

const (
	addressEntry    = 1 << 0 // another entry than that of the message before
	addressEpoch    = 1 << 1 // another epoch
	addressNotAfter = 1 << 2 // another not-after
	addressFlags    = addressEntry | addressEpoch | addressNotAfter
)

// leastAddress is the size of the smallest address.
const leastAddress = 1 + 1 + 1 + 16

// appendAddresses appends the addresses of messages with consecutive sequence numbers. Messages that follow each other
// were stored by entries that follow each other, so index, term and time never go back.
func appendAddresses(dst []byte, addresses []Address) []byte {
	dst = codec.AppendUvarint(dst, uint64(len(addresses)))
	var last Address
	for i := range addresses {
		a := &addresses[i]
		flags := len(dst)
		dst = append(dst, 0)
		if a.Index != last.Index {
			dst[flags] |= addressEntry
			dst = codec.AppendUvarint(dst, a.Index-last.Index)
			dst = codec.AppendUvarint(dst, a.Term-last.Term)
			dst = codec.AppendUvarint(dst, uint64(a.StoredMillis-last.StoredMillis))
			last.Offset, last.Length = 0, 0
		}
		if a.Epoch != last.Epoch {
			dst[flags] |= addressEpoch
			dst = codec.AppendU32(dst, a.Epoch)
		}
		if a.NotAfterMinutes != last.NotAfterMinutes {
			dst[flags] |= addressNotAfter
			dst = codec.AppendU32(dst, a.NotAfterMinutes)
		}
		// Records follow each other in the entry, so what lies between two of them is small.
		dst = codec.AppendUvarint(dst, uint64(a.Offset-(last.Offset+last.Length)))
		dst = codec.AppendUvarint(dst, uint64(a.Length))
		dst = append(dst, a.Digest[:]...)
		last = *a
	}
	return dst
}

// readAddresses reads what appendAddresses wrote, at most limit of them.
func readAddresses(r *codec.Reader, limit int) []Address {
	n := r.Count(limit, leastAddress)
	if n == 0 {
		return nil
	}
	out := make([]Address, n)
	var last Address
	for i := range out {
		a := &out[i]
		*a = Address{
			Index: last.Index, Term: last.Term, StoredMillis: last.StoredMillis, Epoch: last.Epoch,
			NotAfterMinutes: last.NotAfterMinutes,
		}
		flags := r.U8()
		end := last.Offset + last.Length
		if flags&addressEntry != 0 {
			a.Index += r.Uvarint()
			a.Term += r.Uvarint()
			a.StoredMillis += int64(r.Uvarint())
			end = 0
		}
		if flags&addressEpoch != 0 {
			a.Epoch = r.U32()
		}
		if flags&addressNotAfter != 0 {
			a.NotAfterMinutes = r.U32()
		}
		if flags&^addressFlags != 0 || (flags&addressEntry != 0) != (a.Index > last.Index) ||
			a.Term < last.Term || a.StoredMillis < last.StoredMillis ||
			(flags&addressEpoch != 0) != (a.Epoch != last.Epoch) ||
			(flags&addressNotAfter != 0) != (a.NotAfterMinutes != last.NotAfterMinutes) {
			r.Fail(errValue)
		}
		a.Offset = end + uint32(r.Length(1<<32-1))
		a.Length = uint32(r.Length(1<<32 - 1))
		copy(a.Digest[:], r.Take(16))
		last = *a
	}
	return out
}

// addressRow is the row of the addresses of up to a page of messages, all in one page. Its key has the first's number.
type addressRow []Address

func (row addressRow) append(dst []byte) []byte {
	return appendAddresses(append(dst, addressVersion), row)
}

func (row *addressRow) decode(bytes []byte) error {
	r := codec.NewReader(bytes)
	versionIs(&r, addressVersion)
	if *row = readAddresses(&r, PageSeqs); len(*row) == 0 {
		r.Fail(errValue)
	}
	return damaged("addresses", r.Done())
}
