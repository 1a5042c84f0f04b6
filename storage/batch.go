package storage

import (
	"fmt"

	"github.com/cockroachdb/pebble/v2"
)

// Batch collects what a run of a group's entries changes, for both stores that replicated rows live in. It is used by
// one goroutine and again and again.
type Batch struct {
	stores      *Stores
	group       uint16
	state, keys *pebble.Batch
	k           [maxKey]byte
	v           []byte
	keyed       keyedOrder
	err         error
}

// NewBatch returns an empty batch for the rows of a group.
func (s *Stores) NewBatch(group uint16) *Batch {
	return &Batch{stores: s, group: group, state: s.dbs[State].NewBatch(), keys: s.dbs[Keys].NewBatch()}
}

// Len returns how many rows the batch writes to state/ as it stands.
func (b *Batch) Len() int { return int(b.state.Count()) }

// Marks is what a run of Apply leaves in a store beside the rows.
type Marks struct {
	Applied
	TimeMillis    int64
	ConfigChanged bool // write the configuration as well
}

// Commit writes the batch: its part of keys/ first, then its part of state/, each with its marks. A nil mark leaves
// that store alone. When nothing in keys/ changes its marks are only noted, for [Stores.Flush] to write.
func (b *Batch) Commit(state, keys *Marks) error {
	if b.err != nil {
		return b.err
	}
	if keys != nil {
		if err := b.commitKeys(keys); err != nil {
			return fmt.Errorf("committing to store keys: %w", err)
		}
	}
	if state != nil {
		if err := b.commit(b.state, state, state.ConfigChanged); err != nil {
			return fmt.Errorf("committing to store state: %w", err)
		}
	}
	b.state.Reset()
	b.keys.Reset()
	return nil
}

func (b *Batch) commitKeys(m *Marks) error {
	s := b.stores
	s.keysMu.Lock()
	defer s.keysMu.Unlock()
	if b.keys.Empty() {
		s.keysBehind[b.group] = m.Applied
		return nil
	}
	delete(s.keysBehind, b.group)
	return b.commit(b.keys, m, true)
}

func (b *Batch) commit(batch *pebble.Batch, m *Marks, config bool) error {
	if err := putApplied(batch, b.group, m.Applied, m.TimeMillis, config); err != nil {
		return err
	}
	return batch.Commit(pebble.NoSync)
}

// Close gives the batch's memory back.
func (b *Batch) Close() error {
	if err := b.state.Close(); err != nil {
		return err
	}
	return b.keys.Close()
}

func (b *Batch) key(table byte) key { return newKey(b.k[:], b.group, table) }

// set puts a row whose bytes are in b.v. Errors of a batch stick and are returned by Commit.
func (b *Batch) set(k key) { b.note(b.state.Set(k, b.v, nil)) }

func (b *Batch) delete(k key) { b.note(b.state.Delete(k, nil)) }

// deleteRange drops the keys from one to another, exclusive. Each is a cost to every later read from the memtable, so
// only whole windows and whole mailboxes are dropped by it.
func (b *Batch) deleteRange(from, to key) { b.note(b.state.DeleteRange(from, to, nil)) }

func (b *Batch) note(err error) {
	if b.err == nil {
		b.err = err
	}
}

// PutGroup, and the Put and Delete that follow, write one row each.
func (b *Batch) PutGroup(g *GroupState) {
	b.v = g.append(b.v[:0])
	b.set(b.key(tableGroup))
}

// PutMailbox writes a mailbox.
func (b *Batch) PutMailbox(m *Mailbox) {
	b.v = m.append(b.v[:0])
	b.set(b.key(tableMailbox).u64(m.Number))
}

// AddMailbox writes a new mailbox and what it is found by.
func (b *Batch) AddMailbox(m *Mailbox) {
	b.PutMailbox(m)
	b.v = appendNumber(b.v[:0], m.Number)
	b.set(b.key(tableName).str(m.Name))
	b.set(b.key(tableID).bytes(m.ID[:]))
	owner := Hash16(m.Owner)
	b.set(b.key(tableOwner).bytes(owner[:]).str(m.Name))
}

// AddIdentity makes a mailbox findable by its owner's identity key.
func (b *Batch) AddIdentity(m *Mailbox) {
	b.v = appendNumber(b.v[:0], m.Number)
	b.set(b.key(tableIdentity).bytes(m.Identity[:]).str(m.Name))
}

// DeleteIdentity takes that back.
func (b *Batch) DeleteIdentity(m *Mailbox) {
	b.delete(b.key(tableIdentity).bytes(m.Identity[:]).str(m.Name))
}

// DeleteMailbox drops a mailbox with its state, its messages and its key records. Its sessions and remembered ids go
// with their windows; its number is never used again, so nothing finds them.
func (b *Batch) DeleteMailbox(m *Mailbox, s *MailboxState) {
	b.delete(b.key(tableName).str(m.Name))
	b.delete(b.key(tableID).bytes(m.ID[:]))
	owner := Hash16(m.Owner)
	b.delete(b.key(tableOwner).bytes(owner[:]).str(m.Name))
	b.delete(b.key(tableMailbox).u64(m.Number))
	if m.KeyVersion > 0 {
		b.DeleteIdentity(m)
		b.dropMailbox(tableRecord, m.Number)
	}
	b.delete(b.key(tableState).u64(m.Number))
	if s.Next > PageSeqs {
		b.dropMailbox(tablePage, m.Number)
	}
	if s.Waiting() > 0 && s.InlineFirst() > s.Base {
		b.dropMailbox(tableAddress, m.Number)
	}
}

func (b *Batch) dropMailbox(table byte, number uint64) {
	var to [maxKey]byte
	b.deleteRange(b.key(table).u64(number), newKey(to[:], b.group, table).u64(number+1))
}

// PutState writes the state of a mailbox.
func (b *Batch) PutState(number uint64, s *MailboxState) {
	b.v = s.append(b.v[:0])
	b.set(b.key(tableState).u64(number))
}

// PutKeyRecord writes a version of a mailbox's key record.
func (b *Batch) PutKeyRecord(number, recordVersion uint64, record []byte) {
	b.v = append(append(b.v[:0], rowVersion), record...)
	b.set(b.key(tableRecord).u64(number).u64(recordVersion))
}

// PutPage writes a page of delivery states.
func (b *Batch) PutPage(number, page uint64, p *Page) {
	b.v = p.append(b.v[:0])
	b.set(b.key(tablePage).u64(number).u64(page))
}

// DeletePage removes a page.
func (b *Batch) DeletePage(number, page uint64) { b.delete(b.key(tablePage).u64(number).u64(page)) }

// PutAddresses writes the addresses of the messages from first on, which are all in one page.
func (b *Batch) PutAddresses(number, first uint64, addresses []Address) {
	b.v = addressRow(addresses).append(b.v[:0])
	b.set(b.key(tableAddress).u64(number).u64(first))
}

// DeleteAddresses removes the row that begins at first.
func (b *Batch) DeleteAddresses(number, first uint64) {
	b.delete(b.key(tableAddress).u64(number).u64(first))
}

// PutSession writes a session header.
func (b *Batch) PutSession(day uint32, number uint64, id [16]byte, s *Session) {
	b.v = s.append(b.v[:0])
	b.set(dayKey(b.k[:], b.group, day, number, sessionHeader, id))
}

// PutLiveSessions writes what a sender put in a day.
func (b *Batch) PutLiveSessions(day uint32, number uint64, sender [16]byte, l *LiveSessions) {
	b.v = l.append(b.v[:0])
	b.set(dayKey(b.k[:], b.group, day, number, sessionCount, sender))
}

// PutProducer writes the counted ids of a producer.
func (b *Batch) PutProducer(window uint32, number uint64, sender [16]byte, producer [8]byte, p *Producer) {
	b.v = p.append(b.v[:0])
	b.set(producerKey(b.k[:], b.group, window, number, sender, producer))
}

// PutExpiry writes the row of an expiry bucket and a mailbox.
func (b *Batch) PutExpiry(bucket uint32, number uint64, e *Expiry) {
	b.v = e.append(b.v[:0])
	b.set(b.key(tableExpiry).u32(bucket).u64(number))
}

// DeleteExpiry removes one.
func (b *Batch) DeleteExpiry(bucket uint32, number uint64) {
	b.delete(b.key(tableExpiry).u32(bucket).u64(number))
}

// DropDedup drops the windows from one to another, exclusive, of both kinds of ids.
func (b *Batch) DropDedup(from, to uint32) {
	var end [maxKey]byte
	for _, table := range [...]byte{tableKeyed, tableProducer} {
		b.deleteRange(b.key(table).u8(DedupClass).u32(from), newKey(end[:], b.group, table).u8(DedupClass).u32(to))
	}
}

// DropSessions drops the days from one to another, exclusive.
func (b *Batch) DropSessions(from, to uint32) {
	var end [maxKey]byte
	b.deleteRange(b.key(tableSession).u32(from), newKey(end[:], b.group, tableSession).u32(to))
}

// PutGrant writes a grant.
func (b *Batch) PutGrant(g *Grant) {
	b.v = g.append(b.v[:0])
	b.set(b.key(tableGrant).bytes(g.ID[:]))
}

// DeleteGrant removes one.
func (b *Batch) DeleteGrant(id [8]byte) { b.delete(b.key(tableGrant).bytes(id[:])) }

// PutSecret writes a generation of a mailbox's secret, into keys/.
func (b *Batch) PutSecret(id [16]byte, generation uint32, secret [32]byte) {
	b.v = append(append(b.v[:0], rowVersion), secret[:]...)
	b.note(b.keys.Set(b.key(tableSecret).bytes(id[:]).u32(generation), b.v, nil))
}

// DeleteSecrets removes every generation of a mailbox's secret from keys/.
func (b *Batch) DeleteSecrets(id [16]byte) {
	from := b.key(tableSecret).bytes(id[:])
	b.note(b.keys.DeleteRange(from, after(from), nil))
}
