package main

import (
	"context"
	"encoding/hex"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/sealmq/sealmq/client"
)

func newMailbox(a *app) *cobra.Command {
	return group("mailbox", "Make, show and delete mailboxes",
		newMailboxCreate(a), newMailboxList(a), newMailboxShow(a), newMailboxRemove(a))
}

const mailboxCreateHelp = `Makes a mailbox that you own: you may receive from it, and nobody else can read what is
in it. Its private keys stay in your identity's keyring; without them its messages are lost, so keep a copy.

A name is made of tokens with dots between them: team.orders.eu. Whoever may send is said with
"sealmq grant add".`

func newMailboxCreate(a *app) *cobra.Command {
	var noKeys bool
	c := &cobra.Command{
		Use: "create NAME...", Short: "Make mailboxes that you own", Long: mailboxCreateHelp, Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, names []string) error {
			return a.with(cmd.Context(), func(ctx context.Context, c *client.Client) error {
				if noKeys {
					return a.createEmpty(ctx, c, names)
				}
				for _, name := range names {
					box, err := c.CreateMailbox(ctx, name)
					if err != nil {
						return hintOn(client.CodePermissionDenied, err,
							"making mailboxes takes the right to manage them: sealmq grant add NAME manage %s", name)
					}
					if err := a.out.document(mailboxOf("Mailbox", box)); err != nil {
						return err
					}
				}
				return nil
			})
		},
	}
	c.Flags().BoolVar(&noKeys, "no-keys", false, "without keys: nothing can be sent to it until its owner publishes some")
	return c
}

// createEmpty makes many mailboxes at once, without keys.
func (a *app) createEmpty(ctx context.Context, c *client.Client, names []string) error {
	failed := 0
	var first error
	results, err := c.CreateMailboxes(ctx, names)
	if err != nil {
		return err
	}
	for _, r := range results {
		if r.Err == nil {
			continue
		}
		a.out.say("%s: %s", r.Name, codeOf(r.Err))
		if failed++; first == nil {
			first = r.Err
		}
	}
	made := fmt.Sprintf("%d mailboxes", len(names)-failed)
	if err := a.out.document(doneDoc{Kind: "Done", What: "made", Name: made}); err != nil {
		return err
	}
	if failed > 0 && failed < len(names) {
		return errPartial
	}
	return first
}

func newMailboxList(a *app) *cobra.Command {
	var prefix, after string
	var limit int
	c := &cobra.Command{
		Use: "ls", Short: "List mailboxes by name", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.with(cmd.Context(), func(ctx context.Context, c *client.Client) error {
				boxes, next, err := c.ListMailboxes(ctx, prefix, after, limit)
				if err != nil {
					return err
				}
				d := mailboxListDoc{Kind: "MailboxList", Items: []mailboxDoc{}, Next: next}
				for _, box := range boxes {
					d.Items = append(d.Items, mailboxOf("", box))
				}
				return a.out.document(d)
			})
		},
	}
	c.Flags().StringVar(&prefix, "prefix", "", "names that begin with `TEXT`")
	c.Flags().StringVar(&after, "after", "", "names behind `NAME`: the next page")
	c.Flags().IntVar(&limit, "limit", 100, "how many")
	return c
}

func newMailboxShow(a *app) *cobra.Command {
	return &cobra.Command{
		Use: "show NAME", Short: "Show a mailbox", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.with(cmd.Context(), func(ctx context.Context, c *client.Client) error {
				box, err := c.ShowMailbox(ctx, args[0])
				if err != nil {
					return err
				}
				return a.out.document(mailboxOf("Mailbox", box))
			})
		},
	}
}

func newMailboxRemove(a *app) *cobra.Command {
	return &cobra.Command{
		Use: "rm NAME", Short: "Delete a mailbox and every message in it", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if !a.yes {
				return usage("this deletes every message in %s for good; say so with --yes", args[0])
			}
			return a.with(cmd.Context(), func(ctx context.Context, c *client.Client) error {
				if err := c.DeleteMailbox(ctx, args[0]); err != nil {
					return err
				}
				return a.out.document(doneDoc{Kind: "Done", What: "deleted", Name: args[0]})
			})
		},
	}
}

func mailboxOf(kind string, m client.Mailbox) mailboxDoc {
	return mailboxDoc{
		Kind: kind, Name: m.Name, ID: hex.EncodeToString(m.ID[:]), Group: m.Group, Ready: m.Ready, Leased: m.Leased,
		Bytes: m.Bytes, OldestAt: stamp(m.Oldest),
	}
}
