//go:build unix

package client

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

func cpuSeconds() float64 {
	var u syscall.Rusage
	syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return float64(u.Utime.Sec+u.Stime.Sec) + float64(u.Utime.Usec+u.Stime.Usec)/1e6
}

func BenchmarkSenders(b *testing.B) {
	for _, mailboxes := range []int{4, 1000} {
		b.Run(fmt.Sprintf("mailboxes=%d", mailboxes), func(b *testing.B) { benchmarkSenders(b, mailboxes) })
	}
}

// benchmarkSenders runs four senders with 500 messages of 1 KiB under way each. The figure counts both sides.
func benchmarkSenders(b *testing.B, mailboxes int) {
	f := startFake(b, 1, true)
	f.sink = true
	owner, alice := f.client(b, "owner"), f.client(b, "alice")
	ctx := context.Background()
	senders := make([]*Sender, mailboxes)
	for i := range senders {
		name := fmt.Sprintf("box%d", i)
		mustCreate(b, owner, name)
		senders[i] = alice.Sender(name)
		if _, err := senders[i].Send(ctx, nil).Wait(ctx); err != nil {
			b.Fatal(err)
		}
	}
	body := make([]byte, 1024)
	var left atomic.Int64
	left.Store(int64(b.N))
	b.SetBytes(1024)
	b.ReportAllocs()
	b.ResetTimer()
	began, cpu := time.Now(), cpuSeconds()
	var all sync.WaitGroup
	for g := range 4 {
		all.Go(func() {
			window := make(chan *Pending, 500)
			var drained sync.WaitGroup
			drained.Go(func() {
				for p := range window {
					if _, err := p.Wait(ctx); err != nil {
						b.Error(err)
					}
				}
			})
			for i := g; left.Add(-1) >= 0; i += 4 {
				window <- senders[i%mailboxes].Send(ctx, body)
			}
			close(window)
			drained.Wait()
		})
	}
	all.Wait()
	b.StopTimer()
	b.ReportMetric(float64(b.N)/time.Since(began).Seconds(), "msg/s")
	b.ReportMetric((cpuSeconds()-cpu)*1e9/float64(b.N), "cpu-ns/msg")
}

// BenchmarkSubscribe delivers messages of 1 KiB from memory to a handler that does nothing. The figure counts both
// sides; the node leases and settles.
func BenchmarkSubscribe(b *testing.B) {
	f := startFake(b, 1, true)
	f.undated = true
	alice, bob := f.client(b, "alice"), f.client(b, "bob")
	mustCreate(b, bob, "box")
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	s := alice.Sender("box")
	body := make([]byte, 1024)
	for range b.N {
		s.Send(ctx, body)
	}
	if err := s.Flush(ctx); err != nil {
		b.Fatal(err)
	}
	var got atomic.Int64
	b.SetBytes(1024)
	b.ReportAllocs()
	b.ResetTimer()
	cpu := cpuSeconds()
	err := bob.Subscribe(ctx, "box", func(context.Context, *Message) error {
		if got.Add(1) == int64(b.N) {
			b.StopTimer()
			b.ReportMetric((cpuSeconds()-cpu)*1e9/float64(b.N), "cpu-ns/msg")
			cancel()
		}
		return nil
	}, Concurrency(2), Prefetch(1024, 4<<20))
	if err != nil {
		b.Fatal(err)
	}
}
