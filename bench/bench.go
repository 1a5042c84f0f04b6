// Package bench drives a broker with the same load that every other broker gets, and reports what it measured.
//
// It knows workloads, clocks, histograms and how to read what a process has used. It must not know how anything inside
// a broker is done: a workload speaks to a Target and no workload is written twice.
//
// Laws:
//
//   - No figure is assumed: what was not measured is absent from the report.
//   - A message counts when it was acknowledged, in the run in which that happened, and its latency runs from the
//     moment it was handed to the client.
//   - The machine's own limit is measured beside the figure, on the same disk in the same minute.
//   - Load is random bytes and random choices from a seed that the report names.
package bench

import (
	"context"
	"fmt"
	"time"
)

// Target is a broker under load. Its methods are called from one goroutine.
type Target interface {
	// Open connects and makes sure that this many mailboxes are there, ready for sealed messages.
	Open(ctx context.Context, mailboxes int) error
	// Sender is a connection of its own that sends to all of the mailboxes.
	Sender(ctx context.Context) (Sender, error)
	// Receiver receives from one of them.
	Receiver(ctx context.Context, mailbox int) (Receiver, error)
	Close() error
}

// Sender sends without waiting. Send may be called by several goroutines.
type Sender interface {
	// Send hands a message over. done is told its result once: nil when it is acknowledged. An empty key leaves the id to
	// the client.
	Send(ctx context.Context, mailbox int, body []byte, key string, done func(error))
	Close() error
}

// Receiver takes messages.
type Receiver interface {
	Receive(ctx context.Context, most int) ([]Received, error)
	// Ack returns when all of them are acknowledged for good.
	Ack(ctx context.Context, messages []Received) error
	Close() error
}

// Received is a message under a lease.
type Received interface{ Body() []byte }

// Options are the settings of a run.
type Options struct {
	Size      int           // bytes of a body
	Senders   int           // each with a connection of its own
	InFlight  int           // unanswered messages of each sender
	Mailboxes int           // chosen uniformly; as many as senders unless set
	Keyed     bool          // ids from application keys instead of counters
	Warmup    time.Duration // load before the first run
	Duration  time.Duration // of one run
	Runs      int
	Seed      uint64

	// Usage looks at what the target has used so far; nil when it cannot be seen from here.
	Usage func() (Usage, error)
	// Progress is told what is going on.
	Progress func(format string, args ...any)
}

// Check fills in what is not set and says what cannot be measured.
func (o *Options) Check() error {
	if o.Mailboxes == 0 {
		o.Mailboxes = o.Senders
	}
	for name, n := range map[string]int{
		"size": o.Size, "senders": o.Senders, "inflight": o.InFlight, "mailboxes": o.Mailboxes, "runs": o.Runs,
	} {
		if n <= 0 {
			return fmt.Errorf("%s must be above zero", name)
		}
	}
	if o.Duration <= 0 || o.Warmup < 0 {
		return fmt.Errorf("duration must be above zero and warmup not below it")
	}
	if o.Progress == nil {
		o.Progress = func(string, ...any) {}
	}
	return nil
}
