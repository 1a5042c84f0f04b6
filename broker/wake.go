package broker

import "sync"

// taker is who waits for messages of a mailbox.
type taker interface {
	// offer lets the taker ask for messages. It returns how many it asked for: 0 if it has no credit, is busy, or has
	// asked in this round already.
	offer(round uint64) uint64
}

// waitList is who waits on which mailbox of one group: pulls that found nothing and subscriptions with credit. It
// costs nothing for a mailbox that nobody waits on.
type waitList[T interface {
	comparable
	taker
}] struct {
	mu     sync.Mutex
	by     map[[16]byte]*line[T]
	closed bool
}

// line is who waits on one mailbox. A round begins whenever messages become ready; in it everybody is asked once.
type line[T comparable] struct {
	all   []T // in the order of their turns; replaced and never changed, because others walk over it
	round uint64
}

func newWaitList[T interface {
	comparable
	taker
}]() *waitList[T] {
	return &waitList[T]{by: map[[16]byte]*line[T]{}}
}

// join adds a taker. It is false while the list is closed: this node does not lead the group.
func (w *waitList[T]) join(mailbox [16]byte, t T) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed {
		return false
	}
	l := w.by[mailbox]
	if l == nil {
		l = &line[T]{round: 1}
		w.by[mailbox] = l
	}
	l.all = append(l.all[:len(l.all):len(l.all)], t)
	return true
}

func (w *waitList[T]) leave(mailbox [16]byte, t T) {
	w.mu.Lock()
	defer w.mu.Unlock()
	l := w.by[mailbox]
	if l == nil {
		return
	}
	left := make([]T, 0, len(l.all))
	for _, x := range l.all {
		if x != t {
			left = append(left, x)
		}
	}
	if l.all = left; len(left) == 0 {
		delete(w.by, mailbox)
	}
}

// wake begins a round for messages that became ready. Whoever is offered them first goes to the end of the line.
func (w *waitList[T]) wake(mailbox [16]byte, ready uint64) {
	w.mu.Lock()
	l := w.by[mailbox]
	if l == nil {
		w.mu.Unlock()
		return
	}
	l.round++
	all, round := l.all, l.round
	if len(all) > 1 {
		turned := make([]T, 0, len(all))
		l.all = append(append(turned, all[1:]...), all[0])
	}
	w.mu.Unlock()
	offer(all, round, ready)
}

// pass offers messages that whoever was offered them could not take to those who were not asked in this round.
func (w *waitList[T]) pass(mailbox [16]byte, ready uint64) {
	w.mu.Lock()
	l := w.by[mailbox]
	if l == nil {
		w.mu.Unlock()
		return
	}
	all, round := l.all, l.round
	w.mu.Unlock()
	offer(all, round, ready)
}

// offer goes along a line until those who asked have asked for all that is ready.
func offer[T taker](all []T, round, ready uint64) {
	for _, t := range all {
		asked := t.offer(round)
		if asked >= ready {
			return
		}
		ready -= asked
	}
}

// close ends every taker: the group has another leader, or the node stops.
func (w *waitList[T]) close(end func(T)) {
	w.mu.Lock()
	w.closed = true
	by := w.by
	w.by = map[[16]byte]*line[T]{}
	w.mu.Unlock()
	for _, l := range by {
		for _, t := range l.all {
			end(t)
		}
	}
}

// open lets takers join again: this node leads.
func (w *waitList[T]) open() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.closed = false
}

// on calls f for everybody who waits on a mailbox, outside the lock.
func (w *waitList[T]) on(mailbox [16]byte, f func(T)) {
	w.mu.Lock()
	var all []T
	if l := w.by[mailbox]; l != nil {
		all = l.all
	}
	w.mu.Unlock()
	for _, t := range all {
		f(t)
	}
}

// each calls f for everybody who waits, outside the lock.
func (w *waitList[T]) each(f func(T)) {
	w.mu.Lock()
	var all []T
	for _, l := range w.by {
		all = append(all, l.all...)
	}
	w.mu.Unlock()
	for _, t := range all {
		f(t)
	}
}
