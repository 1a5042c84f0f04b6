package broker

import (
	"context"

	"github.com/sealmq/sealmq/broker/machine"
	"github.com/sealmq/sealmq/raftlog"
)

// controlGroup is the id of the group that holds grants; mail groups are 1 to N.
const controlGroup = 0

// controlPlane is the control group: the rights that this node decides by.
type controlPlane struct {
	group
	machine   *machine.Control
	freshness freshness
	led       chan struct{} // has room for one signal: who leads has changed
	moved     chan struct{} // has room for one signal: the grants have changed
	version   uint64        // of the grants after the last run of entries; the applying goroutine's
}

func (b *Broker) newControlPlane(rules *machine.Control) *controlPlane {
	return &controlPlane{
		machine: rules, group: b.newGroup(controlGroup, rules), led: make(chan struct{}, 1),
		moved: make(chan struct{}, 1), version: rules.Grants().Version(),
	}
}

// follow has the node ask at once when a leader is known, so that one that starts is soon of use.
func (c *controlPlane) follow(raftlog.LeaderState) { signal(c.led) }

// applied notes that the grants have changed.
func (c *controlPlane) applied() {
	if v := c.machine.Grants().Version(); v != c.version {
		c.version = v
		signal(c.moved)
	}
}

func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// watch asks everybody who waits for messages again whether they still may when the grants have changed.
func (c *controlPlane) watch(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-c.moved:
			for _, g := range c.broker.mail {
				g.waits.each(func(r *receiver) {
					if err := r.conn.mayReceive(r.row); err != nil {
						r.fail(err)
					}
				})
			}
		}
	}
}
