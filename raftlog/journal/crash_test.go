package journal_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"

	"github.com/sealmq/sealmq/internal/atrest"
	"github.com/sealmq/sealmq/internal/testkit"
	"github.com/sealmq/sealmq/raftlog/journal"
)

// world drives several groups of one journal at once and knows at every moment what each must hold.
type world struct {
	mu     sync.Mutex
	groups []driven
}

type driven struct {
	acked   model
	pending *step
}

func newWorld(groups int) *world {
	w := &world{groups: make([]driven, groups)}
	for i := range w.groups {
		w.groups[i].acked = newModel()
	}
	return w
}

// drive makes random calls on one group until one fails.
func (w *world) drive(j *journal.Journal, id int, rng *rand.Rand, steps int) error {
	for range steps {
		w.mu.Lock()
		s := randomStep(rng, &w.groups[id].acked)
		w.groups[id].pending = &s
		w.mu.Unlock()
		err := s.run(j.Group(uint16(id)))
		w.mu.Lock()
		if err == nil {
			s.on(&w.groups[id].acked)
			w.groups[id].pending = nil
		}
		w.mu.Unlock()
		if err != nil {
			return fmt.Errorf("%s: %w", s.name, err)
		}
	}
	return nil
}

// run drives all groups at once.
func (w *world) run(j *journal.Journal, rng *rand.Rand, steps int) error {
	errs := make([]error, len(w.groups))
	var wg sync.WaitGroup
	for id := range w.groups {
		seed := rng.Uint64()
		wg.Go(func() { errs[id] = w.drive(j, id, rand.New(rand.NewPCG(seed, 0)), steps) })
	}
	wg.Wait()
	return errors.Join(errs...)
}

// clone is what must be found if the power fails now. The caller holds mu, or nothing runs.
func (w *world) clone() *world {
	c := &world{groups: make([]driven, len(w.groups))}
	for i, g := range w.groups {
		c.groups[i] = driven{acked: g.acked.clone(), pending: g.pending}
	}
	return c
}

// check compares a recovered journal with what was acknowledged, and takes over whatever became of calls that were not.
func (w *world) check(j *journal.Journal) error {
	for id := range w.groups {
		d := &w.groups[id]
		states := []model{d.acked}
		name := "nothing"
		if d.pending != nil {
			states, name = d.pending.outcomes(&d.acked), d.pending.name
		}
		var why []error
		found := false
		for i := range states {
			err := states[i].differs(j.Group(uint16(id)))
			if err == nil {
				d.acked, d.pending, found = states[i], nil, true
				break
			}
			why = append(why, err)
		}
		if !found {
			return fmt.Errorf("group %d, with %s under way, is in no state that it may be in: %w", id, name, errors.Join(why...))
		}
	}
	return nil
}

func options(t testing.TB, files journal.FS) journal.Options {
	return journal.Options{Dir: "/j", FS: files, Ring: ring(t), Store: atrest.NewStoreID(atrest.StoreJournal),
		SegmentBytes: 64 << 10, SpareSegments: 2,
		Fatal: func(err error) { t.Errorf("journal failed: %v", err) }}
}

// The process is killed or the power is cut, again and again, at random calls of the file system: while opening,
// appending, rolling and closing, with any part of what was not synced. Everything acknowledged is there, nothing else
// is half there.
func TestCrashes(t *testing.T) {
	seeds, rounds := 40, 6
	if testkit.Long(t) {
		seeds = 2000
	}
	for seed := range seeds {
		rng := rand.New(rand.NewPCG(uint64(seed), 1))
		files := testkit.NewCrashFS()
		o := options(t, files)
		if err := journal.Create(o); err != nil {
			t.Fatal(err)
		}
		w := newWorld(3)
		for round := range rounds {
			var err error
			if w, files, err = crashRound(o, w, files, rng); err != nil {
				t.Fatalf("seed %d, round %d: %v", seed, round, err)
			}
		}
	}
}

// crash is one that comes at a random call that changes the disk, with what must be found after it.
type crash struct {
	mu    sync.Mutex
	left  int // calls until it comes
	kill  bool
	world *world
	files *testkit.CrashFS
}

func (c *crash) hook(w *world, files *testkit.CrashFS, rng *rand.Rand) func(testkit.Op, string) testkit.Fault {
	percent := []int{0, 10, 50, 90, 100}[rng.IntN(5)]
	cutRng := rand.New(rand.NewPCG(rng.Uint64(), 2))
	return func(op testkit.Op, _ string) testkit.Fault {
		if !op.Changes() {
			return testkit.Fault{}
		}
		c.mu.Lock()
		defer c.mu.Unlock()
		if c.left--; c.left >= 0 || c.files != nil {
			return testkit.Fault{}
		}
		w.mu.Lock()
		defer w.mu.Unlock()
		c.world = w.clone()
		if c.kill {
			c.files = files.Kill()
		} else {
			c.files = files.PowerCut(cutRng, percent)
		}
		return testkit.Fault{}
	}
}

// crashRound opens, checks, works and closes, and returns the file system as a crash at a random call in all that left
// it, with what must be on it.
func crashRound(o journal.Options, w *world, files *testkit.CrashFS, rng *rand.Rand) (*world, *testkit.CrashFS, error) {
	c := crash{left: rng.IntN(400), kill: rng.IntN(3) == 0}
	files.Hook(c.hook(w, files, rng))
	o.FS = files
	if c.kill {
		o.Fatal = nil
	}
	err := workOnce(o, w, rng)
	files.Hook(nil)
	if c.files == nil {
		c.world, c.files = w, files.PowerCut(nil, 0)
	} else if errors.Is(err, testkit.ErrKilled) {
		err = nil
	}
	return c.world, c.files, err
}

func workOnce(o journal.Options, w *world, rng *rand.Rand) error {
	j, err := journal.Open(o)
	if err != nil {
		return fmt.Errorf("opening: %w", err)
	}
	w.mu.Lock()
	err = w.check(j)
	w.mu.Unlock()
	if err == nil {
		err = w.run(j, rng, 30)
	}
	if closeErr := j.Close(); err == nil {
		err = closeErr
	}
	return err
}
