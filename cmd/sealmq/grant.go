package main

import (
	"context"
	"strings"

	"github.com/spf13/cobra"

	"github.com/sealmq/sealmq/client"
	"github.com/sealmq/sealmq/wire"
)

const grantHelp = `Nobody may do anything that no grant allows. A grant names who (an identity's name, or a pattern),
what (send, receive, ack, peek, stat, manage, keys, admin) and where (a mailbox's name or a pattern:
* is one token, > at the end is one or more). The owner of a mailbox has every right on it but
admin; operators have admin everywhere.`

func newGrant(a *app) *cobra.Command {
	c := group("grant", "Say who may do what with which mailboxes", newGrantAdd(a), newGrantList(a), newGrantRemove(a))
	c.Long = grantHelp
	return c
}

func newGrantAdd(a *app) *cobra.Command {
	return &cobra.Command{
		Use: "add SUBJECT ACTION[,ACTION] RESOURCE", Short: "Allow something", Args: cobra.ExactArgs(3), Long: grantHelp,
		Example: `  sealmq --as admin grant add billing send 'team.orders.>'`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if _, err := wire.ParseActions(args[1]); err != nil {
				return usage("%v", err)
			}
			return a.with(cmd.Context(), func(ctx context.Context, c *client.Client) error {
				g, late, err := c.AddGrant(ctx, args[0], args[1], args[2])
				if err != nil {
					return hintOn(client.CodePermissionDenied, err, "grants are made by operators: sealmq --as admin grant add ...")
				}
				if len(late) > 0 {
					a.out.say("not served yet by %s: they have not answered", strings.Join(late, ", "))
				}
				return a.out.document(grantOf("Grant", g))
			})
		},
	}
}

func newGrantList(a *app) *cobra.Command {
	var subject string
	c := &cobra.Command{
		Use: "ls", Short: "List grants", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.with(cmd.Context(), func(ctx context.Context, c *client.Client) error {
				grants, err := c.ListGrants(ctx, subject)
				if err != nil {
					return err
				}
				d := grantListDoc{Kind: "GrantList", Items: []grantDoc{}}
				for _, g := range grants {
					d.Items = append(d.Items, grantOf("", g))
				}
				return a.out.document(d)
			})
		},
	}
	c.Flags().StringVar(&subject, "subject", "", "grants to `SUBJECT` only")
	return c
}

func newGrantRemove(a *app) *cobra.Command {
	return &cobra.Command{
		Use: "rm ID", Short: "Take a grant back", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			id, err := client.ParseGrantID(args[0])
			if err != nil {
				return usage("%v", err)
			}
			return a.with(cmd.Context(), func(ctx context.Context, c *client.Client) error {
				late, err := c.RemoveGrant(ctx, id)
				if err != nil {
					return hintOn(client.CodeNotFound, err, "sealmq grant ls shows the ids")
				}
				if len(late) > 0 {
					a.out.say("%s have not answered: they serve nothing until they know of it", strings.Join(late, ", "))
				}
				return a.out.document(doneDoc{Kind: "Done", What: "removed", Name: args[0]})
			})
		},
	}
}

func grantOf(kind string, g client.Grant) grantDoc {
	return grantDoc{Kind: kind, ID: g.ID.String(), Subject: g.Subject, Actions: g.Actions, Resource: g.Resource}
}
