package broker

import (
	"testing"
	"time"

	"github.com/sealmq/sealmq/broker/machine"
	"github.com/sealmq/sealmq/wire"
)

// fakeRules has a replicated time.
type fakeRules struct {
	rules
	now int64
}

func (f *fakeRules) TimeMillis() int64 { return f.now }

func TestLeaseTimeLeft(t *testing.T) {
	f := &fakeTime{wall: time.UnixMilli(1_000_000)}
	rules := &fakeRules{}
	g := &mailGroup{group: group{broker: &Broker{clock: f.clock()}, rules: rules}}
	for _, x := range []struct {
		replicated, deadline int64
		want                 uint32
	}{
		{0, 1_030_000, 30_000}, {0, 1_000_001, 1}, {0, 1_000_000, 0}, {0, 999_000, 0},
		{1_010_000, 1_030_000, 20_000},                                // an earlier leader's clock was ahead
		{0, 1_000_000 + wire.LeaseMaxMillis + 5, wire.LeaseMaxMillis}, // no more than the protocol can say
	} {
		rules.now = x.replicated
		if got := g.millisLeft(x.deadline); got != x.want {
			t.Errorf("at %d until %d: %d, not %d", max(x.replicated, 1_000_000), x.deadline, got, x.want)
		}
	}
}

// TestPassedLeaseIsNotDelivered: its messages may belong to somebody else by now.
func TestPassedLeaseIsNotDelivered(t *testing.T) {
	f := &fakeTime{wall: time.UnixMilli(1_000_000)}
	g := &mailGroup{group: group{broker: &Broker{clock: f.clock()}, rules: &fakeRules{}}}
	m, n, err := g.delivery(nil, wire.MailboxRef{}, &machine.Outcome{Deadline: 999_999}, make([]machine.Delivery, 7))
	if m != nil || n != 7 || err != nil {
		t.Errorf("%v, %d, %v", m, n, err)
	}
}
