package main

import (
	"context"
	"encoding/hex"

	"github.com/spf13/cobra"

	"github.com/sealmq/sealmq/client"
	"github.com/sealmq/sealmq/wire"
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
				if len(names) == 1 {
					box, err := c.CreateMailbox(ctx, names[0])
					if err != nil {
						return err
					}
					return a.out.document(mailboxOf("Mailbox", box))
				}
				return a.createMany(ctx, c, names)
			})
		},
	}
	c.Flags().BoolVar(&noKeys, "no-keys", false, "without keys: nothing can be sent to it until its owner publishes some")
	return c
}

// createMany makes mailboxes one after the other. One that cannot be made does not keep the others from it.
func (a *app) createMany(ctx context.Context, c *client.Client, names []string) error {
	d := createdDoc{mailboxListDoc{Kind: "MailboxList", Items: []mailboxDoc{}}}
	var all tally
	for _, name := range names {
		box, err := c.CreateMailbox(ctx, name)
		item := mailboxDoc{Name: name}
		if err == nil {
			item = mailboxOf("", box)
		} else {
			item.Code = codeOf(err)
		}
		all.note(name, err)
		d.Items = append(d.Items, item)
	}
	if err := a.out.document(d); err != nil {
		return err
	}
	return all.err()
}

// createEmpty makes many mailboxes at once, without keys.
func (a *app) createEmpty(ctx context.Context, c *client.Client, names []string) error {
	d := createdDoc{mailboxListDoc{Kind: "MailboxList", Items: []mailboxDoc{}}}
	var all tally
	results, err := c.CreateMailboxes(ctx, names)
	if err != nil {
		return err
	}
	for _, r := range results {
		item := mailboxDoc{Name: r.Name}
		if r.Err == nil {
			item.ID, item.Group = hex.EncodeToString(r.ID[:]), r.Group
		} else {
			item.Code = codeOf(r.Err)
		}
		all.note(r.Name, r.Err)
		d.Items = append(d.Items, item)
	}
	if err := a.out.document(d); err != nil {
		return err
	}
	return all.err()
}

func newMailboxList(a *app) *cobra.Command {
	var prefix, after string
	var limit int
	c := &cobra.Command{
		Use: "ls", Short: "List mailboxes by name", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if limit < 1 || limit > wire.PageItems {
				return usage("--limit %d: a page has 1 to %d mailboxes; --after gets the next one", limit, wire.PageItems)
			}
			return a.with(cmd.Context(), func(ctx context.Context, c *client.Client) error {
				boxes, next, err := c.ListMailboxes(ctx, prefix, after, limit)
				if err != nil {
					return err
				}
				d := mailboxListDoc{Kind: "MailboxList", Items: []mailboxDoc{}, Next: next}
				for _, box := range boxes {
					d.Items = append(d.Items, mailboxOf("", box))
				}
				if err := a.out.document(d); err != nil {
					return err
				}
				if next != "" && !a.out.json {
					a.out.say("more: --after %s", next)
				}
				return nil
			})
		},
	}
	c.Flags().StringVar(&prefix, "prefix", "", "names that begin with `TEXT`")
	c.Flags().StringVar(&after, "after", "", "names behind `NAME`: the next page")
	c.Flags().IntVar(&limit, "limit", 100, "how many, 1024 at most")
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
		Bytes: m.Bytes, OldestAt: stamp(m.Oldest), Delayed: m.Parked, Dead: m.Dead,
	}
}
