package bench

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// fake is a target that answers at once, or fails from a certain message on.
type fake struct {
	mailboxes int
	sent      atomic.Int64
	inFlight  atomic.Int64
	most      atomic.Int64
	keys      atomic.Int64
	failFrom  int64
	holds     int64       // this message is answered by who receives from held
	held      chan func() // nil: none is
}

func (f *fake) Open(_ context.Context, n int) error             { f.mailboxes = n; return nil }
func (f *fake) Close() error                                    { return nil }
func (f *fake) Sender(context.Context) (Sender, error)          { return fakeSender{f}, nil }
func (f *fake) Receiver(context.Context, int) (Receiver, error) { return nil, errors.ErrUnsupported }

type fakeSender struct{ *fake }

func (s fakeSender) Send(_ context.Context, mailbox int, body []byte, key string, done func(error)) {
	if mailbox < 0 || mailbox >= s.mailboxes || len(body) == 0 {
		panic("load outside its bounds")
	}
	if key != "" {
		s.keys.Add(1)
	}
	n := s.inFlight.Add(1)
	for most := s.most.Load(); n > most && !s.most.CompareAndSwap(most, n); most = s.most.Load() {
	}
	number := s.sent.Add(1)
	if s.held != nil && number == s.holds {
		s.held <- func() { s.answer(number, done) }
		return
	}
	s.answer(number, done)
}

func (f *fake) answer(number int64, done func(error)) {
	f.inFlight.Add(-1)
	if f.failFrom > 0 && number >= f.failFrom {
		done(errFake)
	} else {
		done(nil)
	}
}

var errFake = errors.New("fake failure")

// One message that is not answered takes one place of those in flight, and not those of all behind it.
func TestOneIsNotAnswered(t *testing.T) {
	o := Options{Size: 1, Senders: 1, InFlight: 2, Mailboxes: 1, Duration: 20 * time.Millisecond, Runs: 1}
	f := &fake{holds: 2, held: make(chan func(), 1)} // the first one opens a session
	var before int64
	answered := make(chan struct{})
	go func() {
		defer close(answered)
		release := <-f.held
		// Returns at once where others go on; where they do not, the time is only how long the failure takes.
		for begun := time.Now(); f.sent.Load() < 100 && time.Since(begun) < 5*time.Second; {
			time.Sleep(time.Millisecond)
		}
		before = f.sent.Load()
		release()
	}()
	if _, err := Send(t.Context(), f, o); err != nil {
		t.Fatal(err)
	}
	<-answered
	if before < 100 {
		t.Errorf("%d messages were sent beside one without an answer", before)
	}
	if n := f.inFlight.Load(); n != 0 {
		t.Errorf("%d messages have no answer at the end", n)
	}
}

// Whoever gives up does not wait for answers that do not come.
func TestSendEndsWithItsContext(t *testing.T) {
	o := Options{Size: 1, Senders: 1, InFlight: 2, Mailboxes: 1, Duration: time.Hour, Runs: 1}
	f := &fake{holds: 2, held: make(chan func(), 1)}
	ctx, cancel := context.WithCancel(t.Context())
	go func() { <-f.held; cancel() }()
	if _, err := Send(ctx, f, o); !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
}

func TestSend(t *testing.T) {
	f := &fake{}
	o := Options{
		Size: 100, Senders: 3, InFlight: 7, Mailboxes: 20, Keyed: true, Duration: 20 * time.Millisecond, Runs: 3, Seed: 1,
	}
	r, err := Send(t.Context(), f, o)
	if err != nil {
		t.Fatal(err)
	}
	var messages int64
	for i, run := range r.Runs {
		messages += run.Messages
		if run.Messages == 0 || run.PerSec <= 0 || run.LatencyUS.Max < run.LatencyUS.P50 || run.Errors != 0 {
			t.Errorf("run %d: %+v", i, run)
		}
		if run.CPUPerMillion != 0 || run.DiskBytesPerPayloadByte != 0 {
			t.Errorf("run %d has figures that nobody measured: %+v", i, run)
		}
	}
	if messages > f.sent.Load() || len(r.Runs) != 3 || r.PerSecMin > r.PerSecMedian || r.PerSecMedian > r.PerSecMax {
		t.Errorf("%d messages counted of %d sent: %+v", messages, f.sent.Load(), r)
	}
	if most := f.most.Load(); most > int64(o.Senders*o.InFlight) {
		t.Errorf("%d in flight", most)
	}
	if f.keys.Load() == 0 {
		t.Error("keyed load without keys")
	}
}

func TestSendStopsAtFailure(t *testing.T) {
	o := Options{Size: 1, Senders: 2, InFlight: 2, Duration: time.Hour, Runs: 1}
	if _, err := Send(t.Context(), &fake{failFrom: 1000}, o); !errors.Is(err, errFake) {
		t.Fatal(err)
	}
	if _, err := Send(t.Context(), &fake{failFrom: 1}, o); !errors.Is(err, errFake) {
		t.Fatal(err)
	}
}

func TestUsage(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "f"), make([]byte, 1<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	u, err := UsageOf([]int{os.Getpid()}, []string{dir})
	if errors.Is(err, errors.ErrUnsupported) {
		t.Skip(err)
	}
	if err != nil || u.RSSBytes < 1<<20 || u.DiskBytes < 1<<19 {
		t.Fatalf("%+v, %v", u, err)
	}
}

func TestFdatasync(t *testing.T) {
	dir := t.TempDir()
	d, err := FdatasyncP50(dir)
	if err != nil || d <= 0 {
		t.Fatal(d, err)
	}
	if left, _ := os.ReadDir(dir); len(left) != 0 {
		t.Fatal("left a file behind")
	}
}

func TestMemoryRead(t *testing.T) {
	if d := MemoryRead(); d <= 0 || d > time.Millisecond {
		t.Fatal(d)
	}
}
