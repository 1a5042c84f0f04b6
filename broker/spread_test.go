package broker

import (
	"slices"
	"testing"
	"testing/synctest"
	"time"
)

// TestSpread: an answer waits for nodes that are reached, that of a removal also for the others, until what they know
// has ceased to count.
func TestSpread(t *testing.T) {
	for _, x := range []struct {
		name    string
		reached func(passed time.Duration) []string
		away    func(passed time.Duration) []string
		stops   time.Duration // 0: never
		forAway bool
		from    time.Duration
		want    []string
		known   bool
	}{
		{"all know", nil, nil, 0, true, 0, nil, true},
		{"one is slow", until(time.Second, "n2"), nil, 0, false, time.Second, nil, true},
		{"one is too slow", until(time.Hour, "n2"), nil, 0, false, addSpread, []string{"n2"}, true},
		{"one is away, and not waited for", nil, until(time.Hour, "n3"), 0, false, 0, []string{"n3"}, true},
		{"one is away", nil, until(time.Hour, "n3"), 0, true, removeSpread, []string{"n3"}, true},
		{"one comes back", until(6*time.Second, "n2"), until(5*time.Second, "n3"), 0, true, 6 * time.Second, nil, true},
		{"the node stops", nil, until(time.Hour, "n3"), 3 * time.Second, true, 3 * time.Second, []string{"n3"}, false},
	} {
		synctest.Test(t, func(t *testing.T) {
			began, longest := time.Now(), addSpread
			if x.forAway {
				longest = removeSpread
			}
			s := spread{
				behind: func() (reached, away []string) {
					if x.reached != nil {
						reached = x.reached(time.Since(began))
					}
					if x.away != nil {
						away = x.away(time.Since(began))
					}
					return reached, away
				},
				stops: func() bool { return x.stops > 0 && time.Since(began) >= x.stops },
			}
			late, known := s.wait(longest, x.forAway)
			took := time.Since(began)
			if !slices.Equal(late, x.want) || known != x.known || took < x.from || took > x.from+spreadPauseMax {
				t.Errorf("%s: %v, %v after %v", x.name, late, known, took)
			}
		})
	}
}

func until(end time.Duration, node string) func(time.Duration) []string {
	return func(passed time.Duration) []string {
		if passed < end {
			return []string{node}
		}
		return nil
	}
}

// TestFreshness: what a node knows counts for ten seconds from the question on, by whichever clock goes faster.
func TestFreshness(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var f freshness
		if f.holds() {
			t.Error("a node that has never asked is fresh")
		}
		asked := time.Now()
		time.Sleep(freshFor / 2)
		f.since.Store(&asked)
		if !f.holds() {
			t.Error("not fresh after half the time")
		}
		time.Sleep(freshFor/2 - 1)
		if !f.holds() {
			t.Error("not fresh at the end")
		}
		if time.Sleep(time.Nanosecond); f.holds() {
			t.Error("still fresh")
		}
		if removeSpread <= freshFor {
			t.Error("a removal is answered before nodes that are cut off know nothing")
		}
		// The monotonic clock stood still while the machine slept; here the wall clock alone says how long that was.
		slept := time.Now().Add(-freshFor).Round(0)
		if f.since.Store(&slept); f.holds() {
			t.Error("fresh after a sleep")
		}
	})
}
