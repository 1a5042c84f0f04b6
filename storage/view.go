package storage

import (
	"errors"

	"github.com/sealmq/sealmq/internal/codec"
)

// List returns up to limit mailboxes whose names begin with prefix and come after a name, in the order of names.
func (r Reader) List(prefix, afterName string, limit int) ([]Mailbox, error) {
	return r.listNames(r.key(nil, tableName), prefix, afterName, limit)
}

// ByOwner returns up to limit mailboxes of an owner after a name, in the order of names.
func (r Reader) ByOwner(principal, afterName string, limit int) ([]Mailbox, error) {
	owner := Hash16(principal)
	return r.listNames(r.key(nil, tableOwner).bytes(owner[:]), "", afterName, limit)
}

// ByIdentity returns up to limit mailboxes whose key record names an identity key, after a name, in the order of names.
func (r Reader) ByIdentity(identity [32]byte, afterName string, limit int) ([]Mailbox, error) {
	return r.listNames(r.key(nil, tableIdentity).bytes(identity[:]), "", afterName, limit)
}

func (r Reader) listNames(table key, prefix, afterName string, limit int) ([]Mailbox, error) {
	if limit <= 0 {
		return nil, nil
	}
	lower := table.str(prefix)
	upper := after(lower)
	if afterName >= prefix && afterName != "" {
		lower = append(newKeyCopy(table).str(afterName), 0)
	}
	var out []Mailbox
	err := r.scan(lower, upper, func(_, row []byte) error {
		number, err := decodeNumber(row)
		if err != nil {
			return err
		}
		m, err := r.Mailbox(number)
		if errors.Is(err, ErrNotFound) {
			return nil // deleted since the scan began
		}
		if err != nil {
			return err
		}
		if out = append(out, m); len(out) == limit {
			return ErrStop
		}
		return nil
	})
	return out, err
}

func newKeyCopy(k key) key { return append(key(nil), k...) }

// KeyRecord returns a version of a mailbox's key record.
func (r Reader) KeyRecord(number, recordVersion uint64) (record []byte, err error) {
	err = get(r.state, r.key(nil, tableRecord).u64(number).u64(recordVersion), func(row []byte) error {
		reader := codec.NewReader(row)
		version(&reader)
		record = append([]byte(nil), reader.Rest()...)
		return damaged("key record", reader.Done())
	})
	return record, err
}

// MailboxKey returns a generation of a mailbox's secret.
func (r Reader) MailboxKey(id [16]byte, generation uint32) ([32]byte, error) {
	return r.Secret(id, generation)
}

// Sessions calls yield with each of a mailbox's sessions that is still stored, by its place in ids. It looks through
// the days that are kept, from today by the replicated time backwards.
func (r Reader) Sessions(number uint64, ids [][16]byte, timeMillis int64, yield func(i int, s Session)) error {
	today := SessionDay(timeMillis)
	for i, id := range ids {
		for back := uint32(0); back <= SessionDays && back <= today; back++ {
			s, err := r.Session(today-back, number, id)
			if errors.Is(err, ErrNotFound) {
				continue
			}
			if err != nil {
				return err
			}
			yield(i, s)
			break
		}
	}
	return nil
}

const dayMillis = 24 * 3_600_000

// SessionDays is for how many days after the one in which it was put a session header is kept: one that it may be used
// on, and the 14 that messages may live, and one more because both may begin late on their first.
const SessionDays = 16

// SessionDay is the day that sessions put at a replicated time are kept under.
func SessionDay(timeMillis int64) uint32 { return uint32(timeMillis / dayMillis) }

// Grants returns every grant, in the order of ids.
func (r Reader) Grants() ([]Grant, error) {
	var out []Grant
	table := r.key(nil, tableGrant)
	err := r.scan(table, after(table), func(k, row []byte) error {
		var g Grant
		copy(g.ID[:], k[3:])
		if err := g.decode(row); err != nil {
			return err
		}
		out = append(out, g)
		return nil
	})
	return out, err
}

// OldestMillis returns when the oldest message of a mailbox that is not done with was stored, 0 if there is none.
func (r Reader) OldestMillis(number uint64) (int64, error) {
	s, err := r.MailboxState(number)
	if err != nil || s.Head == s.Next {
		return 0, err
	}
	addresses, err := r.addressesFrom(number, &s, s.Head)
	if err != nil {
		return 0, err
	}
	return addresses[0].StoredMillis, nil
}

// addressesFrom returns the address of a message and of those that follow it in the same row.
func (r Reader) addressesFrom(number uint64, s *MailboxState, seq uint64) ([]Address, error) {
	if first := s.InlineFirst(); seq >= first && seq < s.Next {
		return s.Inline[seq-first:], nil
	}
	for first := FirstAddress(s, seq/PageSeqs); first <= seq; {
		row, err := r.Addresses(number, first)
		if err != nil {
			return nil, err
		}
		if next := first + uint64(len(row)); next <= seq {
			first = next
			continue
		}
		return row[seq-first:], nil
	}
	return nil, ErrNotFound
}

// FirstAddress returns the number that the first row of addresses of a page begins at. Each row ends where the next
// begins.
func FirstAddress(s *MailboxState, page uint64) uint64 { return max(page*PageSeqs, s.Base) }
