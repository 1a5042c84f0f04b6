package storage

import "github.com/sealmq/sealmq/internal/codec"

// Producer is what is remembered of the counted ids of a producer on a mailbox: nothing below Floor, and the runs of
// counters at or above it that were stored. Runs are ascending and neither touch nor overlap in both counter and
// sequence number.
type Producer struct {
	Floor uint64
	Runs  []ProducerRun
}

// ProducerRun is Count counters from Counter on that were stored with the sequence numbers from Seq on.
type ProducerRun struct {
	Counter, Count, Seq uint64
}

func (p *Producer) append(dst []byte) []byte { return p.appendFields(append(dst, rowVersion)) }

func (p *Producer) appendFields(dst []byte) []byte {
	dst = codec.AppendUvarint(dst, p.Floor)
	dst = codec.AppendUvarint(dst, uint64(len(p.Runs)))
	next := p.Floor
	for i := range p.Runs {
		r := &p.Runs[i]
		dst = codec.AppendUvarint(dst, r.Counter-next)
		dst = codec.AppendUvarint(dst, r.Count)
		dst = codec.AppendUvarint(dst, r.Seq)
		next = r.Counter + r.Count
	}
	return dst
}

// maxProducerRuns is only what a row may claim; the rules have a lower bound.
const maxProducerRuns = 1 << 20

func (p *Producer) decode(row []byte) error {
	r := codec.NewReader(row)
	version(&r)
	p.read(&r)
	return damaged("producer", r.Done())
}

func (p *Producer) read(r *codec.Reader) {
	p.Floor = r.Uvarint()
	p.Runs = p.Runs[:0]
	next := p.Floor
	for range r.Count(maxProducerRuns, 3) {
		run := ProducerRun{Counter: next + r.Uvarint(), Count: r.Uvarint(), Seq: r.Uvarint()}
		if run.Counter < next || run.Count == 0 || run.Counter+run.Count < run.Counter {
			r.Fail(errValue)
			break
		}
		next = run.Counter + run.Count
		p.Runs = append(p.Runs, run)
	}
}

// Session is a session header as the leader sealed it.
type Session struct {
	Sender          [16]byte // hash of the principal that put it
	NotAfterMinutes uint32
	Header          []byte
}

func (s *Session) append(dst []byte) []byte {
	dst = append(dst, rowVersion)
	dst = append(dst, s.Sender[:]...)
	dst = codec.AppendU32(dst, s.NotAfterMinutes)
	return append(dst, s.Header...)
}

// decode aliases row.
func (s *Session) decode(row []byte) error {
	r := codec.NewReader(row)
	version(&r)
	s.Sender, s.NotAfterMinutes, s.Header = r.Array16(), r.U32(), r.Rest()
	return damaged("session", r.Done())
}

// LiveSessions are the not-afters of the sessions that a sender put on a mailbox in one day, perhaps without those that
// had passed when the row was written.
type LiveSessions struct {
	NotAfterMinutes []uint32
}

func (l *LiveSessions) append(dst []byte) []byte {
	dst = append(dst, rowVersion)
	for _, m := range l.NotAfterMinutes {
		dst = codec.AppendU32(dst, m)
	}
	return dst
}

func (l *LiveSessions) decode(row []byte) error {
	r := codec.NewReader(row)
	version(&r)
	l.NotAfterMinutes = l.NotAfterMinutes[:0]
	for r.Len() > 0 {
		l.NotAfterMinutes = append(l.NotAfterMinutes, r.U32())
	}
	return damaged("live sessions", r.Done())
}

// Grant is a right that was given. What the patterns and the bits mean is decided in broker/machine.
type Grant struct {
	ID                         [8]byte // the key
	Subject, Resource, Grantor string
	Actions                    uint32
	CreatedMillis              int64
}

func (g *Grant) append(dst []byte) []byte {
	dst = append(dst, rowVersion)
	dst = codec.AppendBytes8(dst, []byte(g.Subject))
	dst = codec.AppendU32(dst, g.Actions)
	dst = codec.AppendBytes8(dst, []byte(g.Resource))
	dst = codec.AppendBytes8(dst, []byte(g.Grantor))
	return codec.AppendUvarint(dst, uint64(g.CreatedMillis))
}

func (g *Grant) decode(row []byte) error {
	r := codec.NewReader(row)
	version(&r)
	*g = Grant{ID: g.ID, Subject: string(r.Bytes8()), Actions: r.U32(), Resource: string(r.Bytes8()),
		Grantor: string(r.Bytes8()), CreatedMillis: int64(r.Uvarint())}
	return damaged("grant", r.Done())
}

func appendNumber(dst []byte, number uint64) []byte {
	return codec.AppendU64(append(dst, rowVersion), number)
}

func decodeNumber(row []byte) (uint64, error) {
	r := codec.NewReader(row)
	version(&r)
	number := r.U64()
	return number, damaged("mailbox number", r.Done())
}
