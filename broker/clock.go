package broker

import (
	"sync"
	"time"
)

// slewPart bounds the slewing of the clock: it runs at most 1/slewPart faster or slower than the monotonic clock.
const slewPart = 8

// clock stamps commands. It goes at the monotonic clock's rate and is slewed towards the wall clock: one that is set
// while the process runs, or that was wrong when it started, never ends a lease at a stroke, and is followed in the
// end. It never goes back.
type clock struct {
	monotonic func() time.Duration // since some moment
	wall      func() time.Time

	mu   sync.Mutex
	at   time.Duration // of the last look
	time int64         // unix ns, at that look
}

func newClock() *clock {
	start := time.Now()
	return clockOf(func() time.Duration { return time.Since(start) }, time.Now)
}

func clockOf(monotonic func() time.Duration, wall func() time.Time) *clock {
	return &clock{monotonic: monotonic, wall: wall, at: monotonic(), time: wall().UnixNano()}
}

// now returns unix milliseconds.
func (c *clock) now() int64 {
	at, wall := c.monotonic(), c.wall().UnixNano()
	c.mu.Lock()
	defer c.mu.Unlock()
	if passed := int64(at - c.at); passed > 0 {
		c.at = at
		c.time += passed
		most := passed / slewPart
		c.time += min(max(wall-c.time, -most), most)
	}
	return c.time / int64(time.Millisecond)
}
