package machine

import "github.com/sealmq/sealmq/internal/codec"

// MailboxDelete removes a mailbox and all that belongs to it.
type MailboxDelete struct {
	Principal string
	Mailbox   [16]byte
}

// Append appends the command to an entry.
func (c *MailboxDelete) Append(dst []byte) []byte {
	start := len(dst)
	dst = begin(dst, KindMailboxDelete)
	dst = appendPrincipal(dst, c.Principal)
	dst = append(dst, c.Mailbox[:]...)
	return frame(dst, start)
}

func (c *MailboxDelete) decode(r *codec.Reader, n names) {
	c.Principal, c.Mailbox = n.read(r), r.Array16()
}

func (m *Mail) mailboxDelete(c *MailboxDelete, o *Outcome) {
	mb := m.find(c.Mailbox, o)
	if mb == nil {
		return
	}
	m.pack(mb)
	m.batch.DeleteMailbox(mb.row, &mb.state)
	m.cache.remove(mb)
	mb.deleted = true
	m.byName[mb.row.Name] = false
	m.deleted[mb.row.ID] = true
	m.numbers[mb.row.Number] = true
	m.forget = append(m.forget, mb.row.ID)
}
