package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"github.com/sealmq/sealmq/client"
)

const recvHelp = `Takes messages out of a mailbox that you own, oldest first: one, unless --max or --follow says
otherwise. The body goes to stdout byte for byte, a line about it to stderr. A message is
acknowledged, and so gone, after it was written whole; if stdout is closed before that, or the disk
of --out is full, it stays in the mailbox.

An empty mailbox is no error: nothing is printed and the exit code is 0, or 10 with --exit-empty.`

func newRecv(a *app) *cobra.Command {
	r := &recv{app: a}
	c := &cobra.Command{
		Use: "recv MAILBOX", Short: "Receive messages", Long: recvHelp, Args: cobra.ExactArgs(1),
		Example: `  sealmq recv orders` + "\n" + `  sealmq recv orders --follow -o json | while read -r line; do ...` + "\n" +
			`  sealmq recv backups --max 100 --out inbox/`,
	}
	f := c.Flags()
	f.IntVar(&r.max, "max", 1, "how many messages at most")
	f.DurationVar(&r.wait, "wait", 0, "how long to wait for the first one")
	f.DurationVar(&r.lease, "lease", 0,
		"how long a message is kept from other receivers, 1s to 12h (30s unless the mailbox says otherwise)")
	f.BoolVar(&r.ack, "ack", true, "acknowledge each message; without it the lease is kept and the handle printed")
	f.StringVar(&r.outDir, "out", "", "write each body into a file of its own in `DIR`, named SEQ-ID")
	f.BoolVar(&r.follow, "follow", false, "go on until interrupted, or until --max")
	f.BoolVar(&r.exitEmpty, "exit-empty", false, "exit with 10 if nothing was there")
	c.RunE = func(cmd *cobra.Command, args []string) error {
		r.maxGiven = cmd.Flags().Changed("max")
		return r.run(cmd.Context(), args[0])
	}
	return c
}

type recv struct {
	*app
	max, taken  int
	maxGiven    bool
	wait, lease time.Duration
	ack         bool
	outDir      string // --out
	follow      bool
	exitEmpty   bool
}

// followPoll is how long one question of --follow stands. Nodes answer at once when something comes.
const followPoll = 20 * time.Second

// recvBatch is how many messages are leased at a time: those behind a slow one should not wait for their lease's end.
const recvBatch = 16

func (r *recv) run(ctx context.Context, mailbox string) error {
	if r.max < 1 || r.wait < 0 {
		return usage("--max must be above zero, --wait not below it")
	}
	if err := checkLease(r.lease); err != nil {
		return err
	}
	if r.outDir != "" {
		if err := os.MkdirAll(r.outDir, 0o777); err != nil {
			return usage("--out %s: the directory cannot be made: %s", r.outDir, plainFileError(err))
		}
	}
	ctx, stop := untilSignal(ctx)
	defer stop()
	c, err := r.connect(ctx)
	if err != nil {
		return err
	}
	defer c.Close()
	wait := r.wait
	answered := time.Now()
	for r.left() > 0 {
		if r.follow {
			wait = followPoll
		}
		messages, err := r.receive(ctx, c, mailbox, wait)
		if r.follow && ctx.Err() != nil {
			return nil
		}
		if err != nil && r.follow && away(err) && time.Since(answered) < r.timeout {
			// A cluster that is started anew is no reason to stop following it.
			r.out.detail("nobody answers; trying again: %v", err)
			select {
			case <-time.After(time.Second):
			case <-ctx.Done():
			}
			continue
		}
		if err != nil {
			return refusedFirst(err)
		}
		answered = time.Now()
		if len(messages) == 0 && !r.follow {
			break
		}
		for i, m := range messages {
			if err := r.take(ctx, c, mailbox, m); err != nil {
				releaseAll(context.WithoutCancel(ctx), c, messages[i:])
				return err
			}
			r.taken++
		}
		wait = 0
	}
	if r.taken == 0 && r.exitEmpty {
		return errEmpty
	}
	return nil
}

// refusedFirst adds to a changed key what becomes of the message.
func refusedFirst(err error) error {
	var changed *client.KeyChangedError
	if !errors.As(err, &changed) {
		return err
	}
	return advise(err, "%s\nthe message stays in the mailbox, and comes again within a minute", changed.Advice())
}

// away reports whether an error says that nobody is there.
func away(err error) bool {
	var e *client.Error
	return errors.As(err, &e) && e.Code == client.CodeUnreachable
}

// left is how many messages may still be taken.
func (r *recv) left() int {
	if r.follow && !r.maxGiven {
		return recvBatch
	}
	return r.max - r.taken
}

func (r *recv) receive(ctx context.Context, c *client.Client, mailbox string, wait time.Duration,
) ([]*client.Message, error) {
	ctx, cancel := context.WithTimeout(ctx, wait+r.timeout)
	defer cancel()
	options := []client.ReceiveOption{client.Max(min(recvBatch, r.left())), client.Wait(wait)}
	if r.lease > 0 {
		options = append(options, client.Lease(r.lease))
	}
	return c.Receive(ctx, mailbox, options...)
}

// take writes one message out and acknowledges it.
func (r *recv) take(ctx context.Context, c *client.Client, mailbox string, m *client.Message) error {
	doc := messageOf(mailbox, m)
	if r.outDir == "" || r.out.json {
		if err := r.out.received(); err != nil {
			return err
		}
	}
	if r.outDir != "" {
		path := filepath.Join(r.outDir, fmt.Sprintf("%d-%s", m.Seq, m.ID))
		if err := writeWhole(path, m.Body); err != nil {
			return err
		}
		doc.Body, doc.File = nil, path
	}
	if err := r.out.document(doc); err != nil {
		return err
	}
	if !r.ack {
		r.out.say("%s%s", r.about(m), "; kept, handle "+doc.Handle)
		return nil
	}
	// What was written has been taken: an interruption must not leave it in the mailbox as well.
	settle, cancel := r.request(context.WithoutCancel(ctx))
	defer cancel()
	if err := m.Ack(settle); err != nil {
		return hintOn(client.CodeLeaseLost, err, "the message was written and stays in the mailbox: it will come again")
	}
	r.out.say("%s; acknowledged", r.about(m))
	return nil
}

// about is the line on stderr. A body without an end of line leaves the terminal in the middle of one.
func (r *recv) about(m *client.Message) string {
	size := humanBytes(int64(len(m.Body)))
	text := fmt.Sprintf("seq %d from %s (%s), %s, attempt %d", m.Seq, m.Sender, m.Trust, size, m.Attempt)
	if r.out.stdoutTerminal && !r.out.json && r.outDir == "" && len(m.Body) > 0 && m.Body[len(m.Body)-1] != '\n' {
		return "\n" + text
	}
	return text
}

func messageOf(mailbox string, m *client.Message) messageDoc {
	body := m.Body
	if body == nil {
		body = []byte{} // an empty body is "", not null
	}
	return messageDoc{
		Kind: "Message", Mailbox: mailbox, Seq: m.Seq, Handle: m.Handle(), ID: m.ID.String(), Sender: m.Sender,
		Trust: m.Trust, Attempt: m.Attempt, SentAt: stamp(m.SentAt), Body: body,
	}
}

// writeWhole makes a file that is there whole or not at all, and on disk when it returns.
func writeWhole(path string, body []byte) (err error) {
	f, err := os.CreateTemp(filepath.Dir(path), ".recv-*") // mode 0600
	if err != nil {
		return err
	}
	_, err = f.Write(body)
	if err = errors.Join(err, f.Sync(), f.Close()); err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		os.Remove(f.Name())
	}
	return err
}

// releaseWithin bounds giving back what was not taken. If it fails the leases run out by themselves.
const releaseWithin = 3 * time.Second

// releaseAll gives messages back as if they had not been received.
func releaseAll(ctx context.Context, c *client.Client, messages []*client.Message) {
	ctx, cancel := context.WithTimeout(ctx, releaseWithin)
	defer cancel()
	var wait sync.WaitGroup
	for _, m := range messages {
		wait.Go(func() { _ = m.Nack(ctx, client.Release()) })
	}
	wait.Wait()
}
