package client

import (
	"bytes"
	"context"
	"encoding/hex"
	"time"

	"github.com/sealmq/sealmq/envelope"
)

// SendOption says something about one message.
type SendOption func(*Pending)

// sendOptions are what a message says to its receiver alone.
type sendOptions struct {
	contentType, replyTo string
	correlation, trace   []byte
}

// Key gives the message an id that follows from the key, the mailbox and the identity: sending it again, from any
// process at any time within the mailbox's window (10 minutes unless set), stores nothing and gets the first answer.
// Another body under the same key is refused as [CodeIDConflict].
func Key(key string) SendOption {
	return func(p *Pending) { p.key, p.keyed = key, true }
}

// ContentType tells the receiver what the body is. Nobody else sees it.
func ContentType(t string) SendOption {
	return func(p *Pending) { p.options().contentType = t }
}

// ReplyTo names the mailbox that an answer is expected in. Nobody but the receiver sees it.
func ReplyTo(mailbox string) SendOption {
	return func(p *Pending) { p.options().replyTo = mailbox }
}

// Correlation marks an answer with what it answers. Nobody but the receiver sees it.
func Correlation(id []byte) SendOption {
	return func(p *Pending) { p.options().correlation = bytes.Clone(id) }
}

// TraceContext carries a trace on to the receiver. Nobody else sees it.
func TraceContext(b []byte) SendOption {
	return func(p *Pending) { p.options().trace = bytes.Clone(b) }
}

// Then has f called with the result of the message, once, however it ends and whether anybody waits for it or not: for
// programs that keep many messages on their way and go on with each as its answer comes. f is called with no lock of the
// client held, from whatever goroutine finds the result: nearly always the one that reads a connection, whose further
// answers wait for it, so it must neither block nor send. A message that fails at once has f called before Send returns.
// Who waits for the message or flushes the sender may go on a moment before f is called.
func Then(f func(Sent, error)) SendOption {
	return func(p *Pending) { p.then = f }
}

func (p *Pending) setOptions(opts []SendOption) {
	for _, option := range opts {
		option(p)
	}
}

func (p *Pending) options() *sendOptions {
	if p.extra == nil {
		p.extra = new(sendOptions)
	}
	return p.extra
}

// fill writes the options into a message; o may be nil.
func (o *sendOptions) fill(m *envelope.Message, now time.Time) {
	m.Sent = now
	if o != nil {
		m.ContentType, m.ReplyTo = o.contentType, o.replyTo
		m.Correlation, m.TraceContext = o.correlation, o.trace
	}
}

// Send seals a message, and returns when a quorum of the cluster has stored it on disk. It tries again, with the same
// message id, until ctx ends; without a deadline that is after 30 s. Once the message may be stored, that goes on for 9
// minutes at most: the cluster forgets ids. An *[Error] whose outcome is unknown says that the message may be stored:
// send it again under a [Key] to be sure that it is stored once.
func (c *Client) Send(ctx context.Context, mailbox string, body []byte, opts ...SendOption) (Sent, error) {
	box, err := c.mailbox(mailbox)
	if err != nil {
		return c.Sender(mailbox).Send(ctx, body, opts...).Wait(ctx) // which fails with it at once
	}
	ctx, stop := withDeadline(ctx)
	defer stop()
	s := box.ownSender()
	p := s.Send(ctx, body, opts...)
	if p.batch == nil {
		return p.sent, p.err
	}
	select {
	case <-p.batch.whenDone():
		return p.sent, p.err
	case <-ctx.Done():
		return s.abandon(ctx, p)
	}
}

// ownSender returns the sender that Client.Send shares.
func (b *mailbox) ownSender() *Sender {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.sender == nil {
		b.sender = newSender(b.c, b)
	}
	return b.sender
}

func hexString(b []byte) string { return hex.EncodeToString(b) }
