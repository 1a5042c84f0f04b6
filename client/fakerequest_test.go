package client

import (
	"crypto/rand"
	"slices"

	"github.com/sealmq/sealmq/wire"
)

// do handles a request and returns the answer, nil if it comes later or not at all.
func (c *fakeConn) do(request uint32, m wire.Message) wire.Message {
	f := c.node.f
	switch m := m.(type) {
	case *wire.Ping:
		return &wire.Pong{TimeMillis: f.now().UnixMilli()}
	case *wire.Pong:
		return nil
	case *wire.SlotMap:
		return f.slotMap()
	case *wire.ClusterStatus:
		return f.status(c.node.id)
	case *wire.GrantAdd, *wire.GrantRemove, *wire.GrantList:
		if no := f.notLeader(c.node, controlGroup); no != nil {
			return no
		}
		return f.grant(m)
	case *wire.MailboxCreate:
		if no := f.notLeader(c.node, f.groupOf(wire.SlotOf(m.Items[0].Name))); no != nil {
			return no
		}
		return f.create(c.principal, m)
	case *wire.MailboxList:
		if no := f.notLeader(c.node, m.Group); no != nil {
			return no
		}
		return f.list(m)
	case *wire.KeyLookup:
		return f.lookup(m)
	case *wire.MailboxShow:
		return c.onBox(m.Name, func(b *fakeBox) wire.Message { return b.info() })
	case *wire.Resolve:
		return c.onBox(m.Name, func(b *fakeBox) wire.Message { return b.resolve() })
	case *wire.MailboxDelete:
		return c.onBox(m.Name, func(b *fakeBox) wire.Message {
			if b.id != m.ID {
				return refuseWith(wire.CodeMailboxGone)
			}
			delete(f.boxes, m.Name)
			return &wire.Done{}
		})
	case *wire.KeyRecordPublish:
		return c.onBox(m.Name, func(b *fakeBox) wire.Message { return b.publish(c.principal, m) })
	case *wire.Send:
		return c.onRef(m.Mailbox, func(b *fakeBox) wire.Message { return b.send(c.principal, m) })
	case *wire.SessionGet:
		return c.onRef(m.Mailbox, func(b *fakeBox) wire.Message { return b.getSessions(m) })
	case *wire.Pull:
		return c.onRef(m.Mailbox, func(b *fakeBox) wire.Message { return b.pull(c, request, m) })
	case *wire.Subscribe:
		return c.onRef(m.Mailbox, func(b *fakeBox) wire.Message { return b.subscribe(c, request, m) })
	case *wire.Credit:
		if r := c.subs[request]; r != nil {
			r.messages += int(m.Messages)
			r.bytes += int(m.Bytes)
			r.low, r.high = m.EpochLow, m.EpochHigh
			r.box.pump()
		}
		return nil
	case *wire.Unsubscribe:
		if r := c.subs[request]; r != nil {
			r.leave()
			return &wire.SubscriptionEnd{Code: wire.CodeOK}
		}
		return nil
	case *wire.Ack:
		return c.onRef(m.Mailbox, func(b *fakeBox) wire.Message {
			return b.settle(c.principal, m.Lease, m.Seqs, func(x *fakeMessage) { x.state = stateAcked })
		})
	case *wire.Nack:
		return c.onRef(m.Mailbox, func(b *fakeBox) wire.Message { return b.nack(c.principal, m) })
	case *wire.Extend:
		return c.onRef(m.Mailbox, func(b *fakeBox) wire.Message { return b.extend(c.principal, m) })
	}
	return refuseWith(wire.CodeUnsupported)
}

func (f *fakeCluster) groupOf(slot uint16) uint16 { return 1 + slot%uint16(f.groups-1) }

func (f *fakeCluster) notLeader(n *fakeNode, group uint16) *wire.Failure {
	leader := f.leaders[group]
	if leader == n.id {
		return nil
	}
	no := &wire.Failure{Code: wire.CodeNotLeader}
	if l := f.nodes[leader]; l != nil {
		no.Leader = wire.Leader{Node: leader, Address: l.address}
	}
	return no
}

func (c *fakeConn) onBox(name string, do func(*fakeBox) wire.Message) wire.Message {
	f := c.node.f
	if no := f.notLeader(c.node, f.groupOf(wire.SlotOf(name))); no != nil {
		return no
	}
	if b := f.boxes[name]; b != nil {
		return do(b)
	}
	return refuseWith(wire.CodeNotFound)
}

func (c *fakeConn) onRef(ref wire.MailboxRef, do func(*fakeBox) wire.Message) wire.Message {
	f := c.node.f
	if no := f.notLeader(c.node, f.groupOf(ref.Slot)); no != nil {
		return no
	}
	for _, b := range f.boxes {
		if b.id == ref.ID {
			return do(b)
		}
	}
	return refuseWith(wire.CodeMailboxGone)
}

func (f *fakeCluster) slotMap() *wire.SlotMapReply {
	m := &wire.SlotMapReply{Version: 1, Groups: uint16(f.groups)}
	for slot := range uint16(wire.Slots) {
		m.Ranges = append(m.Ranges, wire.SlotRange{First: slot, Last: slot, Group: f.groupOf(slot)})
	}
	for _, n := range f.nodes {
		m.Nodes = append(m.Nodes, wire.NodeAddress{Node: n.id, Address: n.address})
	}
	for g, node := range f.leaders {
		m.Leaders = append(m.Leaders, wire.GroupLeader{Group: g, Node: node, Term: 1})
	}
	return m
}

func (f *fakeCluster) status(self string) *wire.ClusterStatusReply {
	m := &wire.ClusterStatusReply{Cluster: f.id, Incarnation: f.incarn, Node: self, TimeMillis: f.now().UnixMilli(),
		Health: wire.HealthOK, CanLose: uint32(len(f.nodes)-1) / 2}
	for id, n := range f.nodes {
		m.Nodes = append(m.Nodes, wire.NodeStatus{Node: id, Address: n.address, State: wire.NodeOK, Version: "test"})
	}
	for g := range f.groups {
		m.Groups = append(m.Groups, wire.GroupStatus{Group: uint16(g), Leader: f.leaders[uint16(g)], Term: 3, Commit: 12,
			Applied: []wire.NodeApplied{{Node: self, Index: 12}}})
	}
	return m
}

func (f *fakeCluster) grant(m wire.Message) wire.Message {
	switch m := m.(type) {
	case *wire.GrantAdd:
		g := wire.Grant{Subject: m.Subject, Actions: m.Actions, Resource: m.Resource}
		rand.Read(g.ID[:])
		f.grants = append(f.grants, g)
		return &wire.GrantAddReply{ID: g.ID}
	case *wire.GrantRemove:
		n := len(f.grants)
		f.grants = slices.DeleteFunc(f.grants, func(g wire.Grant) bool { return g.ID == m.ID })
		if len(f.grants) == n {
			return refuseWith(wire.CodeNotFound)
		}
		return &wire.GrantRemoveReply{}
	case *wire.GrantList:
		reply := &wire.GrantListReply{}
		for _, g := range f.grants {
			if m.Subject == "" || m.Subject == g.Subject {
				reply.Items = append(reply.Items, g)
			}
		}
		return reply
	}
	return refuseWith(wire.CodeUnsupported)
}
