package storage

import (
	"encoding/binary"
	"errors"
	"io"

	"github.com/cockroachdb/pebble/v2"
)

// Reader reads the committed rows of a group. It may be used by many goroutines. Methods that read one row are exact at
// the moment of the call; a Reader of [Stores.Snapshot] stays at one moment.
type Reader struct {
	state, keys pebble.Reader
	group       uint16
	seed        *keyedSeed
}

// Reader returns a reader of a group's rows as they are at each call.
func (s *Stores) Reader(group uint16) Reader {
	return Reader{state: s.dbs[State], keys: s.dbs[Keys], group: group, seed: s.seed}
}

// Snapshot returns a reader of a group's rows as they are now. It must be closed soon: it holds back compactions.
func (s *Stores) Snapshot(group uint16) (Reader, io.Closer) {
	state, keys := s.dbs[State].NewSnapshot(), s.dbs[Keys].NewSnapshot()
	return Reader{state: state, keys: keys, group: group, seed: s.seed}, closers{state, keys}
}

type closers []io.Closer

func (c closers) Close() error {
	var errs []error
	for _, one := range c {
		errs = append(errs, one.Close())
	}
	return errors.Join(errs...)
}

func (r Reader) key(buf []byte, table byte) key { return newKey(buf, r.group, table) }

// Group returns what the group keeps about itself.
func (r Reader) Group() (g GroupState, err error) {
	var k [maxKey]byte
	err = get(r.state, r.key(k[:], tableGroup), g.decode)
	return g, err
}

// MailboxByName finds a mailbox by its name.
func (r Reader) MailboxByName(name string) (Mailbox, error) {
	var k [maxKey]byte
	return r.mailboxAt(r.key(k[:], tableName).str(name))
}

// MailboxByID finds a mailbox by its id.
func (r Reader) MailboxByID(id [16]byte) (Mailbox, error) {
	var k [maxKey]byte
	return r.mailboxAt(r.key(k[:], tableID).bytes(id[:]))
}

func (r Reader) mailboxAt(k key) (Mailbox, error) {
	var number uint64
	err := get(r.state, k, func(row []byte) (err error) {
		number, err = decodeNumber(row)
		return err
	})
	if err != nil {
		return Mailbox{}, err
	}
	return r.Mailbox(number)
}

// Mailbox returns a mailbox by its number.
func (r Reader) Mailbox(number uint64) (Mailbox, error) {
	var k [maxKey]byte
	m := Mailbox{Number: number}
	err := get(r.state, r.key(k[:], tableMailbox).u64(number), m.decode)
	return m, err
}

// MailboxState returns the state of a mailbox. One that never had a message has no row and is new.
func (r Reader) MailboxState(number uint64) (MailboxState, error) {
	var k [maxKey]byte
	var s MailboxState
	err := get(r.state, r.key(k[:], tableState).u64(number), s.decode)
	if errors.Is(err, ErrNotFound) {
		return NewMailboxState(), nil
	}
	return s, err
}

// Page reads a page of delivery states into p.
func (r Reader) Page(number, page uint64, p *Page) error {
	var k [maxKey]byte
	return get(r.state, r.key(k[:], tablePage).u64(number).u64(page), p.decode)
}

// Pages calls fn with every page of a mailbox from the one that its head is in on, as far as something of it was
// written. s is the state of the mailbox; fn must not keep the page.
func (r Reader) Pages(number uint64, s *MailboxState, fn func(page uint64, p *Page) error) error {
	head := s.Head / PageSeqs
	if len(s.Page.Spans) > 0 {
		if err := fn(head, &s.Page); err != nil {
			return err
		}
	}
	if s.Next/PageSeqs == head {
		return nil
	}
	lower := r.key(nil, tablePage).u64(number).u64(head + 1)
	upper := r.key(nil, tablePage).u64(number + 1)
	var p Page
	return r.scan(lower, upper, func(k, row []byte) error {
		if err := p.decode(row); err != nil {
			return err
		}
		return fn(binary.BigEndian.Uint64(k[len(k)-8:]), &p)
	})
}

// Addresses reads the row of addresses that begins at first.
func (r Reader) Addresses(number, first uint64) ([]Address, error) {
	var k [maxKey]byte
	var row addressRow
	err := get(r.state, r.key(k[:], tableAddress).u64(number).u64(first), row.decode)
	return row, err
}

// Session reads the header that was put in a day. The header is the caller's.
func (r Reader) Session(day uint32, number uint64, id [16]byte) (Session, error) {
	var k [maxKey]byte
	var s Session
	err := get(r.state, dayKey(k[:], r.group, day, number, sessionHeader, id), func(row []byte) error {
		err := s.decode(row)
		s.Header = append([]byte(nil), s.Header...)
		return err
	})
	return s, err
}

// LiveSessions reads what a sender put in a day.
func (r Reader) LiveSessions(day uint32, number uint64, sender [16]byte) (LiveSessions, error) {
	var k [maxKey]byte
	var l LiveSessions
	err := get(r.state, dayKey(k[:], r.group, day, number, sessionCount, sender), l.decode)
	return l, err
}

// Producer reads the counted ids of a producer in a window into p.
func (r Reader) Producer(window uint32, number uint64, sender [16]byte, producer [8]byte, p *Producer) error {
	var k [maxKey]byte
	return get(r.state, producerKey(k[:], r.group, window, number, sender, producer), p.decode)
}

// Expiry reads the row of an expiry bucket and a mailbox.
func (r Reader) Expiry(bucket uint32, number uint64) (Expiry, error) {
	var k [maxKey]byte
	var e Expiry
	err := get(r.state, r.key(k[:], tableExpiry).u32(bucket).u64(number), e.decode)
	return e, err
}

// Expiries calls fn with the rows of the buckets before one, in order, from a mailbox of a bucket on.
func (r Reader) Expiries(bucket uint32, number uint64, before uint32, fn func(uint32, uint64, Expiry) error) error {
	lower := r.key(nil, tableExpiry).u32(bucket).u64(number)
	upper := r.key(nil, tableExpiry).u32(before)
	return r.scan(lower, upper, func(k, row []byte) error {
		var e Expiry
		if err := e.decode(row); err != nil {
			return err
		}
		return fn(binary.BigEndian.Uint32(k[3:]), binary.BigEndian.Uint64(k[7:]), e)
	})
}

// Secret reads a generation of a mailbox's secret from keys/.
func (r Reader) Secret(id [16]byte, generation uint32) (secret [32]byte, err error) {
	var k [maxKey]byte
	err = get(r.keys, r.key(k[:], tableSecret).bytes(id[:]).u32(generation), func(row []byte) error {
		if len(row) != 1+len(secret) || row[0] != rowVersion {
			return damaged("secret", errValue)
		}
		copy(secret[:], row[1:])
		return nil
	})
	return secret, err
}

// ErrStop, returned to a scan, ends it early without being an error of it.
var ErrStop = errors.New("stop")

// scan calls fn with the rows between two keys. Neither slice may be kept.
func (r Reader) scan(lower, upper []byte, fn func(k, row []byte) error) (err error) {
	iter, err := r.state.NewIter(&pebble.IterOptions{LowerBound: lower, UpperBound: upper})
	if err != nil {
		return err
	}
	defer func() { err = closeAfter(iter, err) }()
	for ok := iter.First(); ok; ok = iter.Next() {
		row, err := iter.ValueAndErr()
		if err == nil {
			err = fn(iter.Key(), row)
		}
		if errors.Is(err, ErrStop) {
			return nil
		}
		if err != nil {
			return err
		}
	}
	return iter.Error()
}
