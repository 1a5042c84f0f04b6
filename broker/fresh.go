package broker

import (
	"context"
	"sync/atomic"
	"time"
)

const (
	// freshFor is how long a node decides by the grants that it has, counted from when it asked for what it then had:
	// after that a grant that it knows may have been removed for long.
	freshFor = 10 * time.Second
	// freshEvery is how often a node that is fresh asks again, freshRetry how soon one that got no answer does at first.
	freshEvery, freshRetry = time.Second, 10 * time.Millisecond
)

// freshness says until when what this node has of the control group counts.
type freshness struct {
	since atomic.Pointer[time.Time] // when the question was put that this node knows the answer to
}

func (f *freshness) holds() bool {
	at := f.since.Load()
	return at != nil && passed(*at) < freshFor
}

// passed is the time since a moment by the monotonic clock, or by the wall clock if that says more: only one of them
// goes on while a machine is suspended.
func passed(since time.Time) time.Duration {
	now := time.Now()
	return max(now.Sub(since), now.Round(0).Sub(since.Round(0)))
}

// keepFresh asks for the index that the leader of the control group has committed, and waits until that is applied
// here, again and again.
func (c *controlPlane) keepFresh(ctx context.Context) {
	pause := freshRetry
	for ctx.Err() == nil {
		if c.freshen(ctx) {
			pause = freshEvery
		} else {
			pause = min(2*pause, freshEvery/4)
		}
		select {
		case <-ctx.Done():
		case <-c.led: // whoever was not answered before may be now
		case <-time.After(pause):
		}
	}
}

func (c *controlPlane) freshen(ctx context.Context) bool {
	asked := time.Now()
	index, err := c.log.ReadIndex(ctx)
	if err != nil {
		return false
	}
	for c.log.Status().Applied < index {
		select {
		case <-ctx.Done():
			return false
		case <-time.After(freshRetry):
		}
		if passed(asked) >= freshFor {
			return false
		}
	}
	c.freshness.since.Store(&asked)
	return true
}

// fresh reports whether rights may be decided here: a node that was cut off may not know that a grant was removed.
func (c *controlPlane) fresh() bool { return c.freshness.holds() }
