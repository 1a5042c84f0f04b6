package wire

import (
	"iter"
	"math"

	"github.com/sealmq/sealmq/internal/codec"
)

// SendReply answers a send, with a result for each item in the items' order.
type SendReply struct {
	Runs             []SendRun
	RetryAfterMillis uint32 // for the items whose code is retryable
	TimeMinutes      uint32 // the node's clock in unix minutes, with CodeClockSkew
	Options          Options
}

// SendRun is the result of Count successive items. Sequence numbers go up by one within a run.
type SendRun struct {
	Count     uint32
	Code      Code
	Duplicate bool   // the first answer to this id, given before
	Seq       uint64 // of the run's first item; 0 if the sender may not know
}

// SendResult is the result of one item.
type SendResult struct {
	Code      Code
	Duplicate bool
	Seq       uint64
}

const (
	runDuplicate = 1 << 0
	runSeq       = 1 << 1
	runCode      = 1 << 2

	replyRetry = 1 << 0
	replyTime  = 1 << 1
)

// Add appends the result of the next item.
func (m *SendReply) Add(result SendResult) {
	if n := len(m.Runs); n > 0 {
		run := &m.Runs[n-1]
		seq := run.Seq
		if seq != 0 {
			seq += uint64(run.Count)
		}
		if run.Code == result.Code && run.Duplicate == result.Duplicate && seq == result.Seq {
			run.Count++
			return
		}
	}
	m.Runs = append(m.Runs, SendRun{1, result.Code, result.Duplicate, result.Seq})
}

// Results yields the result of each item with its place in the send.
func (m *SendReply) Results() iter.Seq2[int, SendResult] {
	return func(yield func(int, SendResult) bool) {
		i := 0
		for _, run := range m.Runs {
			result := SendResult{run.Code, run.Duplicate, run.Seq}
			for range run.Count {
				if !yield(i, result) {
					return
				}
				i++
				if result.Seq != 0 {
					result.Seq++
				}
			}
		}
	}
}

// Type returns TypeSendReply.
func (m *SendReply) Type() Type { return TypeSendReply }

// Append appends the payload.
func (m *SendReply) Append(dst []byte) []byte {
	dst = codec.AppendUvarint(dst, uint64(len(m.Runs)))
	for i := range m.Runs {
		dst = m.Runs[i].append(dst)
	}
	flags := byte(0)
	if m.RetryAfterMillis != 0 {
		flags |= replyRetry
	}
	if m.TimeMinutes != 0 {
		flags |= replyTime
	}
	dst = append(dst, flags)
	if m.RetryAfterMillis != 0 {
		dst = codec.AppendU32(dst, m.RetryAfterMillis)
	}
	if m.TimeMinutes != 0 {
		dst = codec.AppendU32(dst, m.TimeMinutes)
	}
	return appendOptions(dst, m.Options)
}

func (run *SendRun) append(dst []byte) []byte {
	flags := byte(0)
	if run.Duplicate {
		flags |= runDuplicate
	}
	if run.Seq != 0 {
		flags |= runSeq
	}
	if run.Code != CodeOK {
		flags |= runCode
	}
	dst = codec.AppendUvarint(append(dst, flags), uint64(run.Count))
	if run.Code != CodeOK {
		dst = codec.AppendU16(dst, uint16(run.Code))
	}
	if run.Seq != 0 {
		dst = codec.AppendUvarint(dst, run.Seq)
	}
	return dst
}

// Decode reads a payload.
func (m *SendReply) Decode(payload []byte) error {
	r := codec.NewReader(payload)
	m.Runs = resize(m.Runs, r.Count(BatchItems, 2))
	total := uint32(0)
	for i := range m.Runs {
		m.Runs[i].read(&r, BatchItems-total)
		total += m.Runs[i].Count
		if r.Err() != nil {
			break
		}
	}
	flags := readFlags(&r, replyRetry|replyTime)
	m.RetryAfterMillis = readPresentU32(&r, "retry_after_millis", flags&replyRetry != 0)
	m.TimeMinutes = readPresentU32(&r, "time_minutes", flags&replyTime != 0)
	m.Options = readOptions(&r, m.Options)
	return finish(&r, TypeSendReply)
}

func (run *SendRun) read(r *codec.Reader, left uint32) {
	flags := readFlags(r, runDuplicate|runSeq|runCode)
	run.Count = readU32(r, "count", 1, left)
	run.Duplicate = flags&runDuplicate != 0
	run.Code, run.Seq = CodeOK, 0
	if flags&runCode != 0 {
		if run.Code = Code(r.U16()); run.Code == CodeOK {
			r.Fail(&FieldError{"code", ErrForm})
		}
	}
	if flags&runSeq != 0 {
		run.Seq = readNumber(r, "seq", 1, math.MaxUint64-uint64(run.Count)+1)
	}
}

// readPresentU32 reads a field that is left out where it is 0.
func readPresentU32(r *codec.Reader, field string, present bool) uint32 {
	if !present {
		return 0
	}
	v := r.U32()
	if v == 0 {
		r.Fail(&FieldError{field, ErrForm})
	}
	return v
}
