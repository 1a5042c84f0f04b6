package broker

import (
	"cmp"
	"errors"
	"slices"

	"github.com/sealmq/sealmq/broker/machine"
	"github.com/sealmq/sealmq/storage"
	"github.com/sealmq/sealmq/wire"
)

func (c *conn) handleMailboxShow(request uint32, payload []byte) error {
	var m wire.MailboxShow
	if err := m.Decode(payload); err != nil {
		return err
	}
	g, err := c.leading(wire.SlotOf(m.Name))
	if err != nil {
		return c.failErr(request, g, err)
	}
	mb, err := c.named(g, m.Name, wire.ActionStat)
	if err != nil {
		return c.failErr(request, g, err)
	}
	info, err := g.info(&mb)
	if err != nil {
		return c.failErr(request, g, err)
	}
	c.answer(request, &info)
	return nil
}

// info is what is told about a mailbox.
func (g *mailGroup) info(mb *storage.Mailbox) (wire.MailboxInfo, error) {
	// The state and the rows that it leads to are read at one moment.
	snapshot, closer, err := g.messages()
	if err != nil {
		return wire.MailboxInfo{}, err
	}
	defer closer.Close()
	state, err := snapshot.MailboxState(mb.Number)
	if err != nil {
		return wire.MailboxInfo{}, err
	}
	oldest, err := snapshot.OldestMillis(mb.Number)
	if err != nil {
		return wire.MailboxInfo{}, err
	}
	info := wire.MailboxInfo{
		Name: mb.Name, ID: mb.ID, Slot: wire.SlotOf(mb.Name), Group: g.id, Owner: mb.Owner, Policy: defaultPolicy,
		Ready: state.Ready(), Leased: state.Leased, Parked: state.Delayed, Dead: state.Dead, Bytes: state.Bytes,
		CreatedMillis: mb.CreatedMillis, OldestMillis: oldest, NextSeq: state.Next, RecordVersion: mb.KeyVersion,
		LeaseMillis: machine.DefaultLeaseMillis, TTLMillis: uint64(timeToLive.Milliseconds()),
	}
	for _, e := range state.Epochs {
		info.Waiting = append(info.Waiting, wire.EpochCount{Epoch: e.Epoch, Messages: e.Waiting})
	}
	return info, nil
}

// pageRoom is how many bytes of items a page of a listing may have, so that it fits a frame with what else is in it.
const pageRoom = wire.FrameBytes - 8<<10

// handleMailboxList merges the groups by name. It reads this node's replicas, so what it says may be a moment old.
func (c *conn) handleMailboxList(request uint32, payload []byte) error {
	var m wire.MailboxList
	if err := m.Decode(payload); err != nil {
		return err
	}
	found, more, err := c.page(m.Group, int(m.Limit), func(g *mailGroup, n int) ([]storage.Mailbox, error) {
		return g.visible(c, m.After, n, wire.ActionStat, func(after string, n int) ([]storage.Mailbox, error) {
			return g.reader.List(m.Prefix, after, n)
		})
	})
	if err != nil {
		return c.failErr(request, nil, err)
	}
	reply := &wire.MailboxListReply{}
	size := 0
	for i := range found {
		info, err := found[i].group.info(&found[i].Mailbox)
		if err != nil {
			return c.failErr(request, nil, err)
		}
		size += 200 + len(info.Name) + len(info.Owner) + 14*len(info.Waiting)
		if size > pageRoom {
			found, more = found[:i], true
			break
		}
		reply.Items = append(reply.Items, info)
	}
	if more {
		reply.Next = found[len(found)-1].Name
	}
	c.answer(request, reply)
	return nil
}

// handleKeyLookup finds key records by who owns or signed them, among the mailboxes that the principal may see.
func (c *conn) handleKeyLookup(request uint32, payload []byte) error {
	var m wire.KeyLookup
	if err := m.Decode(payload); err != nil {
		return err
	}
	found, more, err := c.page(m.Group, int(m.Limit), func(g *mailGroup, n int) ([]storage.Mailbox, error) {
		return g.visible(c, m.After, n, wire.ActionSend, func(after string, n int) ([]storage.Mailbox, error) {
			if m.By == wire.LookupPrincipal {
				return g.reader.ByOwner(m.Principal, after, n)
			}
			return g.reader.ByIdentity(m.IdentityKey, after, n)
		})
	})
	if err != nil {
		return c.failErr(request, nil, err)
	}
	reply := &wire.KeyLookupReply{}
	size := 0
	for i := range found {
		mb := &found[i].Mailbox
		item := wire.KeyRecordItem{Name: mb.Name, ID: mb.ID, RecordVersion: mb.KeyVersion}
		if mb.KeyVersion != 0 {
			item.Record, err = found[i].group.reader.KeyRecord(mb.Number, mb.KeyVersion)
			if errors.Is(err, storage.ErrNotFound) {
				continue // deleted while we read
			}
			if err != nil {
				return c.failErr(request, nil, err)
			}
		}
		if size += 100 + len(item.Name) + len(item.Record); size > pageRoom {
			found, more = found[:i], true
			break
		}
		reply.Items = append(reply.Items, item)
	}
	if more {
		reply.Next = found[len(found)-1].Name
	}
	c.answer(request, reply)
	return nil
}

// visible returns the first n mailboxes of a listing after a name that the principal may see: those that it may stat,
// or else use as the listing is for.
func (g *mailGroup) visible(c *conn, after string, n int, use wire.Actions,
	list func(after string, n int) ([]storage.Mailbox, error)) (out []storage.Mailbox, err error) {
	for len(out) < n {
		page, err := list(after, n)
		if err != nil {
			return nil, err
		}
		for _, mb := range page {
			may := c.may(wire.ActionStat, mb.Name, mb.Owner)
			if may != nil {
				may = c.may(use, mb.Name, mb.Owner)
			}
			switch {
			case may == nil:
				out = append(out, mb)
			case errors.Is(may, errStale):
				return nil, may // what is not known to be allowed is not known to be denied
			}
		}
		if len(page) < n {
			break
		}
		after = page[len(page)-1].Name
	}
	return out[:min(len(out), n)], nil
}

// located is a mailbox and the group that it is in.
type located struct {
	storage.Mailbox
	group *mailGroup
}

// listings bounds the listings that are read at once: one may look at every mailbox of the node to find those that the
// principal may see.
const listings = 2

// page reads a page of mailboxes from one group, or from all of them merged by name.
func (c *conn) page(only uint16, limit int, read func(*mailGroup, int) ([]storage.Mailbox, error)) (
	page []located, more bool, err error) {
	if !c.broker.control.fresh() {
		return nil, false, errStale
	}
	select {
	case c.broker.listings <- struct{}{}:
		defer c.broker.listings.leave()
	case <-c.gone:
		return nil, false, errStopping
	}
	for _, g := range c.broker.mail {
		if only != 0 && only != g.id {
			continue
		}
		found, err := read(g, limit+1)
		if err != nil {
			return nil, false, err
		}
		for _, mb := range found {
			page = append(page, located{mb, g})
		}
	}
	slices.SortFunc(page, func(a, b located) int { return cmp.Compare(a.Name, b.Name) })
	if len(page) > limit {
		return page[:limit], true, nil
	}
	return page, false, nil
}
