package main

import (
	"context"
	"errors"
	"time"

	"github.com/spf13/cobra"

	"github.com/sealmq/sealmq/client"
)

// A handle is what `recv --ack=false` prints: the proof that the message was leased to this identity.

func newAck(a *app) *cobra.Command {
	return &cobra.Command{
		Use: "ack HANDLE...", Short: "Say that messages are done with", Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, handles []string) error {
			return a.settle(cmd.Context(), handles, func(ctx context.Context, c *client.Client) []client.Result {
				return c.AckHandles(ctx, handles...)
			})
		},
	}
}

func newNack(a *app) *cobra.Command {
	var delay time.Duration
	var release bool
	c := &cobra.Command{
		Use: "nack HANDLE...", Short: "Give messages back to be delivered again", Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, handles []string) error {
			if release && delay != 0 {
				return usage("--release gives back at once: leave --delay out")
			}
			var options []client.NackOption
			switch {
			case delay < 0 || delay > client.DelayMost || delay > 0 && delay < time.Millisecond:
				return usage("--delay %v: from 1ms to %v; 0 is at once", delay, client.DelayMost)
			case delay > 0:
				options = append(options, client.Delay(delay))
			case release:
				options = append(options, client.Release())
			}
			return a.settle(cmd.Context(), handles, func(ctx context.Context, c *client.Client) []client.Result {
				return c.NackHandles(ctx, options, handles...)
			})
		},
	}
	c.Flags().DurationVar(&delay, "delay", 0, "deliver again after this long, 12h at most, instead of at once")
	c.Flags().BoolVar(&release, "release", false, "do not count it as a failure")
	return c
}

func newExtend(a *app) *cobra.Command {
	var lease time.Duration
	c := &cobra.Command{
		Use: "extend HANDLE...", Short: "Keep messages from other receivers for longer", Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, handles []string) error {
			if err := checkLease(lease); err != nil {
				return err
			}
			return a.settle(cmd.Context(), handles, func(ctx context.Context, c *client.Client) []client.Result {
				return c.ExtendHandles(ctx, lease, handles...)
			})
		},
	}
	c.Flags().DurationVar(&lease, "lease", 0,
		"from now on, 1s to 12h (as long as leases of the mailbox last unless set)")
	return c
}

// checkLease refuses a lease that nodes would not give: they give the nearest one that they do.
func checkLease(d time.Duration) error {
	if d != 0 && (d < client.LeaseLeast || d > client.LeaseMost) {
		return usage("--lease %v: from %v to %v; leave it out for as long as the mailbox says", d, client.LeaseLeast,
			client.LeaseMost)
	}
	return nil
}

// A verdict is said about handles, and has a result for each.
type verdict func(context.Context, *client.Client) []client.Result

// settle runs a verdict on handles and lists the results.
func (a *app) settle(ctx context.Context, handles []string, say verdict) error {
	return a.with(ctx, func(ctx context.Context, c *client.Client) error {
		d := ackListDoc{Kind: "AckList", Items: []ackItem{}}
		var all tally
		for i, r := range say(ctx, c) {
			item := ackItem{Handle: handles[i], OK: r.Err == nil}
			if r.Err != nil {
				item.Code = codeOf(r.Err)
			}
			all.note(handles[i], r.Err)
			d.Items = append(d.Items, item)
		}
		if err := a.out.document(d); err != nil {
			return err
		}
		return all.err()
	})
}

// codeOf is the code of an error as documents show it.
func codeOf(err error) string {
	var e *client.Error
	if errors.As(err, &e) {
		return string(e.Code)
	}
	return explain(err, false).code
}
