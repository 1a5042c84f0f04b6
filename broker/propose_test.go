package broker

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/sealmq/sealmq/broker/machine"
	"github.com/sealmq/sealmq/raftlog"
)

// fakeLog answers entries when it is told to.
type fakeLog struct {
	mu      sync.Mutex
	entries []*fakeProposal
}

type fakeProposal struct {
	data   []byte
	done   chan struct{}
	result any
	err    error
}

func (p *fakeProposal) Wait(context.Context) (any, uint64, uint64, error) {
	<-p.done
	return p.result, 0, 0, p.err
}

func (l *fakeLog) propose(data []byte) proposal {
	p := &fakeProposal{data: data, done: make(chan struct{})}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.entries = append(l.entries, p)
	return p
}

// answer answers the nth entry with n outcomes that are all alike, or an error.
func (l *fakeLog) answer(i, n int, code machine.Code, err error) {
	l.mu.Lock()
	p := l.entries[i]
	l.mu.Unlock()
	outcomes := make([]machine.Outcome, n)
	for i := range outcomes {
		outcomes[i].Code = code
	}
	p.result, p.err = outcomes, err
	close(p.done)
}

func (l *fakeLog) len() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.entries)
}

func (l *fakeLog) proposer(limit int) *proposer {
	return newProposer(proposerOptions{
		propose: l.propose, control: func() uint64 { return 7 }, now: func() int64 { return 1 },
		asked:  new(atomic.Int64),
		commit: prometheus.NewHistogram(prometheus.HistogramOpts{}), limitBytes: limit,
	})
}

// told collects what completions are told.
type told struct {
	mu  sync.Mutex
	all []string
}

func (l *told) as(name string) completion { return toldOne{l, name} }

type toldOne struct {
	to   *told
	name string
}

func (o toldOne) done(outcome *machine.Outcome, err error) {
	o.to.mu.Lock()
	defer o.to.mu.Unlock()
	if err != nil {
		o.to.all = append(o.to.all, o.name+": "+err.Error())
	} else {
		o.to.all = append(o.to.all, o.name+" "+outcome.Code.String())
	}
}

func (l *told) take() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	all := l.all
	l.all = nil
	return all
}

func TestProposerBatchesWhileTheLogIsBusy(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log, l := &fakeLog{}, &told{}
		p := log.proposer(1 << 20)
		add := func(name string) {
			if err := p.addAll(nil, proposed{say(name), l.as(name)}); err != nil {
				t.Fatal(err)
			}
		}
		add("alone")
		synctest.Wait()
		for i := range 5 {
			add(fmt.Sprint("batch", i))
		}
		synctest.Wait()
		if log.len() != 1 {
			t.Fatalf("%d entries are on their way", log.len())
		}
		log.answer(0, 1, machine.CodeOK, nil)
		synctest.Wait()
		if got := l.take(); !slices.Equal(got, []string{"alone ok"}) {
			t.Errorf("told: %v", got)
		}
		if log.len() != 2 {
			t.Fatalf("five commands became %d entries", log.len()-1)
		}
		add("after")
		log.answer(1, 5, machine.CodeFull, nil)
		synctest.Wait()
		if got := l.take(); len(got) != 5 || got[4] != "batch4 full" {
			t.Errorf("told: %v", got)
		}
		log.answer(2, 1, machine.CodeOK, nil)
		synctest.Wait()
		if got := l.take(); !slices.Equal(got, []string{"after ok"}) {
			t.Errorf("told: %v", got)
		}
		if held := p.held(); held != 0 {
			t.Errorf("%d bytes are still held", held)
		}
		p.close()
	})
}

// The cache keeps entries and counts their length: one that is small must not hold the room of a large one.
func TestProposerGivesRoomBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log, l := &fakeLog{}, &told{}
		p := log.proposer(4 * entryClosesAt)
		for i, text := range []string{string(make([]byte, entryClosesAt)), "small"} {
			if err := p.addAll(nil, proposed{say(text), l.as(text)}); err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
			if data := log.entries[i].data; cap(data) > 4*len(data) {
				t.Errorf("an entry of %d bytes holds %d", len(data), cap(data))
			}
			log.answer(i, 1, machine.CodeOK, nil)
			synctest.Wait()
		}
		p.close()
	})
}

func TestProposerTellsEverybodyOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log, l := &fakeLog{}, &told{}
		p := log.proposer(1 << 20)
		p.addAll(nil, proposed{say("a"), l.as("a")})
		synctest.Wait()
		p.addAll(nil, proposed{say("b"), l.as("b")})
		log.answer(0, 1, machine.CodeOK, raftlog.ErrLeadershipLost)
		synctest.Wait()
		p.addAll(nil, proposed{say("c"), l.as("c")})
		p.addNow(say("d"), l.as("d"))
		log.answer(1, 3, machine.CodeOK, nil) // of another number of commands
		synctest.Wait()
		log.answer(2, 2, machine.CodeOK, raftlog.ErrShutdown)
		p.close()
		want := []string{
			"a: " + raftlog.ErrLeadershipLost.Error(), "b: " + errOutcomeLost.Error(),
			"c: " + raftlog.ErrShutdown.Error(),
			"d: " + raftlog.ErrShutdown.Error(),
		}
		if got := l.take(); !slices.Equal(got, want) {
			t.Errorf("told: %v", got)
		}
		if err := p.addAll(nil, proposed{say("e"), l.as("e")}); !errors.Is(err, raftlog.ErrShutdown) {
			t.Errorf("after close: %v", err)
		}
		if got := l.take(); got != nil {
			t.Errorf("told, though refused: %v", got)
		}
	})
}

func TestProposerMakesWaitAndRefuses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log, l := &fakeLog{}, &told{}
		p := log.proposer(entryClosesAt)
		big := string(make([]byte, entryClosesAt))
		if err := p.addAll(nil, proposed{say(big), l.as("big")}); err != nil {
			t.Fatal(err)
		}
		// What gives memory back goes past.
		if err := p.addRelief(nil, proposed{say("ack"), l.as("ack")}); err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		if err := p.addAll(nil, proposed{say("x"), l.as("x")}); !errors.Is(err, raftlog.ErrUnavailable) {
			t.Fatalf("above the limit: %v", err)
		}
		if took := time.Since(began); took != admitTime {
			t.Errorf("refused after %v", took)
		}
		go func() {
			time.Sleep(time.Second)
			log.answer(0, 1, machine.CodeOK, nil)
		}()
		if err := p.addAll(nil, proposed{say("y"), l.as("y")}); err != nil {
			t.Errorf("when there is room again: %v", err)
		}
		// Refusing ends the wait of who waits.
		if err := p.addAll(nil, proposed{say(big), l.as("big2")}); err != nil {
			t.Fatal(err)
		}
		go func() {
			time.Sleep(time.Second)
			p.refuse()
		}()
		if err := p.addAll(nil, proposed{say("z"), l.as("z")}); !errors.Is(err, raftlog.ErrShutdown) {
			t.Errorf("when it takes no more: %v", err)
		}
		synctest.Wait()
		for i := 1; i < log.len(); i++ {
			log.answer(i, 1, machine.CodeOK, raftlog.ErrShutdown)
			synctest.Wait()
		}
		p.close()
		got := l.take()
		slices.Sort(got)
		if len(got) != 4 {
			t.Errorf("told: %v", got)
		}
	})
}

// TestProposerKeepsTogether: commands that belong together are not parted by others.
func TestProposerKeepsTogether(t *testing.T) {
	header := len(machine.AppendEntryHeader(nil, 1, 7))
	var all []byte
	l := &told{}
	p := newProposer(proposerOptions{
		// Every command is one byte, and every entry is answered at once.
		propose: func(data []byte) proposal {
			all = append(all, data[header:]...)
			answered := &fakeProposal{done: make(chan struct{}), result: make([]machine.Outcome, len(data)-header)}
			close(answered.done)
			return answered
		},
		control: func() uint64 { return 7 }, now: func() int64 { return 1 }, asked: new(atomic.Int64),
		commit: prometheus.NewHistogram(prometheus.HistogramOpts{}), limitBytes: 1 << 20,
	})
	var adding sync.WaitGroup
	for i := range 8 {
		adding.Go(func() {
			name := string(rune('a' + i))
			for range 100 {
				p.addAll(nil, proposed{say(name), l.as(name)}, proposed{say(name), l.as(name)})
			}
		})
	}
	adding.Wait()
	p.close()
	if len(all) != 1600 || len(l.take()) != 1600 {
		t.Fatalf("%d commands came", len(all))
	}
	for i := 0; i < len(all); i += 2 {
		if all[i] != all[i+1] {
			t.Fatalf("at %d stands %s", i, all[i:i+2])
		}
	}
}
