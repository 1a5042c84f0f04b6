package machine

import "github.com/sealmq/sealmq/internal/codec"

// With many busy mailboxes, what a send reads of its mailbox is in no cache of the processor, and reading one thing tells
// where the next one is. Of commands that come together, the same steps are taken side by side: the processor then waits
// for many at once ("group prefetching", Chen, Ailamaki, Gibbons and Mowry, ICDE 2004). It changes nothing but the time.

// warmCommands is how many commands are looked at together. What they read must fit the nearer caches.
const warmCommands = 32

// warming is the memory of looking ahead.
type warming struct {
	mailboxes []*mailbox
	seen      uint64 // so that no read is left out as useless
}

// warm reads what the next commands of an entry will read of their mailboxes. commands is a copy of the reader.
func (m *Mail) warm(commands codec.Reader, count int) {
	if count < 2 || len(m.cache.byID) < 2*warmCommands {
		return
	}
	w := &m.warming
	w.mailboxes = w.mailboxes[:0]
	for range min(count, warmCommands) {
		r := codec.NewReader(commands.Bytes(commands.Len()))
		readHead(&r)
		r.Bytes8() // principal
		if mb := m.cache.byID[r.Array16()]; mb != nil {
			w.mailboxes = append(w.mailboxes, mb)
		}
	}
	for _, mb := range w.mailboxes {
		w.seen += mb.state.Next + uint64(len(mb.state.Epochs)+len(mb.inline)+len(mb.pages)+len(mb.sessions.few)+mb.leased)
	}
	for _, mb := range w.mailboxes {
		if n := len(mb.pages); n > 0 {
			p := mb.pages[n-1]
			w.seen += p.known + uint64(len(p.addresses))
		}
		for i := range mb.inline {
			w.seen += mb.inline[i].Floor
		}
		if len(mb.state.Epochs) > 0 {
			w.seen += mb.state.Epochs[0].Ready
		}
		for i := range mb.sessions.few {
			w.seen += uint64(mb.sessions.few[i].day)
		}
	}
	for _, mb := range w.mailboxes {
		if n := len(mb.pages); n > 0 {
			// Where the next address will stand.
			if next := mb.pages[n-1].addresses; len(next) < cap(next) {
				w.seen += next[:len(next)+1][len(next)].Index
			}
		}
		for i := range mb.inline {
			if runs := mb.inline[i].Runs; len(runs) > 0 {
				w.seen += runs[0].Count
			}
		}
	}
}
