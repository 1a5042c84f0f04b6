package client

import (
	"context"
	"sync"
	"time"
)

// flight is work that is done once for all who want it at the same time. Whoever stops waiting does not stop the work.
type flight[T any] struct {
	mu  sync.Mutex
	now *flying[T]
}

type flying[T any] struct {
	done  chan struct{}
	value T
	err   error
}

// do returns the result of work that was under way or is begun now. work ends with the client, or after a while.
func (f *flight[T]) do(ctx context.Context, c *Client, work func(context.Context) (T, error)) (T, error) {
	f.mu.Lock()
	w := f.now
	if w == nil {
		w = &flying[T]{done: make(chan struct{})}
		f.now = w
		f.mu.Unlock()
		if !c.start(func() { f.run(c, w, work) }) {
			w.err = definite(CodeClosed, errClosed, "")
			f.finish(w)
		}
	} else {
		f.mu.Unlock()
	}
	select {
	case <-w.done:
		return w.value, w.err
	case <-ctx.Done():
		var none T
		return none, ended(context.Cause(ctx), nil, false)
	}
}

// flightTimeout ends work that nobody may be waiting for any more.
const flightTimeout = 15 * time.Second

func (f *flight[T]) run(c *Client, w *flying[T], work func(context.Context) (T, error)) {
	ctx, cancel := context.WithTimeout(c.ctx, flightTimeout)
	defer cancel()
	w.value, w.err = work(ctx)
	f.finish(w)
}

func (f *flight[T]) finish(w *flying[T]) {
	f.mu.Lock()
	f.now = nil
	f.mu.Unlock()
	close(w.done)
}
