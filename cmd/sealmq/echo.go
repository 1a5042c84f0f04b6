package main

import (
	"context"

	"github.com/sealmq/sealmq/client"
)

// startEcho connects as the identity echo and sends every message in its mailbox back to the sender, byte for byte,
// until it is stopped. The answer goes where the message asks for it, else into the mailbox of the sender's name.
func startEcho(ctx context.Context, contextFile string, out *output) (*echo, error) {
	ctx, cancel := context.WithCancel(ctx)
	c, err := client.Connect(ctx, client.FromContext(contextFile).As("echo"))
	if err != nil {
		cancel()
		return nil, err
	}
	e := &echo{cancel: cancel}
	e.done.Go(func() {
		defer c.Close()
		err := c.Subscribe(ctx, "echo", func(ctx context.Context, m *client.Message) error {
			to := m.ReplyTo
			if to == "" {
				to = m.Sender
			}
			correlation := m.Correlation
			if len(correlation) == 0 {
				correlation = m.ID[:]
			}
			// The same answer to a message that comes again: under this key it is stored once.
			_, err := c.Send(ctx, to, m.Body, client.Correlation(correlation), client.Key("echo "+m.ID.String()))
			return err
		}, client.OnError(func(err error) { out.detail("echo: %v", err) }))
		if err != nil && ctx.Err() == nil {
			out.say("echo has stopped: %v", err)
		}
	})
	return e, nil
}
