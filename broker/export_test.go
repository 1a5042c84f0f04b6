package broker

import "github.com/sealmq/sealmq/storage"

// Fill takes all room that a mail group has for commands, until it is given back.
func (b *Broker) Fill(group uint16) (giveBack func()) {
	p := b.mail[group-1].proposer
	change := func(bytes int) {
		p.mu.Lock()
		p.bytes += bytes
		p.mu.Unlock()
		p.changed.Broadcast()
	}
	change(2 * p.limitBytes)
	return func() { change(-2 * p.limitBytes) }
}

// OnHeaders has f called whenever a mail group is about to read session headers for a delivery: its bodies are read by
// then. It is for a group that nobody uses yet.
func (b *Broker) OnHeaders(group uint16, f func()) {
	h := b.mail[group-1].headers
	h.reader = &watchedSecrets{h.reader, f}
}

type watchedSecrets struct {
	secrets
	f func()
}

func (w *watchedSecrets) Sessions(number uint64, ids [][16]byte, timeMillis int64,
	yield func(i int, s storage.Session)) error {
	w.f()
	return w.secrets.Sessions(number, ids, timeMillis, yield)
}

// HasKey reports whether a mail group keeps a secret for a mailbox id.
func (b *Broker) HasKey(group uint16, id [16]byte) bool {
	_, err := b.mail[group-1].reader.MailboxKey(id, firstGeneration)
	return err == nil
}

// Connections counts the connections of a principal, and those of them that are ending.
func (b *Broker) Connections(principal string) (all, ending int) {
	clients, _ := b.clients.all()
	for _, c := range clients {
		if c.principal != principal {
			continue
		}
		all++
		c.out.mu.Lock()
		if c.out.closed {
			ending++
		}
		c.out.mu.Unlock()
	}
	return all, ending
}
