package broker

import (
	"errors"
	"testing"
)

// oneClient makes receivers of one client in a group, each on a connection of its own.
func oneClient(g *mailGroup) (subscription func() *receiver, pull func(attempt byte) *receiver) {
	subscription = func() *receiver {
		return &receiver{conn: &conn{principal: "p", gone: make(chan struct{})}, group: g, id: [16]byte{1}}
	}
	return subscription, func(attempt byte) *receiver {
		r := subscription()
		r.pull, r.attempt = true, [16]byte{attempt}
		return r
	}
}

func isClosed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

// TestTakingOver: who comes later has what was leased to those before it, once all that they did is applied; from then
// on they do nothing.
func TestTakingOver(t *testing.T) {
	g := &mailGroup{}
	h := &g.heirs
	subscription, _ := oneClient(g)
	first, beside := subscription(), subscription()
	if !isClosed(h.takeOver(first)) {
		t.Error("the first waits for somebody")
	}
	h.join(beside)
	leasing, ok := h.beginLease(first)
	if !ok || h.passed(first) || h.passed(beside) {
		t.Error("one that takes over from nobody is in the way of another")
	}
	givingBack, ok := h.begin(beside)
	if !ok {
		t.Error("it may not give back")
	}

	second := subscription()
	settled := h.takeOver(second)
	leasing.done()
	if isClosed(settled) {
		t.Error("it does not wait for what is being given back")
	}
	givingBack.done()
	if !isClosed(settled) {
		t.Error("it waits for nothing")
	}
	for _, r := range []*receiver{first, beside} {
		_, leases := h.beginLease(r)
		_, givesBack := h.begin(r)
		if !h.passed(r) || leases || givesBack {
			t.Errorf("one that was taken over from goes on: leases %v, gives back %v", leases, givesBack)
		}
	}
	leasing, ok = h.beginLease(second)
	if !ok || h.passed(second) {
		t.Error("the second may not go on")
	}
	other := subscription()
	other.id = [16]byte{2}
	if !isClosed(h.takeOver(other)) || h.passed(second) {
		t.Error("another receiver has to do with it")
	}

	// Also who ended before, and what it had on its way then, counts until it is over.
	h.leave(second)
	third := subscription()
	settled = h.takeOver(third)
	if isClosed(settled) {
		t.Error("what an ended one leases is not waited for")
	}
	leasing.done()
	if !isClosed(settled) {
		t.Error("it is waited for too long")
	}
	h.passAll()
	if _, ok := h.begin(third); ok || !h.passed(third) {
		t.Error("one gives back after the end of the leadership")
	}
	for _, r := range []*receiver{first, beside, second, third, other} {
		h.leave(r)
		h.leave(r)
	}
	if len(h.by) != 0 {
		t.Errorf("%d keys are kept of those that ended", len(h.by))
	}
}

func TestTakingOverAPull(t *testing.T) {
	g := &mailGroup{}
	h := &g.heirs
	subscription, pull := oneClient(g)
	one, two, again, none := pull(1), pull(2), pull(1), pull(0)
	h.takeOver(one)
	h.takeOver(two)
	h.takeOver(none)
	h.takeOver(pull(0)) // without an attempt nothing is repeated
	givingBack, _ := h.begin(one)
	settled := h.takeOver(again)
	if isClosed(settled) {
		t.Error("a repeat does not wait for what is being given back")
	}
	givingBack.done()
	if _, ok := h.beginLease(one); ok || !isClosed(settled) || !h.passed(one) {
		t.Error("a pull goes on though it was repeated")
	}
	for _, r := range []*receiver{two, again, none} {
		if h.passed(r) {
			t.Errorf("attempt %d is passed", r.attempt[0])
		}
	}
	// A subscription under the same receiver id is brought what the pulls hold by then, and not what they are given next.
	h.takeOver(subscription())
	for _, r := range []*receiver{two, again, none} {
		if _, ok := h.begin(r); ok {
			t.Errorf("attempt %d gives back what a subscription has taken over", r.attempt[0])
		}
		if _, ok := h.beginLease(r); !ok {
			t.Errorf("attempt %d waits in vain", r.attempt[0])
		}
		if _, ok := h.begin(r); !ok {
			t.Errorf("attempt %d keeps what it was given since", r.attempt[0])
		}
	}
}

// TestInheritingEndsWithTheConnection: what is waited for may never come.
func TestInheritingEndsWithTheConnection(t *testing.T) {
	g := &mailGroup{}
	subscription, _ := oneClient(g)
	first, second := subscription(), subscription()
	g.heirs.takeOver(first)
	g.heirs.beginLease(first)
	close(second.conn.gone)
	if err := second.inherit(); !errors.Is(err, errStopping) {
		t.Errorf("it ended with %v", err)
	}
}
