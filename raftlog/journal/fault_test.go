package journal_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"

	"github.com/sealmq/sealmq/internal/testkit"
	"github.com/sealmq/sealmq/raftlog/journal"
)

// Every k-th call that changes the disk fails, once, with EIO, ENOSPC or as a short write, or all fail from it on. From
// then on nothing is acknowledged and Fatal has been called once; what was acknowledged before is there after a power
// cut. ENOSPC while a segment is being reserved is the exception: nothing is written and the journal lives.
func TestFaultAtEveryCall(t *testing.T) {
	faults := map[string]*hitter{
		"EIO":          {fault: testkit.Fault{Err: syscall.EIO}},
		"EIO for good": {fault: testkit.Fault{Err: syscall.EIO}, forGood: true},
		"ENOSPC":       {fault: testkit.Fault{Err: syscall.ENOSPC}},
		"short write":  {fault: testkit.Fault{Short: true}},
	}
	for name, hit := range faults {
		t.Run(name, func(t *testing.T) {
			step := 7
			if testkit.Long(t) {
				step = 1
			}
			for k := 0; ; k += step {
				h := &hitter{fault: hit.fault, forGood: hit.forGood, k: k}
				if !faultRun(t, h, k) {
					if k == 0 {
						t.Fatal("the fault never came")
					}
					return
				}
			}
		})
	}
}

// faultRun works with a fault at the k-th call, and reports whether there were so many calls.
func faultRun(t *testing.T, hit *hitter, k int) bool {
	t.Helper()
	rng := rand.New(rand.NewPCG(uint64(k), 3))
	files := testkit.NewCrashFS()
	o := options(t, files)
	var fatal atomic.Int32
	o.Fatal = func(error) { fatal.Add(1) }
	if err := journal.Create(o); err != nil {
		t.Fatal(err)
	}
	w := newWorld(2)
	files.Hook(hit.hook)

	j, err := journal.Open(o)
	if err == nil {
		err = w.run(j, rng, 25)
		alive := (hit.op == testkit.OpCreate && errors.Is(hit.fault.Err, syscall.ENOSPC)) || hit.op == ""
		checkPoison(t, j, w, fatal.Load(), alive, fmt.Sprintf("%s of %s at call %d: %v", hit.op, hit.name, k, err))
		if err := j.Close(); err == nil == (fatal.Load() > 0) {
			t.Errorf("call %d: Close returned %v after %d failures", k, err, fatal.Load())
		}
	}
	files.Hook(nil)
	if hit.op == "" {
		return false
	}
	for _, percent := range []int{0, 50, 100} {
		o := o
		o.FS = files.PowerCut(rng, percent)
		o.Fatal = func(err error) { t.Errorf("after the restart: %v", err) }
		j, err := journal.Open(o)
		if err != nil {
			t.Fatalf("call %d (%s of %s), %d %% kept: %v", k, hit.op, hit.name, percent, err)
		}
		if err := w.clone().check(j); err != nil {
			t.Errorf("call %d (%s of %s), %d %% kept: %v", k, hit.op, hit.name, percent, err)
		}
		if err := j.Close(); err != nil {
			t.Error(err)
		}
	}
	return true
}

func checkPoison(t *testing.T, j *journal.Journal, w *world, fatal int32, alive bool, what string) {
	t.Helper()
	switch {
	case alive && fatal > 0:
		t.Errorf("%s: the journal failed", what)
	case fatal > 1:
		t.Errorf("%s: Fatal was called %d times", what, fatal)
	case fatal == 1:
		if err := j.Group(0).SetTerm(w.groups[0].acked.term + 100); !errors.Is(err, journal.ErrFailed) {
			t.Errorf("%s: a later call returned %v", what, err)
		}
		if !j.Stats().Failed {
			t.Errorf("%s: the failure does not show", what)
		}
	}
}

// hitter makes the k-th call fail that changes the disk, and those after it if it is for good.
type hitter struct {
	fault   testkit.Fault
	forGood bool
	k       int

	mu    sync.Mutex
	calls int
	op    testkit.Op // the call that failed first
	name  string
}

func (h *hitter) hook(op testkit.Op, name string) testkit.Fault {
	if !op.Changes() || (h.fault.Short && op != testkit.OpWrite) {
		return testkit.Fault{}
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.calls++
	switch {
	case h.calls == h.k+1:
		h.op, h.name = op, name
	case h.calls <= h.k || !h.forGood:
		return testkit.Fault{}
	}
	return h.fault
}

// A disk that is full refuses entries and nothing else; it takes them again when there is space. Terms and votes go on.
func TestNoSpaceIsAState(t *testing.T) {
	files := testkit.NewCrashFS()
	o := options(t, files)
	j := openNew(t, o)
	var full atomic.Bool
	files.Hook(func(op testkit.Op, _ string) testkit.Fault {
		if op == testkit.OpCreate && full.Load() {
			return testkit.Fault{Err: syscall.ENOSPC}
		}
		return testkit.Fault{}
	})
	full.Store(true)
	g := j.Group(1)
	data := make([]byte, 5000)
	index := uint64(0)
	var err error
	for index < 1000 {
		if err = g.Append([]journal.Entry{{Index: index + 1, Term: 1, Data: data}}); err != nil {
			break
		}
		index++
	}
	if !errors.Is(err, journal.ErrNoSpace) {
		t.Fatalf("entry %d: %v, want ErrNoSpace", index+1, err)
	}
	if !j.Stats().NoSpace {
		t.Error("the full disk does not show")
	}
	for term := uint64(1); term <= 5; term++ {
		if err := g.SetVote(term, "n1"); err != nil {
			t.Fatalf("a vote on a full disk: %v", err)
		}
	}
	if g.LastIndex() != index {
		t.Errorf("last index %d, want %d", g.LastIndex(), index)
	}
	full.Store(false)
	if err := g.Append([]journal.Entry{{Index: index + 1, Term: 1, Data: data}}); err != nil {
		t.Fatalf("after space came back: %v", err)
	}
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	j, err = journal.Open(o)
	if err != nil {
		t.Fatal(err)
	}
	defer j.Close()
	if g := j.Group(1); g.LastIndex() != index+1 || g.Term() != 5 {
		t.Errorf("last index %d and term %d after the restart, want %d and 5", g.LastIndex(), g.Term(), index+1)
	}
}

// An append that is written in parts leaves no gap when the first part is refused and there is space for the next.
func TestRefusedPartRefusesTheRest(t *testing.T) {
	files := testkit.NewCrashFS()
	o := options(t, files)
	o.SpareSegments = -1
	j := openNew(t, o)
	defer j.Close()
	g := j.Group(1)
	if err := g.Append([]journal.Entry{{Index: 1, Term: 1}}); err != nil {
		t.Fatal(err)
	}
	hit := &hitter{fault: testkit.Fault{Err: syscall.ENOSPC}}
	files.Hook(hit.hook)
	var entries []journal.Entry
	for i := range uint64(4) {
		entries = append(entries, journal.Entry{Index: i + 2, Term: 1, Data: make([]byte, 3<<20)})
	}
	if err := g.Append(entries); !errors.Is(err, journal.ErrNoSpace) {
		t.Errorf("%v, want ErrNoSpace", err)
	}
	files.Hook(nil)
	if last := g.LastIndex(); last != 1 {
		t.Errorf("entries up to %d are there, want 1", last)
	}
	if err := g.Append(entries); err != nil || g.LastIndex() != 5 {
		t.Errorf("last index %d, %v", g.LastIndex(), err)
	}
}

// On a full disk the reserved segments are used up, and restarts work, while there are any.
func TestFullDiskUsesSpares(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		files := testkit.NewCrashFS()
		o := options(t, files)
		o.SpareSegments = 4
		j := openNew(t, o)
		synctest.Wait()
		if n := j.Stats().SpareSegments; n != 4 {
			t.Fatalf("%d spares, want 4", n)
		}
		full := func(op testkit.Op, _ string) testkit.Fault {
			if op == testkit.OpCreate {
				return testkit.Fault{Err: syscall.ENOSPC}
			}
			return testkit.Fault{}
		}
		files.Hook(full)
		appendOne(t, j, 1, specimenData) // larger than a segment
		appendOne(t, j, 2, specimenData)
		if n := j.Stats().Rolls; n != 1 {
			t.Errorf("%d segments ended, want 1", n)
		}
		if err := j.Close(); err != nil {
			t.Fatal(err)
		}
		j, err := journal.Open(o)
		if err != nil {
			t.Fatalf("restart on a full disk: %v", err)
		}
		appendOne(t, j, 3, specimenData)
		appendOne(t, j, 4, specimenData)
		if err := j.Group(1).SetTerm(8); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if s := j.Stats(); s.SpareSegments != 0 || !s.NoSpace {
			t.Errorf("%d spares left, full %v, want 0, true", s.SpareSegments, s.NoSpace)
		}
		if err := j.Close(); err != nil {
			t.Fatal(err)
		}
	})
}
