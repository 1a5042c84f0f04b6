package machine

import (
	"slices"
	"sort"

	"github.com/sealmq/sealmq/storage"
)

// mailbox is a mailbox in memory: its rows, and what follows from them and is asked often. All of it can be read again
// from the store after a run of Apply; within a run it is the only place that knows.
type mailbox struct {
	// What every message needs comes first, together: of many mailboxes, little is in the nearer caches.
	row   *storage.Mailbox // never changed, only replaced: readers of Lookup have it
	pages []*page          // some of them, ascending; always the head's if anything is known of it
	// inline are the producers of the state row, and inlineAddresses counts the addresses that are in it: the last ones of
	// the page that is being filled.
	inline          []producer
	inlineAddresses int
	sessions        sessions
	leased          int // runs for which it counts as one that somebody receives from
	stateDirty      bool
	touched         bool // in this run
	deleted         bool
	// state is the state row, but that its Page is among pages, its Producers are in inline and its Inline is in a page;
	// they are put back when it is written.
	state storage.MailboxState
	// inlinePage is the number of the page whose states are in the state row: the head's, but while the head moves.
	inlinePage uint64

	leases    map[[8]byte]*lease
	attempts  map[[16]byte][]*lease     // those leases that have an attempt id
	returned  []returned                // ascending by epoch
	producers map[producerID]*producer  // those with rows of their own
	live      map[[16]byte]liveSessions // by sender

	newer *mailbox // list of the cache
	older *mailbox
	cost  int

	// room is where the slices above begin: a message then finds most of what it needs on one or two pages of memory, and
	// not on nine.
	room struct {
		pages     [2]*page
		epochs    [1]storage.EpochState
		sessions  [roomSenders]knownSession
		producers [roomSenders]producer
	}
}

// roomSenders is how many senders a mailbox has room for without more memory: as many as stand in its state row.
const roomSenders = maxInlineProducers

func newMailbox(row *storage.Mailbox, state storage.MailboxState) *mailbox {
	mb := &mailbox{row: row, state: state}
	mb.pages, mb.sessions.few, mb.inline = mb.room.pages[:0], mb.room.sessions[:0], mb.room.producers[:0]
	mb.state.Epochs = append(mb.room.epochs[:0], state.Epochs...)
	return mb
}

// lease is a lease that still holds messages. All of them lie between two numbers, which may be wider than need be.
type lease struct {
	id                [8]byte
	principal         [16]byte
	receiver, attempt [16]byte
	first, last       uint64
	count             uint64
}

// returned is the messages of an epoch that are ready and were leased before. They are few, and come before fresh ones
// of the same epoch, so that nobody has to look for them among what is done.
type returned struct {
	epoch  uint32
	ranges []seqSpan
	count  uint64
}

// seqSpan is the numbers from first to last.
type seqSpan struct{ first, last uint64 }

func (s seqSpan) count() uint64 { return s.last - s.first + 1 }

// page returns the cached page of a number, and where it stands or would stand.
func (mb *mailbox) page(number uint64) (*page, int) {
	n := len(mb.pages)
	if n == 0 || mb.pages[n-1].number < number {
		return nil, n
	}
	i := n - 1
	if mb.pages[i].number != number {
		i = sort.Search(n, func(i int) bool { return mb.pages[i].number >= number })
	}
	if i < n && mb.pages[i].number == number {
		return mb.pages[i], i
	}
	return nil, i
}

// headPage returns the number of the page that the head is in.
func (mb *mailbox) headPage() uint64 { return mb.state.Head / storage.PageSeqs }

func (mb *mailbox) epochIndex(epoch uint32) (int, bool) {
	if len(mb.state.Epochs) == 1 && mb.state.Epochs[0].Epoch == epoch {
		return 0, true
	}
	i := sort.Search(len(mb.state.Epochs), func(i int) bool { return mb.state.Epochs[i].Epoch >= epoch })
	return i, i < len(mb.state.Epochs) && mb.state.Epochs[i].Epoch == epoch
}

// epoch returns the state of an epoch that messages wait for.
func (mb *mailbox) epoch(epoch uint32) *storage.EpochState {
	i, ok := mb.epochIndex(epoch)
	if !ok {
		// Cannot be: a message that is not done with is counted in its epoch.
		mb.state.Epochs = slices.Insert(mb.state.Epochs, i, storage.EpochState{Epoch: epoch})
	}
	return &mb.state.Epochs[i]
}

// addEpoch makes room for the first message of an epoch, which will get the number fresh. It fails when there are too
// many epochs.
func (mb *mailbox) addEpoch(epoch uint32, fresh uint64) bool {
	i, ok := mb.epochIndex(epoch)
	if ok {
		return true
	}
	if len(mb.state.Epochs) >= MaxWaitingEpochs {
		return false
	}
	mb.state.Epochs = slices.Insert(mb.state.Epochs, i, storage.EpochState{Epoch: epoch, Fresh: fresh})
	return true
}

// dropEpoch forgets an epoch that no message waits for any more.
func (mb *mailbox) dropEpoch(epoch uint32) {
	if i, ok := mb.epochIndex(epoch); ok {
		mb.state.Epochs = slices.Delete(mb.state.Epochs, i, i+1)
	}
	mb.returned = slices.DeleteFunc(mb.returned, func(r returned) bool { return r.epoch == epoch })
}

func (mb *mailbox) returnedOf(epoch uint32) *returned {
	i := sort.Search(len(mb.returned), func(i int) bool { return mb.returned[i].epoch >= epoch })
	if i == len(mb.returned) || mb.returned[i].epoch != epoch {
		mb.returned = slices.Insert(mb.returned, i, returned{epoch: epoch})
	}
	return &mb.returned[i]
}

// add puts numbers in, none of which is there.
func (r *returned) add(s seqSpan) {
	r.count += s.count()
	i := len(r.ranges)
	if i > 0 && r.ranges[i-1].first > s.first {
		i = sort.Search(i, func(i int) bool { return r.ranges[i].first > s.first })
	}
	joinsLeft := i > 0 && r.ranges[i-1].last+1 == s.first
	joinsRight := i < len(r.ranges) && s.last+1 == r.ranges[i].first
	switch {
	case joinsLeft && joinsRight:
		r.ranges[i-1].last = r.ranges[i].last
		r.ranges = slices.Delete(r.ranges, i, i+1)
	case joinsLeft:
		r.ranges[i-1].last = s.last
	case joinsRight:
		r.ranges[i].first = s.first
	default:
		r.ranges = slices.Insert(r.ranges, i, s)
	}
}

// remove takes numbers out, all of which are there and in one range.
func (r *returned) remove(s seqSpan) {
	r.count -= s.count()
	i := sort.Search(len(r.ranges), func(i int) bool { return r.ranges[i].last >= s.first })
	at := r.ranges[i]
	switch {
	case at == s:
		r.ranges = slices.Delete(r.ranges, i, i+1)
	case at.first == s.first:
		r.ranges[i].first = s.last + 1
	case at.last == s.last:
		r.ranges[i].last = s.first - 1
	default:
		r.ranges[i].last = s.first - 1
		r.ranges = slices.Insert(r.ranges, i+1, seqSpan{s.last + 1, at.last})
	}
}

// hold records messages that a lease holds from now on.
func (mb *mailbox) hold(l *storage.PageLease, s seqSpan) {
	have := mb.leases[l.ID]
	if have == nil {
		if mb.leases == nil {
			mb.leases = map[[8]byte]*lease{}
		}
		have = &lease{
			id: l.ID, principal: l.Principal, receiver: l.Receiver, attempt: l.Attempt, first: s.first, last: s.last,
		}
		mb.leases[l.ID] = have
		if l.Attempt != ([16]byte{}) {
			if mb.attempts == nil {
				mb.attempts = map[[16]byte][]*lease{}
			}
			mb.attempts[l.Attempt] = append(mb.attempts[l.Attempt], have)
		}
	}
	have.first, have.last = min(have.first, s.first), max(have.last, s.last)
	have.count += s.count()
}

// unhold records messages that a lease no longer holds.
func (mb *mailbox) unhold(id [8]byte, n uint64) {
	l := mb.leases[id]
	if l == nil {
		return
	}
	if l.count -= n; l.count > 0 {
		return
	}
	delete(mb.leases, id)
	if same := mb.attempts[l.attempt]; len(same) > 1 {
		mb.attempts[l.attempt] = slices.DeleteFunc(same, func(o *lease) bool { return o == l })
	} else {
		delete(mb.attempts, l.attempt)
	}
}
