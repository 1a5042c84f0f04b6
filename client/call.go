package client

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/sealmq/sealmq/wire"
)

// call is one request with one answer.
type call struct {
	message wire.Message
	done    chan struct{}

	// Written before done is closed.
	t       wire.Type
	payload []byte
	err     error
	sent    bool // the frame was given to the connection
}

var _ source = (*call)(nil)
var _ waiter = (*call)(nil)

func newCall(m wire.Message) *call { return &call{message: m, done: make(chan struct{})} }

func (c *call) frame(dst []byte, _ *conn, request uint32) ([]byte, waiter, bool) {
	return wire.AppendFrame(dst, request, c.message), c, false
}

func (c *call) dropped(_ *conn, err error) {
	c.err = err
	close(c.done)
}

func (c *call) answer(_ *conn, t wire.Type, payload []byte, err error) {
	c.t, c.err = t, err
	c.sent = !errors.Is(err, errNotSent)
	c.payload = append(c.payload, payload...)
	close(c.done)
}

func (c *call) subscribed() bool { return false }

// result turns what came into reply or an error. The error is definite where the request certainly had no effect.
func (c *call) result(reply wire.Message) error {
	switch {
	case c.err != nil:
		e := unreachable(c.err, "the connection was lost before the answer")
		if c.sent && !asks(c.message) {
			e.Outcome = Unknown
		}
		return e
	case c.t == reply.Type():
		if err := reply.Decode(c.payload); err != nil {
			return &Error{Code: CodeInternal, Outcome: Unknown, Err: err}
		}
		return nil
	case c.t == wire.TypeFailure:
		var f wire.Failure
		if err := f.Decode(c.payload); err != nil {
			return &Error{Code: CodeInternal, Outcome: Unknown, Err: err}
		}
		e := fromFailure(&f)
		e.failure = &f
		if asks(c.message) {
			e.Outcome = Definite
		}
		return e
	}
	return &Error{Code: CodeInternal, Outcome: Unknown, Err: fmt.Errorf("the node answered with %v", c.t)}
}

// begin gives a request to the connection.
func (c *conn) begin(m wire.Message) (*call, error) {
	call := newCall(m)
	if !c.enqueue(call) {
		return nil, unreachable(errNotSent, "the connection to node %s has ended", c.nodeID)
	}
	return call, nil
}

// roundTrip makes one request on one connection, once.
func (c *conn) roundTrip(ctx context.Context, m, reply wire.Message) error {
	call, err := c.begin(m)
	if err != nil {
		return err
	}
	select {
	case <-call.done:
		return call.result(reply)
	case <-ctx.Done():
		return ended(context.Cause(ctx), nil, !asks(m))
	}
}

// asks reports whether a request changes nothing, so that one whose answer was lost certainly had no effect. A lease
// that nobody heard of ends by itself.
func asks(m wire.Message) bool {
	switch m.Type() {
	case wire.TypeSlotMap, wire.TypeClusterStatus, wire.TypeResolve, wire.TypeMailboxShow, wire.TypeMailboxList,
		wire.TypeKeyLookup, wire.TypeGrantList, wire.TypeSessionGet, wire.TypePull:
		return true
	}
	return false
}

// toGroup makes a request to the node that leads a group, again and again until it is answered for good or ctx ends.
// The request must be one that may be repeated: it carries an id, or says what it found, or changes nothing.
func (c *Client) toGroup(ctx context.Context, group uint16, m, reply wire.Message) error {
	return c.retry(ctx, func(ctx context.Context) error {
		conn, err := c.routes.leaderOf(ctx, group)
		if err != nil {
			return err
		}
		err = conn.roundTrip(ctx, m, reply)
		c.noteRoute(group, conn, err)
		return err
	})
}

// toSlot is toGroup for the group of a mailbox's slot.
func (c *Client) toSlot(ctx context.Context, slot uint16, m, reply wire.Message) error {
	var group uint16
	err := c.retry(ctx, func(ctx context.Context) (err error) {
		group, err = c.routes.groupOf(ctx, slot)
		return err
	})
	if err != nil {
		return err
	}
	return c.toGroup(ctx, group, m, reply)
}

// noteRoute learns from a failure who leads, or does not.
func (c *Client) noteRoute(group uint16, conn *conn, err error) {
	var e *Error
	if !errors.As(err, &e) {
		return
	}
	if e.failure != nil && e.failure.Code == wire.CodeNotLeader {
		c.routes.moved(group, conn.nodeID, e.failure.Leader)
	} else if e.Code == CodeUnreachable || e.Code == Code(wire.CodeShuttingDown.String()) ||
		e.Code == Code(wire.CodeLeadershipLost.String()) {
		c.routes.lost(group, conn.nodeID)
	}
}

// retry runs attempt until it succeeds, fails for good, or ctx ends.
func (c *Client) retry(ctx context.Context, attempt func(context.Context) error) error {
	var wait backoff
	var last *Error
	unknown := false
	for {
		err := attempt(ctx)
		if err == nil {
			return nil
		}
		e := asError(err)
		unknown = unknown || e.Outcome == Unknown
		if !e.Retryable {
			return e.withOutcome(unknown)
		}
		// An attempt that time ended says less than the one before it.
		if e.ranOut && e.Detail == "" && last != nil {
			e = last
		}
		last = e
		if ctx.Err() != nil {
			return c.timeIsUp(ctx, e, unknown)
		}
		if gone := c.hopeless(ctx); gone != nil {
			return gone.withOutcome(unknown)
		}
		// A hint is followed at once, the first time.
		if e.failure != nil && e.failure.Leader.Node != "" && wait.attempts == 0 {
			wait.attempts++
			continue
		}
		if !sleep(ctx, wait.next(e.RetryAfter)) {
			return c.timeIsUp(ctx, e, unknown)
		}
	}
}

// timeIsUp returns the error of a call whose context has ended. last is what its last attempt ended with.
func (c *Client) timeIsUp(ctx context.Context, last *Error, unknown bool) *Error {
	if gone := c.hopeless(ctx); gone != nil {
		return gone.withOutcome(unknown)
	}
	return ended(context.Cause(ctx), last, unknown)
}

// hopeless returns the error to give up with if every node has refused for as long as [GiveUpRefused] says, or does
// when the time of the call is up; nil if there is somebody to wait for.
func (c *Client) hopeless(ctx context.Context) *Error {
	if c.patience == 0 || errors.Is(ctx.Err(), context.Canceled) {
		return nil
	}
	since, why := c.routes.refused()
	if since.IsZero() || ctx.Err() == nil && time.Since(since) < c.patience {
		return nil
	}
	var failed *Error
	if errors.As(why, &failed) {
		why = failed.Err
	}
	return unreachable(why, "every node refuses the connection")
}

// withOutcome returns e, or a copy that says that an earlier attempt may have got through.
func (e *Error) withOutcome(unknown bool) *Error {
	if !unknown || e.Outcome == Unknown {
		return e
	}
	c := *e
	c.Outcome = Unknown
	return &c
}
