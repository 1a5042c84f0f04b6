package bench

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strconv"
	"sync"
	"time"

	"github.com/sealmq/sealmq/client"
)

// SealMQ is a Target: a cluster behind a context. Every message is sealed end to end by the client and opened by it,
// inside the measured time.
type SealMQ struct {
	Connect client.Options // a context, and as whom
	// Keys is a directory for the private keys of the mailboxes. They are made by thousands and thrown away, and each
	// is synced when it is stored: a directory in memory makes preparing shorter and changes nothing that is measured.
	Keys string

	owners []*client.Client
	names  []string
}

var _ Target = (*SealMQ)(nil)

const (
	// owners share the mailboxes: a key store is changed by one at a time.
	owners = 8
	// makers is how many mailboxes each of them makes at a time.
	makers = 16
)

// Open makes the mailboxes bench.0 to bench.N-1. They belong to the identity that the load runs as.
func (s *SealMQ) Open(ctx context.Context, mailboxes int) error {
	s.names = make([]string, mailboxes)
	for i := range s.names {
		s.names[i] = fmt.Sprintf("bench.%d", i)
	}
	for i := range min(owners, mailboxes) {
		o := s.Connect
		var err error
		if o.KeyStore, err = client.OpenKeyStore(filepath.Join(s.Keys, strconv.Itoa(i))); err != nil {
			return err
		}
		c, err := client.Connect(ctx, o)
		if err != nil {
			return err
		}
		s.owners = append(s.owners, c)
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var wait sync.WaitGroup
	for first := range min(owners*makers, mailboxes) {
		wait.Go(func() {
			for i := first; i < mailboxes && ctx.Err() == nil; i += owners * makers {
				if err := ensure(ctx, s.owner(i), s.names[i]); err != nil {
					cancel(fmt.Errorf("mailbox %s: %w", s.names[i], err))
				}
			}
		})
	}
	wait.Wait()
	return context.Cause(ctx)
}

// owner is the client with the keys of a mailbox.
func (s *SealMQ) owner(mailbox int) *client.Client { return s.owners[mailbox%len(s.owners)] }

// ensure makes a mailbox with keys. One that is there, from before or from an attempt that a change of leaders cut
// short, gets the keys that it lacks when its owner receives from it.
func ensure(ctx context.Context, c *client.Client, name string) error {
	_, err := c.CreateMailbox(ctx, name)
	var e *client.Error
	if errors.As(err, &e) && (e.Retryable || e.Code == client.CodeExists) {
		_, err = c.Receive(ctx, name)
	}
	return err
}

// Close ends the connections that Open made.
func (s *SealMQ) Close() error {
	for _, c := range s.owners {
		c.Close()
	}
	return nil
}

// Sender is a client of its own, with a sender for each mailbox.
func (s *SealMQ) Sender(ctx context.Context) (Sender, error) {
	c, err := client.Connect(ctx, s.Connect)
	if err != nil {
		return nil, err
	}
	out := &sealmqSender{client: c, boxes: make([]*client.Sender, len(s.names))}
	for i, name := range s.names {
		out.boxes[i] = c.Sender(name)
	}
	return out, nil
}

type sealmqSender struct {
	client *client.Client
	boxes  []*client.Sender
}

func (s *sealmqSender) Send(ctx context.Context, mailbox int, body []byte, key string, done func(error)) {
	then := client.Then(func(_ client.Sent, err error) { done(err) })
	if key == "" {
		s.boxes[mailbox].Send(ctx, body, then)
	} else {
		s.boxes[mailbox].Send(ctx, body, then, client.Key(key))
	}
}

func (s *sealmqSender) Close() error { return s.client.Close() }

// Receiver pulls from one mailbox, as the client that holds its keys.
func (s *SealMQ) Receiver(_ context.Context, mailbox int) (Receiver, error) {
	return &sealmqReceiver{s.owner(mailbox), s.names[mailbox]}, nil
}

type sealmqReceiver struct {
	client *client.Client
	name   string
}

type sealmqMessage struct{ *client.Message }

func (m sealmqMessage) Body() []byte { return m.Message.Body }

func (r *sealmqReceiver) Receive(ctx context.Context, most int) ([]Received, error) {
	messages, err := r.client.Receive(ctx, r.name, client.Max(most), client.Wait(10*time.Second))
	if err != nil {
		return nil, err
	}
	out := make([]Received, len(messages))
	for i, m := range messages {
		out[i] = sealmqMessage{m}
	}
	return out, nil
}

func (r *sealmqReceiver) Ack(ctx context.Context, messages []Received) error {
	handles := make([]string, len(messages))
	for i, m := range messages {
		handles[i] = m.(sealmqMessage).Handle()
	}
	for _, result := range r.client.AckHandles(ctx, handles...) {
		if result.Err != nil {
			return result.Err
		}
	}
	return nil
}

// Close does nothing: the connection is the target's.
func (r *sealmqReceiver) Close() error { return nil }
