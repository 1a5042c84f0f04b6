package client

import (
	"context"
	"time"

	"github.com/sealmq/sealmq/wire"
)

// Handle is the lease of one message, by which another process of the same principal may settle it.
type Handle = wire.Handle

// ParseHandle reads what [Message.Handle] returned.
func ParseHandle(text string) (Handle, error) {
	h, err := wire.ParseHandle(text)
	if err != nil {
		e := definite(CodeBadRequest, err, "the handle")
		e.Hint = "Give it whole, as recv --ack=false printed it: h1. and what follows"
		return h, e
	}
	return h, nil
}

// AckHandles acks messages by their handles, and returns how each went, in their order.
func (c *Client) AckHandles(ctx context.Context, handles ...string) []Result {
	return c.settleHandles(ctx, verdict{kind: verdictAck}, handles)
}

// NackHandles gives messages back by their handles.
func (c *Client) NackHandles(ctx context.Context, opts []NackOption, handles ...string) []Result {
	v := verdict{kind: verdictNack, nack: wire.NackRetry}
	for _, option := range opts {
		option(&v)
	}
	return c.settleHandles(ctx, v, handles)
}

// ExtendHandles extends the leases of messages by their handles; see [Message.Extend].
func (c *Client) ExtendHandles(ctx context.Context, d time.Duration, handles ...string) []Result {
	return c.settleHandles(ctx, verdict{kind: verdictExtend, leaseMillis: leaseMillis(d)}, handles)
}

func (c *Client) settleHandles(ctx context.Context, v verdict, handles []string) []Result {
	ctx, stop := withDeadline(ctx)
	defer stop()
	results := make([]Result, len(handles))
	type result struct {
		i   int
		err error
	}
	came := make(chan result, len(handles))
	incarnation := c.hello.Load().Incarnation
	for i, text := range handles {
		results[i] = Result{Name: text, Err: ended(context.DeadlineExceeded, nil, true)}
		h, err := ParseHandle(text)
		switch {
		case err != nil:
			came <- result{i, err}
		case h.Incarnation != incarnation:
			came <- result{i, definite(CodeLeaseLost, nil, "the cluster was restored since the message was leased")}
		default:
			c.settle(settleKey{h.Mailbox, h.Lease, v}, settleOp{seq: h.Seq, then: func(err error) { came <- result{i, err} }})
		}
	}
	for range handles {
		select {
		case r := <-came:
			results[r.i].Err = r.err
		case <-ctx.Done():
			return results
		}
	}
	return results
}
