package machine

import (
	"sync"
	"sync/atomic"

	"github.com/sealmq/sealmq/storage"
)

// maxLookups bounds how many mailboxes Lookup remembers. It starts over when full.
const maxLookups = 1 << 16

// lookup remembers the rows of mailboxes for the many goroutines that ask what a mailbox is called and whose it is.
type lookup struct {
	mu   sync.RWMutex
	rows map[[16]byte]*storage.Mailbox
	// changes counts what forget was told, so that a row read before a change is not remembered after it.
	changes atomic.Uint64
}

func newLookup() lookup { return lookup{rows: map[[16]byte]*storage.Mailbox{}} }

// Lookup returns a mailbox by its id, or [storage.ErrNotFound]. The result is shared and must not be changed.
func (m *Mail) Lookup(id [16]byte) (*storage.Mailbox, error) {
	l := &m.lookup
	l.mu.RLock()
	row, changes := l.rows[id], l.changes.Load()
	l.mu.RUnlock()
	if row != nil {
		return row, nil
	}
	read, err := m.reader.MailboxByID(id)
	if err != nil {
		return nil, err
	}
	l.mu.Lock()
	if l.changes.Load() == changes {
		if len(l.rows) >= maxLookups {
			clear(l.rows)
		}
		l.rows[id] = &read
	}
	l.mu.Unlock()
	return &read, nil
}

// LookupVersion changes whenever Lookup might answer otherwise than before about any mailbox that there was.
func (m *Mail) LookupVersion() uint64 { return m.lookup.changes.Load() }

// forget is told, after a run was committed, which rows it replaced or deleted.
func (l *lookup) forget(ids [][16]byte) {
	if len(ids) == 0 {
		return
	}
	l.mu.Lock()
	l.changes.Add(1)
	for _, id := range ids {
		delete(l.rows, id)
	}
	l.mu.Unlock()
}
