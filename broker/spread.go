package broker

import (
	"context"
	"sync"
	"time"

	"github.com/sealmq/sealmq/broker/machine"
	"github.com/sealmq/sealmq/wire"
)

const (
	// addSpread is how long the answer to a new grant waits for nodes that are reached.
	addSpread = 2 * time.Second
	// removeSpread is how long the answer to a removal waits, for nodes that are not reached, too: by then these have
	// ceased to decide by what they know, even if their clocks are 5 % slow.
	removeSpread = freshFor + freshFor/20

	spreadPause, spreadPauseMax = 2 * time.Millisecond, 100 * time.Millisecond
)

// spread follows what is applied here to the other nodes.
type spread struct {
	// behind returns the nodes that are not known to have applied it: those that are reached, and those that are not.
	behind func() (reached, away []string)
	stops  func() bool // whether this node has no time to wait
}

// wait returns when no node is behind or time is over, and which nodes are behind then. Unless forAway is set it does
// not wait for nodes that are not reached. known is false if this node stops before that. Time is that of the monotonic
// clock: a wall clock that is set here does not make another node forget sooner.
func (s spread) wait(longest time.Duration, forAway bool) (late []string, known bool) {
	began, pause := time.Now(), spreadPause
	for {
		reached, away := s.behind()
		late := append(reached, away...)
		if len(reached) == 0 && (len(away) == 0 || !forAway) || time.Since(began) >= longest {
			return late, true
		}
		if s.stops() {
			return late, false
		}
		time.Sleep(pause)
		pause = min(2*pause, spreadPauseMax)
	}
}

// spread follows what the control group has applied here, for a request of to.
func (c *controlPlane) spread(to *conn) spread {
	b, index := c.broker, c.log.Status().Applied
	served := map[string]bool{}
	return spread{
		behind: func() (reached, away []string) { return b.behind(index, served) },
		stops: func() bool {
			select {
			case <-to.gone: // nobody wants to know any more
				return true
			default:
				return to.leaving.Load() || b.stopping.Load()
			}
		},
	}
}

// behind asks all other nodes that are not known to have served it how far they are, at once.
func (b *Broker) behind(index uint64, served map[string]bool) (reached, away []string) {
	ctx, cancel := context.WithTimeout(context.Background(), b.o.RaftTimeout)
	defer cancel()
	asked := make([]bool, len(b.o.Members))
	applied := make([]uint64, len(b.o.Members))
	var all sync.WaitGroup
	for i, m := range b.o.Members {
		if asked[i] = m.Node != b.o.Node && !served[m.Node] && b.host.Reachable(m.Node); asked[i] {
			all.Go(func() { applied[i], _ = b.control.log.AppliedBy(ctx, m.Node) })
		}
	}
	all.Wait()
	for i, m := range b.o.Members {
		switch {
		case m.Node == b.o.Node || served[m.Node]:
		case applied[i] >= index:
			served[m.Node] = true
		case asked[i]:
			reached = append(reached, m.Node)
		default:
			away = append(away, m.Node)
		}
	}
	return reached, away
}

// answerAdded answers that a grant was added or was there, and which nodes do not serve it yet.
func (c *controlPlane) answerAdded(to *conn, request uint32, o *machine.Outcome) {
	late, _ := c.spread(to).wait(addSpread, false)
	to.answer(request, &wire.GrantAddReply{ID: o.Grant, Late: late})
}

// answerRemoved answers that a grant was removed when no node decides by it any more.
func (c *controlPlane) answerRemoved(to *conn, request uint32) {
	if late, known := c.spread(to).wait(removeSpread, true); known {
		to.answer(request, &wire.GrantRemoveReply{Late: late})
		return
	}
	to.fail(request, wire.CodeTimeout, "the node stops before all nodes are known to have heard of it")
}

// answerGone answers that there is no such grant when no node decides by one that there was.
func (c *controlPlane) answerGone(to *conn, request uint32) {
	if _, known := c.spread(to).wait(removeSpread, true); known {
		to.fail(request, wire.CodeNotFound, "there is no grant of this id that you administer")
		return
	}
	to.fail(request, wire.CodeTimeout, "the node stops before all nodes are known to have heard of it")
}
