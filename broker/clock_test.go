package broker

import (
	"testing"
	"time"
)

// fakeTime is both clocks of a machine.
type fakeTime struct {
	monotonic time.Duration
	wall      time.Time
}

func (f *fakeTime) clock() *clock {
	return clockOf(func() time.Duration { return f.monotonic }, func() time.Time { return f.wall })
}

func (f *fakeTime) pass(d time.Duration) { f.monotonic += d; f.wall = f.wall.Add(d) }

func TestClockFollowsTheWallClockSlowly(t *testing.T) {
	f := &fakeTime{wall: time.UnixMilli(1_000_000_000_000)}
	c := f.clock()
	f.pass(1500 * time.Millisecond)
	if got := c.now(); got != 1_000_000_001_500 {
		t.Fatalf("both clocks passed 1.5 s: %d", got)
	}
	f.wall = f.wall.Add(time.Hour) // set by hand
	before := c.now()
	f.pass(8 * time.Second)
	if got := c.now() - before; got != 9000 {
		t.Errorf("8 s after a jump by an hour the clock went on by %d ms, not by 9 s", got)
	}
	for range 10 * 3600 {
		f.pass(time.Second)
		c.now()
	}
	if got := c.now(); got != f.wall.UnixMilli() {
		t.Errorf("after ten hours it is still %d ms off", f.wall.UnixMilli()-got)
	}
}

func TestClockNeverGoesBack(t *testing.T) {
	f := &fakeTime{wall: time.UnixMilli(1_000_000_000_000)}
	c := f.clock()
	f.wall = f.wall.Add(-24 * time.Hour)
	last := c.now()
	for range 100 {
		f.pass(time.Millisecond)
		got := c.now()
		if got < last {
			t.Fatalf("from %d back to %d", last, got)
		}
		last = got
	}
	if last == 1_000_000_000_000 {
		t.Error("it stands still")
	}
}
