package storage

import "github.com/sealmq/sealmq/internal/codec"

// PageSeqs is how many sequence numbers share a page of delivery states. No run crosses from one page to the next.
const PageSeqs = 256

// Run is the addresses of messages with consecutive sequence numbers that one command stored: their body records lie in
// one entry. It is written once and deleted once.
type Run struct {
	First        uint64 // sequence number of Items[0]; the key
	Index, Term  uint64 // of the entry
	StoredMillis int64
	Items        []RunItem
}

// RunItem is one message of a run. It has no pointers, so runs in memory cost the garbage collector nothing to look at.
type RunItem struct {
	Offset, Length  uint32 // of the body record in the entry
	Epoch           uint32
	NotAfterMinutes uint32
	Digest          [16]byte
}

const (
	runEpoch    = 1 << 0 // the epoch differs from the item before
	runNotAfter = 1 << 1 // the not-after differs from the item before
)

// leastRunItem is the size of the smallest item.
const leastRunItem = 1 + 1 + 1 + 16

func (run *Run) append(dst []byte) []byte { return run.appendFields(append(dst, rowVersion)) }

func (run *Run) appendFields(dst []byte) []byte {
	dst = codec.AppendUvarint(dst, run.Index)
	dst = codec.AppendUvarint(dst, run.Term)
	dst = codec.AppendUvarint(dst, uint64(run.StoredMillis))
	dst = codec.AppendUvarint(dst, uint64(len(run.Items)))
	var last RunItem
	for i := range run.Items {
		it := &run.Items[i]
		flags := len(dst)
		dst = append(dst, 0)
		if it.Epoch != last.Epoch {
			dst[flags] |= runEpoch
			dst = codec.AppendU32(dst, it.Epoch)
		}
		if it.NotAfterMinutes != last.NotAfterMinutes {
			dst[flags] |= runNotAfter
			dst = codec.AppendU32(dst, it.NotAfterMinutes)
		}
		// Records follow each other in the entry, so what lies between two of them is small.
		dst = codec.AppendUvarint(dst, uint64(it.Offset-(last.Offset+last.Length)))
		dst = codec.AppendUvarint(dst, uint64(it.Length))
		dst = append(dst, it.Digest[:]...)
		last = *it
	}
	return dst
}

func (run *Run) decode(row []byte) error {
	r := codec.NewReader(row)
	version(&r)
	run.read(&r)
	return damaged("run", r.Done())
}

func (run *Run) read(r *codec.Reader) {
	run.Index, run.Term, run.StoredMillis = r.Uvarint(), r.Uvarint(), int64(r.Uvarint())
	n := r.Count(PageSeqs, leastRunItem)
	if n == 0 {
		r.Fail(errValue)
	}
	run.Items = run.Items[:0]
	if cap(run.Items) < n {
		run.Items = make([]RunItem, 0, n)
	}
	var last RunItem
	for range n {
		it := RunItem{Epoch: last.Epoch, NotAfterMinutes: last.NotAfterMinutes}
		flags := r.U8()
		if flags&runEpoch != 0 {
			it.Epoch = r.U32()
		}
		if flags&runNotAfter != 0 {
			it.NotAfterMinutes = r.U32()
		}
		if flags&^(runEpoch|runNotAfter) != 0 || (flags&runEpoch != 0) != (it.Epoch != last.Epoch) ||
			(flags&runNotAfter != 0) != (it.NotAfterMinutes != last.NotAfterMinutes) {
			r.Fail(errValue)
		}
		it.Offset = last.Offset + last.Length + uint32(r.Length(1<<32-1))
		it.Length = uint32(r.Length(1<<32 - 1))
		copy(it.Digest[:], r.Take(16))
		run.Items = append(run.Items, it)
		last = it
	}
}

// Expiry is the row of a bucket of ten minutes and a mailbox: the messages whose not-after lies in the bucket are among
// these. Last is 0 while the bucket is open in the mailbox's state.
type Expiry struct {
	First, Last uint64
}

func (e *Expiry) append(dst []byte) []byte {
	dst = append(dst, rowVersion)
	dst = codec.AppendUvarint(dst, e.First)
	return codec.AppendUvarint(dst, e.Last)
}

func (e *Expiry) decode(row []byte) error {
	r := codec.NewReader(row)
	version(&r)
	e.First, e.Last = r.Uvarint(), r.Uvarint()
	return damaged("expiry", r.Done())
}
