package broker

import "sync"

// heirs is who takes over from whom in one group. A client that has lost its connection comes back under its receiver
// id, or repeats its pull, and is brought what is leased for it: often before this node knows that the old connection
// is gone. From then on what the old one was to bring is the new one's, which is not to be taken from it.
type heirs struct {
	mu sync.Mutex
	by map[heirKey]*heir
}

// heirKey is what a client comes back under: its receiver id, or that and the attempt of a pull.
type heirKey struct {
	principal                  string
	mailbox, receiver, attempt [16]byte
}

// heir is what all receivers of one key have in common.
type heir struct {
	known   int           // receivers
	turn    uint64        // grows whenever one takes over from all before it
	pending int           // commands of theirs that lease or give back, on their way
	settled chan struct{} // closed when none is on its way; nil if nobody waits for that
}

// place is where a receiver stands among those of its key: it is passed when the heir's turn is another.
type place struct {
	key  heirKey
	heir *heir
	turn uint64
}

// nothing is closed: there is nothing to wait for.
var nothing = func() chan struct{} { c := make(chan struct{}); close(c); return c }()

// keyOf returns what a receiver's client comes back under.
func keyOf(r *receiver) heirKey { return heirKey{r.conn.principal, r.mailbox.ID, r.id, [16]byte{}} }

// join notes a receiver that takes over from nobody.
func (h *heirs) join(r *receiver) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.enter(r, keyOf(r))
}

// takeOver notes a subscription that takes over from those before it, or a pull that does from those of its attempt.
// What they were given and what they gave back is applied when the channel is closed.
func (h *heirs) takeOver(r *receiver) <-chan struct{} {
	h.mu.Lock()
	defer h.mu.Unlock()
	key := keyOf(r)
	if r.pull {
		h.enter(r, key)
		if r.attempt == ([16]byte{}) {
			return nothing
		}
		key.attempt = r.attempt
	}
	p := h.enter(r, key)
	p.heir.turn++
	p.turn = p.heir.turn
	if p.heir.pending == 0 {
		return nothing
	}
	if p.heir.settled == nil {
		p.heir.settled = make(chan struct{})
	}
	return p.heir.settled
}

// enter gives a receiver a place. The caller holds the lock.
func (h *heirs) enter(r *receiver, key heirKey) *place {
	x := h.by[key]
	if x == nil {
		x = &heir{}
		if h.by == nil {
			h.by = map[heirKey]*heir{}
		}
		h.by[key] = x
	}
	x.known++
	r.places = append(r.places, place{key, x, x.turn})
	return &r.places[len(r.places)-1]
}

// leave forgets a receiver that has ended.
func (h *heirs) leave(r *receiver) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for i := range r.places {
		p := &r.places[i]
		p.heir.known--
		h.tidy(p)
	}
	r.places = nil
}

// tidy forgets a key that nobody is known by. The caller holds the lock.
func (h *heirs) tidy(p *place) {
	if p.heir.known == 0 && p.heir.pending == 0 && h.by[p.key] == p.heir {
		delete(h.by, p.key)
	}
}

// passed reports whether another has taken over what a receiver was to bring.
func (h *heirs) passed(r *receiver) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return r.overtaken()
}

// overtaken is the same for who holds the lock of the heirs.
func (r *receiver) overtaken() bool {
	for i := range r.places {
		if p := &r.places[i]; p.turn != p.heir.turn {
			return true
		}
	}
	return false
}

// begin counts a command of a receiver that gives back what it was to bring. ok is false if another has taken over.
func (h *heirs) begin(r *receiver) (on pending, ok bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if r.overtaken() {
		return pending{}, false
	}
	return h.count(r), true
}

// beginLease is begin for a command that leases. Who took over a receiver id from a pull that had nothing knows nothing
// of what that is about to lease.
func (h *heirs) beginLease(r *receiver) (on pending, ok bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for i := range r.places {
		if p := &r.places[i]; r.pull && p.key.attempt == ([16]byte{}) {
			p.turn = p.heir.turn
		}
	}
	if r.overtaken() {
		return pending{}, false
	}
	return h.count(r), true
}

// pending is a command that is on its way.
type pending struct {
	heirs  *heirs
	places []place
}

// count is called with the lock held.
func (h *heirs) count(r *receiver) pending {
	for i := range r.places {
		r.places[i].heir.pending++
	}
	return pending{h, r.places}
}

// done says that the command was applied, or never will be.
func (p pending) done() {
	if p.heirs == nil {
		return
	}
	p.heirs.mu.Lock()
	defer p.heirs.mu.Unlock()
	for i := range p.places {
		at := &p.places[i]
		if at.heir.pending--; at.heir.pending > 0 {
			continue
		}
		if at.heir.settled != nil {
			close(at.heir.settled)
			at.heir.settled = nil
		}
		p.heirs.tidy(at)
	}
}

// passAll takes everything from everybody: this node does not lead any more, and who comes back to the one that does is
// brought there what was leased here.
func (h *heirs) passAll() {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, x := range h.by {
		x.turn++
	}
}
