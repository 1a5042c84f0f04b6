package broker

import (
	"github.com/sealmq/sealmq/wire"
)

// slotMapVersion never changes: slots are dealt out to groups when a cluster is made.
const slotMapVersion = 1

func (c *conn) handleSlotMap(request uint32, payload []byte) error {
	var m wire.SlotMap
	if err := m.Decode(payload); err != nil {
		return err
	}
	b := c.broker
	reply := &wire.SlotMapReply{Version: slotMapVersion, Groups: uint16(len(b.mail) + 1)}
	for slot := range wire.Slots {
		id := slotGroup(uint16(slot), len(b.mail))
		if n := len(reply.Ranges); n > 0 && reply.Ranges[n-1].Group == id {
			reply.Ranges[n-1].Last = uint16(slot)
		} else {
			reply.Ranges = append(reply.Ranges, wire.SlotRange{First: uint16(slot), Last: uint16(slot), Group: id})
		}
	}
	for _, member := range b.o.Members {
		reply.Nodes = append(reply.Nodes, wire.NodeAddress{Node: member.Node, Address: b.clientAddress(member.Node)})
	}
	for _, g := range b.groups() {
		if s := g.log.State(); s.Leader != "" {
			reply.Leaders = append(reply.Leaders, wire.GroupLeader{Group: g.id, Node: s.Leader, Term: s.Term})
		}
	}
	c.answer(request, reply)
	return nil
}

// handleClusterStatus tells what this node knows: its own indexes, who leads, and which nodes it reaches. Whoever
// wants the others' indexes asks them.
func (c *conn) handleClusterStatus(request uint32, payload []byte) error {
	var m wire.ClusterStatus
	if err := m.Decode(payload); err != nil {
		return err
	}
	if err := c.mayAll(wire.ActionStat, ">"); err != nil {
		return c.failControl(request, err)
	}
	b := c.broker
	reply := &wire.ClusterStatusReply{
		Cluster: b.o.Cluster, Incarnation: b.dir.node.incarnation, Node: b.o.Node, TimeMillis: b.clock.now(),
		Health: wire.HealthOK,
	}
	reachable := 0
	for _, member := range b.o.Members {
		n := wire.NodeStatus{Node: member.Node, Address: b.clientAddress(member.Node), State: wire.NodeUnreachable}
		switch {
		case member.Node == b.o.Node && b.Ready():
			n.State, n.Version = wire.NodeOK, b.o.Version
		case member.Node == b.o.Node:
			n.State, n.Version = wire.NodeStarting, b.o.Version
		case b.host.Reachable(member.Node):
			n.State = wire.NodeOK
		}
		if n.State != wire.NodeUnreachable {
			reachable++
		} else {
			reply.Health = wire.HealthDegraded
		}
		reply.Nodes = append(reply.Nodes, n)
	}
	quorum := len(b.o.Members)/2 + 1
	reply.CanLose = uint32(max(reachable-quorum, 0))
	if reachable < quorum {
		reply.Health = wire.HealthNoQuorum
	}
	for _, g := range b.groups() {
		s := g.log.Status()
		if s.Leader == "" && reply.Health == wire.HealthOK {
			reply.Health = wire.HealthDegraded
		}
		reply.Groups = append(reply.Groups, wire.GroupStatus{
			Group: g.id, Leader: s.Leader, Term: s.Term, Commit: s.Commit,
			Applied: []wire.NodeApplied{{Node: b.o.Node, Index: s.Applied}},
		})
	}
	c.answer(request, reply)
	return nil
}
