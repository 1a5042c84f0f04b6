package machine

import (
	"errors"

	"github.com/sealmq/sealmq/internal/codec"
	"github.com/sealmq/sealmq/storage"
)

// MailboxCreate makes mailboxes that belong to a principal. Each item is answered: an item that says what is already
// there is CodeOK again, so that a create can be repeated.
type MailboxCreate struct {
	Principal string
	Items     []MailboxCreateItem
}

// MailboxCreateItem is one mailbox to be made. The id was drawn by the client.
type MailboxCreateItem struct {
	Name string
	ID   [16]byte
}

// Append appends the command to an entry.
func (c *MailboxCreate) Append(dst []byte) []byte {
	start := len(dst)
	dst = begin(dst, KindMailboxCreate)
	dst = appendPrincipal(dst, c.Principal)
	dst = codec.AppendUvarint(dst, uint64(len(c.Items)))
	for i := range c.Items {
		dst = codec.AppendBytes8(dst, []byte(c.Items[i].Name))
		dst = append(dst, c.Items[i].ID[:]...)
	}
	return frame(dst, start)
}

func (c *MailboxCreate) decode(r *codec.Reader, n names) {
	c.Principal = n.read(r)
	count := r.Count(MaxCreateItems, 17)
	c.Items = c.Items[:0]
	for range count {
		item := MailboxCreateItem{Name: string(r.Bytes8()), ID: r.Array16()}
		if item.Name == "" || item.ID == ([16]byte{}) {
			r.Fail(errRange)
		}
		c.Items = append(c.Items, item)
	}
	if c.Principal == "" || count == 0 {
		r.Fail(errRange)
	}
}

func (m *Mail) mailboxCreate(c *MailboxCreate, o *Outcome) {
	m.codes = m.codes[:0]
	for i := range c.Items {
		m.code(m.createOne(c.Principal, &c.Items[i]), 1)
		if m.err != nil {
			return
		}
	}
	o.Codes = m.takeCodes()
}

func (m *Mail) createOne(owner string, item *MailboxCreateItem) Code {
	if mb := m.mailbox(item.ID); mb != nil {
		if mb.row.Name == item.Name && mb.row.Owner == owner {
			return CodeOK
		}
		return CodeExists
	}
	if m.nameTaken(item.Name) {
		return CodeExists
	}
	row := &storage.Mailbox{
		Number: m.group.NextMailbox, ID: item.ID, Name: item.Name, Owner: owner, CreatedMillis: m.now,
	}
	m.group.NextMailbox++
	m.groupDirty = true
	m.batch.AddMailbox(row)
	m.byName[item.Name] = true
	delete(m.deleted, item.ID)
	mb := newMailbox(row, storage.NewMailboxState())
	m.cache.insert(mb)
	m.touch(mb)
	return CodeOK
}

// nameTaken reports whether a mailbox has the name, counting what this run has done.
func (m *Mail) nameTaken(name string) bool {
	if taken, known := m.byName[name]; known {
		return taken
	}
	_, err := m.reader.MailboxByName(name)
	if errors.Is(err, storage.ErrNotFound) {
		return false
	}
	return !m.failed(err)
}
