package wire

import (
	"iter"
	"math"

	"github.com/sealmq/sealmq/internal/codec"
)

// SeqRange is Count successive sequence numbers.
type SeqRange struct {
	First uint64
	Count uint32
}

// AddSeq returns ranges with seq added. Call it in ascending order: ranges of a message ascend and do not touch.
func AddSeq(ranges []SeqRange, seq uint64) []SeqRange {
	if n := len(ranges); n > 0 && ranges[n-1].First+uint64(ranges[n-1].Count) == seq {
		ranges[n-1].Count++
		return ranges
	}
	return append(ranges, SeqRange{seq, 1})
}

// appendRanges appends ascending ranges that do not touch: the first number as the distance to the lowest one that it
// could be, and the count less one.
func appendRanges(dst []byte, ranges []SeqRange) []byte {
	dst = codec.AppendUvarint(dst, uint64(len(ranges)))
	lowest := uint64(1)
	for i := range ranges {
		dst = codec.AppendUvarint(dst, ranges[i].First-lowest)
		dst = codec.AppendUvarint(dst, uint64(ranges[i].Count)-1)
		lowest = ranges[i].First + uint64(ranges[i].Count) + 1
	}
	return dst
}

func readRanges(r *codec.Reader, reuse []SeqRange) []SeqRange {
	reuse = resize(reuse, r.Count(BatchItems, 2))
	if len(reuse) == 0 {
		r.Fail(&FieldError{"seqs", ErrRange})
	}
	lowest, left := uint64(1), uint64(BatchItems)
	for i := range reuse {
		distance, more := r.Uvarint(), r.Uvarint()
		if r.Err() != nil {
			break
		}
		if more >= left {
			r.Fail(codec.ErrLimit)
			break
		}
		left -= more + 1
		// lowest is 0 when nothing can follow the range before.
		if lowest == 0 || distance > math.MaxUint64-lowest || more > math.MaxUint64-lowest-distance {
			r.Fail(&FieldError{"seqs", ErrRange})
			break
		}
		reuse[i] = SeqRange{lowest + distance, uint32(more) + 1}
		if end := lowest + distance + more; end >= math.MaxUint64-1 {
			lowest = 0
		} else {
			lowest = end + 2
		}
	}
	return reuse
}

// Ack says that messages of one lease are done with.
type Ack struct {
	Mailbox MailboxRef
	Lease   [8]byte
	Seqs    []SeqRange
	Options Options
}

// Type returns TypeAck.
func (m *Ack) Type() Type { return TypeAck }

// Append appends the payload.
func (m *Ack) Append(dst []byte) []byte {
	dst = appendMailbox(dst, &m.Mailbox)
	dst = append(dst, m.Lease[:]...)
	dst = appendRanges(dst, m.Seqs)
	return appendOptions(dst, m.Options)
}

// Decode reads a payload.
func (m *Ack) Decode(payload []byte) error {
	r := codec.NewReader(payload)
	m.Mailbox = readMailbox(&r)
	m.Lease = readArray8(&r)
	m.Seqs = readRanges(&r, m.Seqs)
	m.Options = readOptions(&r, m.Options)
	return finish(&r, TypeAck)
}

// Nack gives messages of one lease back.
type Nack struct {
	Mailbox     MailboxRef
	Lease       [8]byte
	Seqs        []SeqRange
	Code        NackCode
	AppCode     uint32 // the application's own, with NackReject
	DelayMillis uint32 // with NackRetryAfter and NackReject
	Detail      []byte // sealed by the client
	Options     Options
}

// Type returns TypeNack.
func (m *Nack) Type() Type { return TypeNack }

// Append appends the payload.
func (m *Nack) Append(dst []byte) []byte {
	dst = appendMailbox(dst, &m.Mailbox)
	dst = append(dst, m.Lease[:]...)
	dst = appendRanges(dst, m.Seqs)
	dst = append(dst, byte(m.Code))
	dst = codec.AppendUvarint(dst, uint64(m.AppCode))
	dst = codec.AppendUvarint(dst, uint64(m.DelayMillis))
	dst = codec.AppendBytes(dst, m.Detail)
	return appendOptions(dst, m.Options)
}

// Decode reads a payload.
func (m *Nack) Decode(payload []byte) error {
	r := codec.NewReader(payload)
	m.Mailbox = readMailbox(&r)
	m.Lease = readArray8(&r)
	m.Seqs = readRanges(&r, m.Seqs)
	if m.Code = NackCode(r.U8()); r.Err() == nil && !m.Code.valid() {
		r.Fail(&FieldError{"code", ErrRange})
	}
	m.AppCode = readU32(&r, "app_code", 0, math.MaxUint32)
	m.DelayMillis = readU32(&r, "delay_millis", 0, NackDelayMillis)
	m.Detail = r.Bytes(NackDetailBytes)
	m.Options = readOptions(&r, m.Options)
	return finish(&r, TypeNack)
}

// Extend asks for more time, counted from when it is granted.
type Extend struct {
	Mailbox     MailboxRef
	Lease       [8]byte
	Seqs        []SeqRange
	LeaseMillis uint32 // 0 means the mailbox's own
	Options     Options
}

// Type returns TypeExtend.
func (m *Extend) Type() Type { return TypeExtend }

// Append appends the payload.
func (m *Extend) Append(dst []byte) []byte {
	dst = appendMailbox(dst, &m.Mailbox)
	dst = append(dst, m.Lease[:]...)
	dst = appendRanges(dst, m.Seqs)
	dst = codec.AppendUvarint(dst, uint64(m.LeaseMillis))
	return appendOptions(dst, m.Options)
}

// Decode reads a payload.
func (m *Extend) Decode(payload []byte) error {
	r := codec.NewReader(payload)
	m.Mailbox = readMailbox(&r)
	m.Lease = readArray8(&r)
	m.Seqs = readRanges(&r, m.Seqs)
	m.LeaseMillis = readLeaseMillis(&r)
	m.Options = readOptions(&r, m.Options)
	return finish(&r, TypeExtend)
}

// LeaseReply answers an ack, nack or extend, with a result for each sequence number in the order of its ranges.
type LeaseReply struct {
	Runs        []LeaseRun
	LeaseMillis uint32 // what is left of the lease after an extend
	Options     Options
}

// LeaseRun is the result of Count successive sequence numbers of the request.
type LeaseRun struct {
	Count uint32
	Code  Code
}

// Add appends the results of the next count sequence numbers.
func (m *LeaseReply) Add(code Code, count uint32) {
	if n := len(m.Runs); n > 0 && m.Runs[n-1].Code == code {
		m.Runs[n-1].Count += count
		return
	}
	m.Runs = append(m.Runs, LeaseRun{count, code})
}

// Results yields the result of each sequence number with its place in the request.
func (m *LeaseReply) Results() iter.Seq2[int, Code] {
	return func(yield func(int, Code) bool) {
		i := 0
		for _, run := range m.Runs {
			for range run.Count {
				if !yield(i, run.Code) {
					return
				}
				i++
			}
		}
	}
}

// Type returns TypeLeaseReply.
func (m *LeaseReply) Type() Type { return TypeLeaseReply }

// Append appends the payload.
func (m *LeaseReply) Append(dst []byte) []byte {
	dst = codec.AppendUvarint(dst, uint64(len(m.Runs)))
	for i := range m.Runs {
		dst = codec.AppendUvarint(dst, uint64(m.Runs[i].Count))
		dst = codec.AppendU16(dst, uint16(m.Runs[i].Code))
	}
	dst = codec.AppendUvarint(dst, uint64(m.LeaseMillis))
	return appendOptions(dst, m.Options)
}

// Decode reads a payload.
func (m *LeaseReply) Decode(payload []byte) error {
	r := codec.NewReader(payload)
	m.Runs = resize(m.Runs, r.Count(BatchItems, 3))
	left := uint32(BatchItems)
	for i := range m.Runs {
		m.Runs[i] = LeaseRun{readU32(&r, "count", 1, left), Code(r.U16())}
		if r.Err() != nil {
			break
		}
		left -= m.Runs[i].Count
	}
	m.LeaseMillis = readU32(&r, "lease_millis", 0, LeaseMaxMillis)
	m.Options = readOptions(&r, m.Options)
	return finish(&r, TypeLeaseReply)
}
