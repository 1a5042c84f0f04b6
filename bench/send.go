package bench

import (
	"context"
	"fmt"
	"math/rand/v2"
	"runtime"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// Send is the workload of durable sends: every sender keeps its number of messages in flight, to mailboxes chosen
// uniformly, from the warm-up to the end of the last run without a pause.
func Send(ctx context.Context, t Target, o Options) (*Report, error) {
	if err := o.Check(); err != nil {
		return nil, err
	}
	report := newReport("send", o)
	o.Progress("making %d mailboxes", o.Mailboxes)
	defer t.Close()
	if err := t.Open(ctx, o.Mailboxes); err != nil {
		return nil, err
	}
	l := &load{o: o, stop: make(chan struct{}), failed: make(chan error, o.Senders)}
	l.run.Store(warmup)
	senders := make([]Sender, o.Senders)
	for i := range senders {
		s, err := t.Sender(ctx)
		if err != nil {
			return nil, fmt.Errorf("sender %d: %w", i+1, err)
		}
		defer s.Close()
		senders[i] = s
	}
	if err := l.touch(ctx, senders); err != nil {
		return nil, err
	}
	for i, s := range senders {
		l.start(ctx, i, s)
	}
	runs, err := l.measure(ctx)
	close(l.stop)
	l.wait.Wait()
	if err != nil {
		return nil, err
	}
	for i := range runs {
		for _, m := range l.meters {
			m.addTo(&runs[i], i)
		}
	}
	report.Runs = finish(runs, o)
	report.summarize()
	return report, nil
}

// warmup is the run before the first.
const warmup = -1

// load is senders under way. Which run an acknowledgement belongs to is what run says when it arrives.
type load struct {
	o      Options
	run    atomic.Int32
	stop   chan struct{}
	failed chan error
	wait   sync.WaitGroup
	meters []*meter
}

// meter is what one sender measured, a row for each run.
type meter struct {
	mu         sync.Mutex // answers come from several nodes
	histograms []*hdrhistogram.Histogram
	messages   []int64
	errors     []int64
}

func newMeter(runs int) *meter {
	m := &meter{messages: make([]int64, runs), errors: make([]int64, runs)}
	for range runs {
		m.histograms = append(m.histograms, newHistogram())
	}
	return m
}

// touchers is how many messages each sender has under way while sessions are opened. A first message waits for what is
// known about its mailbox.
const touchers = 16

// touch sends one message from every sender to every mailbox: opening an end-to-end session costs a key agreement,
// once for each sender and mailbox, and is not what this workload measures.
func (l *load) touch(ctx context.Context, senders []Sender) error {
	l.o.Progress("opening sessions: %d senders to %d mailboxes", len(senders), l.o.Mailboxes)
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var wait sync.WaitGroup
	for _, s := range senders {
		for first := range min(touchers, l.o.Mailboxes) {
			wait.Go(func() {
				body := make([]byte, l.o.Size)
				for m := first; m < l.o.Mailboxes && ctx.Err() == nil; m += touchers {
					result := make(chan error, 1)
					s.Send(ctx, m, body, "", func(err error) { result <- err })
					select {
					case err := <-result:
						if err != nil {
							cancel(fmt.Errorf("opening sessions: %w", err))
						}
					case <-ctx.Done():
					}
				}
			})
		}
	}
	wait.Wait()
	return context.Cause(ctx)
}

// place is one of the messages that a sender has in flight, after each other.
type place struct {
	began time.Time
	done  func(error)
}

// start puts one sender to work: it hands a message over whenever one of its places is free, whichever of those in
// flight is answered first.
func (l *load) start(ctx context.Context, number int, s Sender) {
	m := newMeter(l.o.Runs)
	l.meters = append(l.meters, m)
	free := make(chan *place, l.o.InFlight)
	for range l.o.InFlight {
		p := &place{}
		p.done = func(err error) {
			m.note(int(l.run.Load()), time.Since(p.began), err)
			if err != nil {
				select {
				case l.failed <- err:
				default:
				}
			}
			free <- p
		}
		free <- p
	}
	l.wait.Go(func() {
		random := rand.New(rand.NewPCG(l.o.Seed, uint64(number)))
		body := make([]byte, l.o.Size)
		for i := range body {
			body[i] = byte(random.Uint32())
		}
		prefix := fmt.Sprintf("%x-%d-", random.Uint64(), time.Now().UnixNano())
		for n := 0; ; n++ {
			var p *place
			select {
			case p = <-free:
			case <-l.stop:
				for range l.o.InFlight { // until every message has its answer
					select {
					case <-free:
					case <-ctx.Done():
						return
					}
				}
				return
			}
			key := ""
			if l.o.Keyed {
				key = prefix + strconv.Itoa(n)
			}
			p.began = time.Now()
			s.Send(ctx, random.IntN(l.o.Mailboxes), body, key, p.done)
		}
	})
}

func (m *meter) note(run int, took time.Duration, err error) {
	if run < 0 || run >= len(m.messages) {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if err != nil {
		m.errors[run]++
		return
	}
	m.messages[run]++
	m.histograms[run].RecordValue(max(1, took.Microseconds()))
}

// stretch is one run while its parts are put together.
type stretch struct {
	Run
	histogram *hdrhistogram.Histogram
	before    sample
	after     sample
}

func (m *meter) addTo(s *stretch, run int) {
	s.Messages += m.messages[run]
	s.Errors += m.errors[run]
	s.histogram.Merge(m.histograms[run])
}

// measure lets the load run through the warm-up and every run, and looks at what is used at each border.
func (l *load) measure(ctx context.Context) ([]stretch, error) {
	l.o.Progress("warming up for %v", l.o.Warmup)
	if err := l.sleep(ctx, l.o.Warmup); err != nil {
		return nil, err
	}
	runs := make([]stretch, l.o.Runs)
	before, err := takeSample(l.o.Usage)
	for i := range runs {
		if err != nil {
			return nil, err
		}
		l.o.Progress("run %d of %d", i+1, l.o.Runs)
		l.run.Store(int32(i))
		if err := l.sleep(ctx, l.o.Duration); err != nil {
			return nil, err
		}
		runs[i].before, runs[i].histogram = before, newHistogram()
		runs[i].after, err = takeSample(l.o.Usage)
		before = runs[i].after
	}
	l.run.Store(int32(l.o.Runs))
	return runs, err
}

func (l *load) sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	case err := <-l.failed:
		return fmt.Errorf("a send failed: %w", err)
	}
}

// sample is what was used up to a moment.
type sample struct {
	at     time.Time
	allocs uint64
	client time.Duration
	busy   time.Duration // of all processors together, by anybody
	usage  Usage
}

func takeSample(usage func() (Usage, error)) (s sample, err error) {
	if usage != nil {
		if s.usage, err = usage(); err != nil {
			return s, err
		}
	}
	s.client, s.busy = ownCPU(), machineCPU()
	var mem runtime.MemStats
	runtime.ReadMemStats(&mem)
	s.allocs = mem.Mallocs
	s.at = time.Now()
	return s, nil
}

// finish turns stretches into rows of the report.
func finish(runs []stretch, o Options) []Run {
	rows := make([]Run, len(runs))
	for i, s := range runs {
		r := s.Run
		r.Seconds = s.after.at.Sub(s.before.at).Seconds()
		r.PerSec = float64(r.Messages) / r.Seconds
		r.LatencyUS = latency(s.histogram)
		if n := float64(r.Messages); n > 0 {
			r.AllocsPerMessage = float64(s.after.allocs-s.before.allocs) / n
			r.ClientCPUPerMillion = (s.after.client - s.before.client).Seconds() / n * 1e6
			r.NodesCPUPerMillion = (s.after.usage.CPU - s.before.usage.CPU).Seconds() / n * 1e6
			if o.Usage != nil {
				r.CPUPerMillion = r.ClientCPUPerMillion + r.NodesCPUPerMillion
				ours := s.after.client - s.before.client + s.after.usage.CPU - s.before.usage.CPU
				r.OthersCPUShare = othersShare(s.after.busy-s.before.busy-ours, s.after.at.Sub(s.before.at))
				r.DiskBytesPerPayloadByte = float64(s.after.usage.DiskBytes-s.before.usage.DiskBytes) / (n * float64(o.Size))
			}
			r.RSSBytes = s.after.usage.RSSBytes
		}
		rows[i] = r
	}
	return rows
}

// othersShare is a time on processors as a part of what all processors had, nothing where it was not measured.
func othersShare(others, wall time.Duration) float64 {
	return max(0, others.Seconds()/(wall.Seconds()*float64(runtime.NumCPU())))
}
