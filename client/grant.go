package client

import (
	"context"
	"encoding/hex"
	"fmt"
	"slices"

	"github.com/sealmq/sealmq/wire"
)

// Grant allows those whom Subject matches to do Actions with the mailboxes that Resource matches.
type Grant struct {
	ID       GrantID
	Subject  string // a principal, or a pattern of principals
	Actions  []string
	Resource string // a mailbox name, in which a token may be * and the last may be >
}

// GrantID names a grant.
type GrantID [8]byte

// String returns the id in hexadecimal digits.
func (id GrantID) String() string { return hexString(id[:]) }

// ParseGrantID reads what [GrantID.String] returns.
func ParseGrantID(s string) (id GrantID, err error) {
	b, err := hex.DecodeString(s)
	if err != nil || len(b) != len(id) {
		return GrantID{}, fmt.Errorf("%q is not the id of a grant: 16 hexadecimal digits", s)
	}
	return GrantID(b), nil
}

// AddGrant allows something: actions are names with commas between them, such as "send,stat". A grant that is there
// already is returned as it is, so the call may be repeated. late are nodes that do not serve the grant yet.
func (c *Client) AddGrant(ctx context.Context, subject, actions, resource string) (g Grant, late []string, err error) {
	set, err := wire.ParseActions(actions)
	switch {
	case err != nil:
		return Grant{}, nil, definite(CodeBadRequest, err, "the grant")
	case wire.CheckPrincipal(subject) != nil:
		e := definite(CodeBadRequest, nil, "the subject %q is not the name of an identity or a pattern of such", subject)
		e.Hint = fmt.Sprintf("It has 1 to %d printable characters of ASCII without spaces", wire.NameBytes)
		return Grant{}, nil, e
	case wire.CheckPattern(resource) != nil:
		e := definite(CodeBadRequest, nil, "the resource %q is not the name of a mailbox or a pattern of such", resource)
		e.Hint = "Tokens of a-z, 0-9, - and _ with dots between them; * stands for one token, > at the end for one or more"
		return Grant{}, nil, e
	}
	ctx, stop := withDeadline(ctx)
	defer stop()
	g = Grant{Subject: subject, Actions: set.Names(), Resource: resource}
	err = c.retry(ctx, func(ctx context.Context) error {
		// The cluster draws the grant's id: to ask twice for what may have been done would make two, and taking one of
		// them back would leave the other.
		there, err := c.ListGrants(ctx, subject)
		if err != nil {
			return err
		}
		for _, old := range there {
			if old.Resource == resource && slices.Equal(old.Actions, g.Actions) {
				g = old
				return nil
			}
		}
		conn, err := c.routes.leaderOf(ctx, controlGroup)
		if err != nil {
			return err
		}
		var reply wire.GrantAddReply
		m := &wire.GrantAdd{Subject: subject, Actions: set, Resource: resource}
		if err := conn.roundTrip(ctx, m, &reply); err != nil {
			c.noteRoute(controlGroup, conn, err)
			return err
		}
		g.ID, late = reply.ID, reply.Late
		return nil
	})
	return g, late, err
}

// RemoveGrant takes a grant back. When it returns no node serves it any more; late are nodes that serve nothing at all
// until they know of it.
func (c *Client) RemoveGrant(ctx context.Context, id GrantID) (late []string, err error) {
	ctx, stop := withDeadline(ctx)
	defer stop()
	var reply wire.GrantRemoveReply
	err = c.toGroup(ctx, controlGroup, &wire.GrantRemove{ID: id}, &reply)
	if wasDone(err, CodeNotFound) {
		return nil, nil
	}
	return reply.Late, err
}

// ListGrants returns the grants of a subject, or all if it is empty.
func (c *Client) ListGrants(ctx context.Context, subject string) ([]Grant, error) {
	ctx, stop := withDeadline(ctx)
	defer stop()
	var all []Grant
	m := wire.GrantList{Subject: subject, Limit: wire.PageItems}
	for {
		var reply wire.GrantListReply
		if err := c.toGroup(ctx, controlGroup, &m, &reply); err != nil {
			return nil, err
		}
		for i := range reply.Items {
			g := &reply.Items[i]
			all = append(all, Grant{g.ID, g.Subject, g.Actions.Names(), g.Resource})
		}
		if m.After = reply.Next; m.After == [8]byte{} {
			return all, nil
		}
	}
}
