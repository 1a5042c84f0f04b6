package broker

import (
	"bytes"
	"errors"
	"io"
	"sync"
	"testing"
	"testing/synctest"
)

func say(text string) func([]byte) []byte {
	return func(dst []byte) []byte { return append(dst, text...) }
}

// slowWriter writes when it is told to.
type slowWriter struct {
	go_ chan error
	got bytes.Buffer
}

func (w *slowWriter) Write(b []byte) (int, error) {
	if err := <-w.go_; err != nil {
		return 0, err
	}
	return w.got.Write(b)
}

func TestOutboxWritesAllInOrder(t *testing.T) {
	all := &budget{limitBytes: 1 << 20}
	o := newOutbox(all)
	var got bytes.Buffer
	done := make(chan error)
	go func() { done <- o.run(&got) }()
	var want bytes.Buffer
	var mu sync.Mutex
	var writers sync.WaitGroup
	for i := range 10 {
		writers.Go(func() {
			for range 1000 {
				mu.Lock()
				want.WriteByte('a' + byte(i))
				o.append(say(string(rune('a' + i))))
				mu.Unlock()
			}
		})
	}
	writers.Wait()
	o.close()
	if err := <-done; err != nil || got.String() != want.String() {
		t.Errorf("%v; %d of %d bytes in order", err, got.Len(), want.Len())
	}
	if o.append(say("x")) == nil || o.room() == nil {
		t.Error("a closed outbox takes more")
	}
	if used := all.used.Load(); used != 0 {
		t.Errorf("%d bytes are still counted", used)
	}
}

func TestOutboxRoom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		all := &budget{limitBytes: 10 << 20}
		o := newOutbox(all)
		w := &slowWriter{go_: make(chan error)}
		ended := make(chan error, 1)
		go func() { ended <- o.run(w) }()
		big := string(make([]byte, outboxBytes))
		o.append(say(big))
		synctest.Wait() // it is being written
		o.append(say("x"))
		room := make(chan error, 1)
		go func() { room <- o.room() }()
		synctest.Wait()
		select {
		case <-room:
			t.Fatal("there is room above the limit")
		default:
		}
		w.go_ <- nil // what is being written counts until it is written
		synctest.Wait()
		if err := <-room; err != nil {
			t.Fatal(err)
		}

		// The share of one is small while all together hold too much.
		w.go_ <- nil
		synctest.Wait()
		all.add(20 << 20)
		o.append(say(string(make([]byte, outboxShare+1))))
		go func() { room <- o.room() }()
		synctest.Wait()
		select {
		case <-room:
			t.Fatal("there is room above the share")
		default:
		}
		// An error ends it, for who waits too.
		w.go_ <- io.ErrClosedPipe
		if err := <-room; !errors.Is(err, errOutboxClosed) {
			t.Errorf("room: %v", err)
		}
		if err := <-ended; !errors.Is(err, io.ErrClosedPipe) {
			t.Errorf("run: %v", err)
		}
		if used := all.used.Load(); used != 20<<20 {
			t.Errorf("%d bytes are still counted", used-20<<20)
		}
	})
}

// TestOutboxNeverBlocksWhoAnswers: append goes on however much waits.
func TestOutboxNeverBlocksWhoAnswers(t *testing.T) {
	o := newOutbox(&budget{})
	for range 100 {
		if err := o.append(say(string(make([]byte, 100_000)))); err != nil {
			t.Fatal(err)
		}
	}
}
