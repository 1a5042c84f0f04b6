package storage

import (
	"encoding/binary"
	"errors"
)

// Hold is a run of messages of one mailbox that come free at a time: leased, or delayed.
type Hold struct {
	Mailbox  uint64 // number
	First    uint64
	Count    uint32
	AtMillis int64
	Leased   bool
	Lease    [8]byte // and the rest only if leased
	Receiver [16]byte
}

// Holds calls fn with every hold of the group. A new leader fills its heap of deadlines from it.
func (r Reader) Holds(fn func(Hold) error) error {
	table := r.key(nil, tableState)
	err := r.scan(table, after(table), func(k, row []byte) error {
		var s MailboxState
		if err := s.decode(row); err != nil {
			return err
		}
		return holdsOf(binary.BigEndian.Uint64(k[3:]), s.Head/PageSeqs, &s.Page, fn)
	})
	if err != nil {
		return err
	}
	table = r.key(nil, tablePage)
	var p Page
	return r.scan(table, after(table), func(k, row []byte) error {
		if err := p.decode(row); err != nil {
			return err
		}
		return holdsOf(binary.BigEndian.Uint64(k[3:]), binary.BigEndian.Uint64(k[11:]), &p, fn)
	})
}

// HoldsOf calls fn with every hold of one mailbox.
func (r Reader) HoldsOf(number uint64, fn func(Hold) error) error {
	s, err := r.MailboxState(number)
	if err != nil || s.Leased+s.Delayed == 0 {
		return err
	}
	return r.Pages(number, &s, func(page uint64, p *Page) error { return holdsOf(number, page, p, fn) })
}

func holdsOf(number, page uint64, p *Page, fn func(Hold) error) error {
	for _, s := range p.Spans {
		h := Hold{Mailbox: number, First: page*PageSeqs + uint64(s.First), Count: uint32(s.Last-s.First) + 1}
		switch s.State {
		case SpanLeased:
			l := &p.Leases[s.Ref]
			h.AtMillis, h.Leased, h.Lease, h.Receiver = l.DeadlineMillis, true, l.ID, l.Receiver
		case SpanDelayed:
			h.AtMillis = s.Due
		default:
			continue
		}
		if err := fn(h); err != nil {
			return err
		}
	}
	return nil
}

// Message is where a message's body record is and what was counted about it.
type Message struct {
	Seq uint64
	Address
	Attempts, Failures uint32
}

// Leased is messages that a receiver holds under one lease until one deadline.
type Leased struct {
	Lease          [8]byte
	Attempt        [16]byte
	DeadlineMillis int64
	Messages       []Message
}

// Leased returns what a receiver of a principal holds of a mailbox, in the order of sequence numbers: what to deliver
// again when it comes back. Use it on a snapshot.
func (r Reader) Leased(number uint64, receiver [16]byte, principal string) ([]Leased, error) {
	s, err := r.MailboxState(number)
	if err != nil || s.Leased == 0 {
		return nil, err
	}
	who := Hash16(principal)
	var out []Leased
	err = r.Pages(number, &s, func(page uint64, p *Page) error {
		for _, span := range p.Spans {
			if span.State != SpanLeased {
				continue
			}
			l := &p.Leases[span.Ref]
			if l.Receiver != receiver || l.Principal != who {
				continue
			}
			messages, err := r.messages(number, &s, page, span)
			if err != nil {
				return err
			}
			out = join(out, Leased{l.ID, l.Attempt, l.DeadlineMillis, messages})
		}
		return nil
	})
	return out, err
}

// join adds messages to the lease before them if it is the same one.
func join(out []Leased, l Leased) []Leased {
	if n := len(out); n > 0 && out[n-1].Lease == l.Lease && out[n-1].DeadlineMillis == l.DeadlineMillis {
		out[n-1].Messages = append(out[n-1].Messages, l.Messages...)
		return out
	}
	return append(out, l)
}

func (r Reader) messages(number uint64, s *MailboxState, page uint64, span Span) ([]Message, error) {
	out := make([]Message, 0, int(span.Last-span.First)+1)
	last := page*PageSeqs + uint64(span.Last)
	for seq := page*PageSeqs + uint64(span.First); seq <= last; {
		addresses, err := r.addressesFrom(number, s, seq)
		if errors.Is(err, ErrNotFound) {
			return nil, damaged("address of a leased message", err)
		}
		if err != nil {
			return nil, err
		}
		for i := 0; seq <= last && i < len(addresses); i++ {
			out = append(out, Message{
				Seq: seq, Address: addresses[i], Attempts: span.Attempts, Failures: span.Failures,
			})
			seq++
		}
	}
	return out, nil
}
