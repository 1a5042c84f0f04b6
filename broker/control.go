package broker

import (
	"context"
	"sync/atomic"
	"time"

	"github.com/sealmq/sealmq/broker/machine"
	"github.com/sealmq/sealmq/raftlog"
)

// controlGroup is the id of the group that holds grants; mail groups are 1 to N.
const controlGroup = 0

const (
	// freshMillis is how long a node decides by the grants that it has after it last had all that were committed.
	freshMillis = 10_000
	// freshLook is how often it looks.
	freshLook = time.Second
)

// controlPlane is the control group: the rights that this node decides by.
type controlPlane struct {
	group
	machine *machine.Control
	until   atomic.Int64  // up to when the grants count, unix ms by this node's clock
	moved   chan struct{} // has room for one signal: the grants have changed
	version uint64        // of the grants after the last run of entries; the applying goroutine's
}

func (b *Broker) newControlPlane(rules *machine.Control) *controlPlane {
	return &controlPlane{
		machine: rules, group: b.newGroup(controlGroup, rules), moved: make(chan struct{}, 1),
		version: rules.Grants().Version(),
	}
}

// follow looks at once when a leader is known, so that a node that starts is soon of use.
func (c *controlPlane) follow(raftlog.LeaderState) { c.look() }

// applied notes that the grants have changed.
func (c *controlPlane) applied() {
	if v := c.machine.Grants().Version(); v != c.version {
		c.version = v
		select {
		case c.moved <- struct{}{}:
		default:
		}
	}
}

// look finds out whether this node has every grant: it knows a leader, and has applied all that it has heard to be
// committed. A node that was cut off does not know a leader any more, one that has just started none yet.
func (c *controlPlane) look() bool {
	s := c.log.Status()
	if s.Leader == "" || s.Applied < s.Commit {
		return false
	}
	c.until.Store(c.broker.clock.now() + freshMillis)
	return true
}

// fresh reports whether rights may be decided here: a node that was cut off may not know that a grant was removed.
func (c *controlPlane) fresh() bool {
	return c.broker.clock.now() < c.until.Load() || c.look()
}

// watch looks from time to time, and asks everybody who waits for messages again whether they still may when the grants
// have changed.
func (c *controlPlane) watch(ctx context.Context) {
	tick := time.NewTicker(freshLook)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			c.look()
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
