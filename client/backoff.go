package client

import (
	"context"
	"math/rand/v2"
	"time"
)

const (
	backoffFirst = 10 * time.Millisecond
	backoffMost  = 500 * time.Millisecond
	// defaultTimeout ends calls whose context has no deadline.
	defaultTimeout = 30 * time.Second
)

// backoff spaces attempts out: doubling, with half of each wait random, so that clients that lost one node do not come
// back to the next in step.
type backoff struct{ attempts int }

// next returns how long to wait before the next attempt, and at least as long as a node asked for.
func (b *backoff) next(atLeast time.Duration) time.Duration {
	wait := backoffMost
	if b.attempts < 6 {
		wait = backoffFirst << b.attempts
	}
	b.attempts++
	return max(wait/2+rand.N(wait/2+1), atLeast)
}

// sleep waits, or returns false when ctx ends first.
func sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// withDeadline gives a call that has no deadline the default one.
func withDeadline(ctx context.Context) (context.Context, context.CancelFunc) {
	if _, ok := ctx.Deadline(); ok {
		return ctx, func() {}
	}
	return context.WithTimeout(ctx, defaultTimeout)
}
