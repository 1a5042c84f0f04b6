package client

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/sealmq/sealmq/envelope"
	"github.com/sealmq/sealmq/wire"
)

// Mailbox is what the cluster says about a mailbox.
type Mailbox struct {
	Name          string
	ID            [16]byte
	Group         uint16
	Owner         string // principal
	Ready         uint64 // messages that may be delivered now
	Leased        uint64
	Parked        uint64 // unreadable or delayed
	Dead          uint64 // failed too often
	Bytes         uint64
	NextSeq       uint64
	Created       time.Time
	Oldest        time.Time // when the oldest message was stored, zero without one
	RecordVersion uint64    // of the key record, 0 without one
	Lease, TTL    time.Duration
	Waiting       []EpochCount
}

// EpochCount is how many messages wait for one key epoch.
type EpochCount struct {
	Epoch    uint32
	Messages uint64
}

func mailboxFrom(m *wire.MailboxInfo) Mailbox {
	b := Mailbox{
		Name: m.Name, ID: m.ID, Group: m.Group, Owner: m.Owner, Ready: m.Ready, Leased: m.Leased, Parked: m.Parked,
		Dead: m.Dead, Bytes: m.Bytes, NextSeq: m.NextSeq, RecordVersion: m.RecordVersion,
		Lease: time.Duration(m.LeaseMillis) * time.Millisecond, TTL: time.Duration(m.TTLMillis) * time.Millisecond,
		Created: timeOf(m.CreatedMillis), Oldest: timeOf(m.OldestMillis),
	}
	for _, w := range m.Waiting {
		b.Waiting = append(b.Waiting, EpochCount(w))
	}
	return b
}

func timeOf(unixMillis int64) time.Time {
	if unixMillis == 0 {
		return time.Time{}
	}
	return time.UnixMilli(unixMillis).UTC()
}

// CreateOption changes how a mailbox is made.
type CreateOption func(*createOptions)

type createOptions struct {
	noKeys bool
	policy envelope.Policy
}

// NoKeys makes a mailbox without keys: nobody can send to it until its owner receives from it for the first time.
func NoKeys() CreateOption { return func(o *createOptions) { o.noKeys = true } }

// Signed has senders sign every message. Without it, who holds the mailbox's keys could forge messages to it.
func Signed() CreateOption { return func(o *createOptions) { o.policy |= envelope.PolicySigned } }

// CreateMailbox makes a mailbox that this client's principal owns: it draws the mailbox's id, keeps the private keys of
// the first epochs in the key store, and publishes the key record.
func (c *Client) CreateMailbox(ctx context.Context, name string, opts ...CreateOption) (Mailbox, error) {
	o := createOptions{policy: envelope.PolicySealed}
	for _, option := range opts {
		option(&o)
	}
	box, err := c.mailbox(name)
	if err != nil {
		return Mailbox{}, err
	}
	switch {
	case o.noKeys:
	case c.opts.Identity == nil || c.opts.KeyStore == nil:
		return Mailbox{}, definite(CodeConfig, nil, "a mailbox with keys needs an identity and a key store")
	case strings.HasPrefix(c.Principal(), operatorPrefix):
		// It would be the owner, and could never publish a key.
		e := definite(CodePermissionDenied, nil, "%s has no right to keys: operators own no mailboxes that are sent to",
			c.Principal())
		e.Hint = "Make it as the identity that will receive from it, which takes a grant: " +
			"sealmq grant add NAME manage MAILBOX, then sealmq --as NAME mailbox create MAILBOX"
		return Mailbox{}, e
	}
	ctx, stop := withDeadline(ctx)
	defer stop()
	results, err := c.createIn(ctx, []string{name})
	if err == nil {
		err = results[0].Err
	}
	if err != nil {
		return Mailbox{}, err
	}
	if !o.noKeys {
		known, err := box.resolve(ctx, 0)
		if err == nil {
			_, err = box.rotate(ctx, known, o.policy)
		}
		if err != nil {
			return Mailbox{}, c.withoutKeys(ctx, box, results[0].ID, err)
		}
	}
	return c.ShowMailbox(ctx, name)
}

// operatorPrefix begins the principals of operators.
const operatorPrefix = "operator/"

// withoutKeys returns the error of a mailbox that was made and whose keys were not. One that will never get any is
// taken back.
func (c *Client) withoutKeys(ctx context.Context, box *mailbox, id [16]byte, err error) error {
	e := *asError(c.lacks(wire.ActionKeys, err))
	if e.Code == CodePermissionDenied && e.Outcome == Definite {
		m := &wire.MailboxDelete{Name: box.name, ID: id}
		if c.toSlot(ctx, box.slot, m, &wire.Done{}) == nil {
			box.outdated(wire.MailboxRef{Slot: box.slot, ID: id})
			e.Detail += "; the mailbox was taken back"
			return &e
		}
	}
	e.Detail = "the mailbox was made, but not its keys: " + e.Detail
	e.Hint = "Receive from it once as its owner: that makes them"
	return &e
}

// Result is how one item of a request went.
type Result struct {
	Name string // of the item: a mailbox or a handle
	Err  error  // nil if it was done

	// Of a mailbox that was made.
	ID    [16]byte
	Group uint16
}

// CreateMailboxes makes many mailboxes without keys, and returns how each went, in their order.
func (c *Client) CreateMailboxes(ctx context.Context, names []string) ([]Result, error) {
	ctx, stop := withDeadline(ctx)
	defer stop()
	return c.createIn(ctx, names)
}

// createParallel is how many requests for mailboxes are on their way to one group.
const createParallel = 2

// createIn makes mailboxes, some requests at a time for each group.
func (c *Client) createIn(ctx context.Context, names []string) ([]Result, error) {
	results := make([]Result, len(names))
	byGroup := map[uint16][]int{}
	for i, name := range names {
		results[i].Name = name
		if err := wire.CheckName(name); err != nil {
			results[i].Err = definite(CodeBadRequest, err, "the mailbox")
			continue
		}
		group, err := c.routes.groupOf(ctx, wire.SlotOf(name))
		if err != nil {
			return nil, err
		}
		byGroup[group] = append(byGroup[group], i)
	}
	var all sync.WaitGroup
	for group, items := range byGroup {
		places := make(chan struct{}, createParallel)
		all.Go(func() {
			var chunks sync.WaitGroup
			for chunk := range slices.Chunk(items, wire.CreateItems/4) {
				places <- struct{}{}
				chunks.Go(func() {
					c.createChunk(ctx, group, chunk, results)
					<-places
				})
			}
			chunks.Wait()
		})
	}
	all.Wait()
	return results, nil
}

// createChunk makes mailboxes of one group. The ids are drawn once: a mailbox that is there with the id, from an
// attempt whose answer was lost, counts as made.
func (c *Client) createChunk(ctx context.Context, group uint16, items []int, results []Result) {
	var m wire.MailboxCreate
	for _, i := range items {
		item := wire.MailboxNew{Name: results[i].Name}
		rand.Read(item.ID[:])
		m.Items = append(m.Items, item)
	}
	var reply wire.MailboxCreateReply
	err := c.toGroup(ctx, group, &m, &reply)
	if err == nil && len(reply.Items) != len(items) {
		err = &Error{Code: CodeInternal, Outcome: Unknown, Detail: "the node gave another number of results"}
	}
	for n, i := range items {
		switch {
		case err != nil:
			results[i].Err = c.lacks(wire.ActionManage, err)
		case reply.Items[n].Code != wire.CodeOK:
			results[i].Err = c.notMade(reply.Items[n].Code)
		default:
			results[i].ID, results[i].Group = m.Items[n].ID, group
		}
	}
}

// notMade says why a mailbox was not made.
func (c *Client) notMade(code wire.Code) error {
	if code == wire.CodeExists {
		return fromCode(code, 0, "a mailbox of this name is there already")
	}
	return c.lacks(wire.ActionManage, fromCode(code, 0, ""))
}

// ShowMailbox returns what the cluster says about a mailbox.
func (c *Client) ShowMailbox(ctx context.Context, name string) (Mailbox, error) {
	box, err := c.mailbox(name)
	if err != nil {
		return Mailbox{}, err
	}
	ctx, stop := withDeadline(ctx)
	defer stop()
	var info wire.MailboxInfo
	if err := c.toSlot(ctx, box.slot, &wire.MailboxShow{Name: name}, &info); err != nil {
		return Mailbox{}, err
	}
	return mailboxFrom(&info), nil
}

// ListMailboxes returns up to limit mailboxes whose names begin with prefix and come after after, by name. next is what
// to pass as after for those that follow, empty if there are none.
func (c *Client) ListMailboxes(ctx context.Context, prefix, after string, limit int,
) (all []Mailbox, next string, err error) {
	ctx, stop := withDeadline(ctx)
	defer stop()
	limit = min(max(limit, 1), wire.PageItems)
	more := false
	err = c.eachGroup(ctx, func(group uint16) error {
		var reply wire.MailboxListReply
		m := &wire.MailboxList{Prefix: prefix, After: after, Limit: uint32(limit), Group: group}
		if err := c.toGroup(ctx, group, m, &reply); err != nil {
			return err
		}
		for i := range reply.Items {
			all = append(all, mailboxFrom(&reply.Items[i]))
		}
		more = more || reply.Next != ""
		return nil
	})
	if err != nil {
		return nil, "", err
	}
	slices.SortFunc(all, func(a, b Mailbox) int { return strings.Compare(a.Name, b.Name) })
	if len(all) > limit {
		all, more = all[:limit], true
	}
	if more && len(all) > 0 {
		next = all[len(all)-1].Name
	}
	return all, next, nil
}

// eachGroup does something with every mail group, one after the other.
func (c *Client) eachGroup(ctx context.Context, do func(group uint16) error) error {
	groups, err := c.routes.count(ctx)
	if err != nil {
		return err
	}
	for group := controlGroup + 1; group < groups; group++ {
		if err := do(uint16(group)); err != nil {
			return err
		}
	}
	return nil
}

// DeleteMailbox deletes a mailbox with everything in it. The private keys stay in the key store.
func (c *Client) DeleteMailbox(ctx context.Context, name string) error {
	box, err := c.mailbox(name)
	if err != nil {
		return err
	}
	ctx, stop := withDeadline(ctx)
	defer stop()
	// Any right on the mailbox is enough to learn its id. Whose keys it has does not matter here.
	var known wire.ResolveReply
	if err := c.toSlot(ctx, box.slot, &wire.Resolve{Name: name}, &known); err != nil {
		return c.lacks(wire.ActionManage, err)
	}
	err = c.toSlot(ctx, box.slot, &wire.MailboxDelete{Name: name, ID: known.ID}, &wire.Done{})
	box.outdated(wire.MailboxRef{Slot: box.slot, ID: known.ID})
	if wasDone(err, CodeNotFound) || wasDone(err, CodeMailboxGone) {
		return nil
	}
	return err
}

// wasDone reports whether a removal failed because an attempt whose answer was lost had done it: nothing is left.
func wasDone(err error, gone Code) bool {
	var e *Error
	return errors.As(err, &e) && e.Code == gone && e.Outcome == Unknown
}

// OwnMailboxes returns the names of the mailboxes that this client's identity owns by their key records.
func (c *Client) OwnMailboxes(ctx context.Context) ([]string, error) {
	if c.opts.Identity == nil {
		return nil, definite(CodeConfig, nil, "this needs an identity")
	}
	ctx, stop := withDeadline(ctx)
	defer stop()
	var names []string
	err := c.eachGroup(ctx, func(group uint16) error {
		m := wire.KeyLookup{
			By: wire.LookupIdentityKey, IdentityKey: c.opts.Identity.PublicKey(), Group: group, Limit: wire.PageItems,
		}
		for {
			var reply wire.KeyLookupReply
			if err := c.toGroup(ctx, group, &m, &reply); err != nil {
				return err
			}
			for i := range reply.Items {
				names = append(names, reply.Items[i].Name)
			}
			if m.After = reply.Next; m.After == "" {
				return nil
			}
		}
	})
	slices.SortFunc(names, cmp.Compare[string])
	return names, err
}
