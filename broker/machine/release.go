package machine

import (
	"github.com/sealmq/sealmq/internal/codec"
	"github.com/sealmq/sealmq/storage"
)

// Release gives back everything that a receiver holds of a mailbox, without a failure. Principal is empty when the
// node itself does it for a receiver that went away; otherwise only that principal's leases are released.
type Release struct {
	Principal string
	Mailbox   [16]byte
	Receiver  [16]byte
}

// Append appends the command to an entry.
func (c *Release) Append(dst []byte) []byte {
	start := len(dst)
	dst = begin(dst, KindRelease)
	dst = appendPrincipal(dst, c.Principal)
	dst = append(dst, c.Mailbox[:]...)
	dst = append(dst, c.Receiver[:]...)
	return frame(dst, start)
}

func (c *Release) decode(r *codec.Reader, n names) {
	c.Principal, c.Mailbox, c.Receiver = n.read(r), r.Array16(), r.Array16()
}

func (m *Mail) release(c *Release, o *Outcome) {
	mb := m.find(c.Mailbox, o)
	if mb == nil {
		return
	}
	m.codes = m.codes[:0]
	before := counts(&mb.state)
	first, last := mb.heldBy(c.Receiver, c.Principal != "", m.hash(c.Principal))
	for number := max(first, mb.state.Head) / storage.PageSeqs; number <= last/storage.PageSeqs && m.err == nil; number++ {
		p := m.states(mb, number)
		m.pieceScratch = append(m.pieceScratch[:0], p.Spans...)
		for _, piece := range m.pieceScratch {
			if piece.State != storage.SpanLeased {
				continue
			}
			l := &p.Leases[piece.Ref]
			if l.Receiver != c.Receiver || c.Principal != "" && l.Principal != m.hash(c.Principal) {
				continue
			}
			to := storage.Span{State: storage.SpanReturned, Attempts: piece.Attempts, Failures: piece.Failures}
			m.giveBack(mb, p, piece, to)
		}
	}
	m.finish(mb, o, before)
}

// heldBy returns two numbers between which lies everything that a receiver holds; the first is the higher one if it
// holds nothing.
func (mb *mailbox) heldBy(receiver [16]byte, ofPrincipal bool, principal [16]byte) (first, last uint64) {
	first, last = storage.PageSeqs, 0
	found := false
	for _, l := range mb.leases { // in any order: bounds do not depend on it
		if l.receiver != receiver || ofPrincipal && l.principal != principal {
			continue
		}
		if !found {
			first, last, found = l.first, l.last, true
		}
		first, last = min(first, l.first), max(last, l.last)
	}
	return first, last
}
