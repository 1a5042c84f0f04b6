package wire

import (
	"math"
	"strconv"

	"github.com/sealmq/sealmq/internal/codec"
)

// SlotMap asks where mailboxes live.
type SlotMap struct {
	Options Options
}

// Type returns TypeSlotMap.
func (m *SlotMap) Type() Type { return TypeSlotMap }

// Append appends the payload.
func (m *SlotMap) Append(dst []byte) []byte { return appendOptions(dst, m.Options) }

// Decode reads a payload.
func (m *SlotMap) Decode(payload []byte) error {
	r := codec.NewReader(payload)
	m.Options = readOptions(&r, m.Options)
	return finish(&r, TypeSlotMap)
}

// SlotMapReply answers a slot map: slots belong to groups, groups are led by nodes, nodes have addresses.
type SlotMapReply struct {
	Version uint64
	Groups  uint16      // number of groups, the control group (0) included
	Ranges  []SlotRange // all slots, ascending
	Nodes   []NodeAddress
	Leaders []GroupLeader // as far as the node knows
	Options Options
}

// SlotRange gives the slots First to Last to a group.
type SlotRange struct {
	First, Last, Group uint16
}

// NodeAddress is where clients reach a node.
type NodeAddress struct {
	Node, Address string
	Options       Options
}

// GroupLeader says who leads a group.
type GroupLeader struct {
	Group uint16
	Node  string
	Term  uint64
}

// GroupOf returns the group of a slot.
func (m *SlotMapReply) GroupOf(slot uint16) (group uint16, ok bool) {
	for _, s := range m.Ranges {
		if s.First <= slot && slot <= s.Last {
			return s.Group, true
		}
	}
	return 0, false
}

// Type returns TypeSlotMapReply.
func (m *SlotMapReply) Type() Type { return TypeSlotMapReply }

// Append appends the payload.
func (m *SlotMapReply) Append(dst []byte) []byte {
	dst = codec.AppendU64(dst, m.Version)
	dst = codec.AppendU16(dst, m.Groups)
	dst = codec.AppendUvarint(dst, uint64(len(m.Ranges)))
	for _, s := range m.Ranges {
		dst = codec.AppendU16(dst, s.Last)
		dst = codec.AppendU16(dst, s.Group)
	}
	dst = codec.AppendUvarint(dst, uint64(len(m.Nodes)))
	for i := range m.Nodes {
		dst = appendString(dst, m.Nodes[i].Node)
		dst = appendString(dst, m.Nodes[i].Address)
		dst = appendOptions(dst, m.Nodes[i].Options)
	}
	dst = codec.AppendUvarint(dst, uint64(len(m.Leaders)))
	for i := range m.Leaders {
		dst = codec.AppendU16(dst, m.Leaders[i].Group)
		dst = appendString(dst, m.Leaders[i].Node)
		dst = codec.AppendUvarint(dst, m.Leaders[i].Term)
	}
	return appendOptions(dst, m.Options)
}

// Decode reads a payload. It refuses a map that leaves a slot out or gives it to a group that is not there.
func (m *SlotMapReply) Decode(payload []byte) error {
	r := codec.NewReader(payload)
	m.Version = r.U64()
	if m.Groups = r.U16(); r.Err() == nil && (m.Groups == 0 || m.Groups > Groups) {
		r.Fail(&FieldError{"groups", ErrRange})
	}
	m.readRanges(&r)
	m.Nodes = readList(&r, m.Nodes, Nodes, 3, func(r *codec.Reader, n *NodeAddress) {
		n.Node = readNode(r)
		n.Address = readAddress(r)
		n.Options = readOptions(r, n.Options)
	})
	m.Leaders = readList(&r, m.Leaders, Groups, 4, func(r *codec.Reader, l *GroupLeader) {
		l.Group = readGroup(r)
		l.Node = readNode(r)
		l.Term = r.Uvarint()
	})
	m.Options = readOptions(&r, m.Options)
	return finish(&r, TypeSlotMapReply)
}

func (m *SlotMapReply) readRanges(r *codec.Reader) {
	first := 0
	m.Ranges = readList(r, m.Ranges, Slots, 4, func(r *codec.Reader, s *SlotRange) {
		*s = SlotRange{uint16(first), readSlot(r), r.U16()}
		if r.Err() == nil && (int(s.Last) < first || s.Group >= m.Groups) {
			r.Fail(&FieldError{"ranges", ErrRange})
		}
		first = int(s.Last) + 1
	})
	if r.Err() == nil && first != Slots {
		r.Fail(&FieldError{"ranges", ErrRange})
	}
}

// ClusterStatus asks how the cluster is, as one node sees it.
type ClusterStatus struct {
	Options Options
}

// Type returns TypeClusterStatus.
func (m *ClusterStatus) Type() Type { return TypeClusterStatus }

// Append appends the payload.
func (m *ClusterStatus) Append(dst []byte) []byte { return appendOptions(dst, m.Options) }

// Decode reads a payload.
func (m *ClusterStatus) Decode(payload []byte) error {
	r := codec.NewReader(payload)
	m.Options = readOptions(&r, m.Options)
	return finish(&r, TypeClusterStatus)
}

// Health sums a cluster up. Unknown values may come from newer nodes.
type Health uint8

// The states of a cluster.
const (
	HealthOK       Health = 1
	HealthDegraded Health = 2
	HealthNoQuorum Health = 3
)

// String returns the name of h.
func (h Health) String() string {
	return nameOf("health_", uint8(h), "", "ok", "degraded", "no_quorum")
}

// NodeState is how a node is. Unknown values may come from newer nodes.
type NodeState uint8

// The states of a node.
const (
	NodeOK          NodeState = 1
	NodeStarting    NodeState = 2
	NodeUnreachable NodeState = 3
	NodeQuarantined NodeState = 4
	NodeLocked      NodeState = 5
)

// String returns the name of s.
func (s NodeState) String() string {
	return nameOf("state_", uint8(s), "", "ok", "starting", "unreachable", "quarantined", "locked")
}

func nameOf(unknown string, v uint8, names ...string) string {
	if v != 0 && int(v) < len(names) {
		return names[v]
	}
	return unknown + strconv.Itoa(int(v))
}

// ClusterStatusReply answers a cluster status.
type ClusterStatusReply struct {
	Cluster     [16]byte
	Incarnation uint64
	Node        string // who answers
	TimeMillis  int64
	Health      Health
	CanLose     uint32 // how many more nodes may fail
	Nodes       []NodeStatus
	Groups      []GroupStatus
	Options     Options
}

// NodeStatus is one node as another sees it.
type NodeStatus struct {
	Node, Address string
	State         NodeState
	Version       string // of its software
	Options       Options
}

// GroupStatus is one group.
type GroupStatus struct {
	Group   uint16
	Leader  string // empty if not known
	Term    uint64
	Commit  uint64
	Applied []NodeApplied
	Options Options
}

// NodeApplied is the index that a node has applied of a group.
type NodeApplied struct {
	Node  string
	Index uint64
}

// Type returns TypeClusterStatusReply.
func (m *ClusterStatusReply) Type() Type { return TypeClusterStatusReply }

// Append appends the payload.
func (m *ClusterStatusReply) Append(dst []byte) []byte {
	dst = append(dst, m.Cluster[:]...)
	dst = codec.AppendU64(dst, m.Incarnation)
	dst = appendString(dst, m.Node)
	dst = codec.AppendU64(dst, uint64(m.TimeMillis))
	dst = append(dst, byte(m.Health))
	dst = codec.AppendUvarint(dst, uint64(m.CanLose))
	dst = codec.AppendUvarint(dst, uint64(len(m.Nodes)))
	for i := range m.Nodes {
		n := &m.Nodes[i]
		dst = appendString(dst, n.Node)
		dst = appendString(dst, n.Address)
		dst = append(dst, byte(n.State))
		dst = appendString(dst, n.Version)
		dst = appendOptions(dst, n.Options)
	}
	dst = codec.AppendUvarint(dst, uint64(len(m.Groups)))
	for i := range m.Groups {
		dst = m.Groups[i].append(dst)
	}
	return appendOptions(dst, m.Options)
}

func (g *GroupStatus) append(dst []byte) []byte {
	dst = codec.AppendU16(dst, g.Group)
	dst = appendString(dst, g.Leader)
	dst = codec.AppendUvarint(dst, g.Term)
	dst = codec.AppendUvarint(dst, g.Commit)
	dst = codec.AppendUvarint(dst, uint64(len(g.Applied)))
	for i := range g.Applied {
		dst = appendString(dst, g.Applied[i].Node)
		dst = codec.AppendUvarint(dst, g.Applied[i].Index)
	}
	return appendOptions(dst, g.Options)
}

func (g *GroupStatus) read(r *codec.Reader) {
	g.Group = readGroup(r)
	g.Leader = readNode(r)
	g.Term = r.Uvarint()
	g.Commit = r.Uvarint()
	g.Applied = readList(r, g.Applied, Nodes, 2, func(r *codec.Reader, a *NodeApplied) {
		a.Node = readNode(r)
		a.Index = r.Uvarint()
	})
	g.Options = readOptions(r, g.Options)
}

// Decode reads a payload.
func (m *ClusterStatusReply) Decode(payload []byte) error {
	r := codec.NewReader(payload)
	m.Cluster = r.Array16()
	m.Incarnation = r.U64()
	m.Node = readNode(&r)
	m.TimeMillis = int64(r.U64())
	m.Health = Health(r.U8())
	m.CanLose = readU32(&r, "can_lose", 0, math.MaxUint32)
	m.Nodes = readList(&r, m.Nodes, Nodes, 5, func(r *codec.Reader, n *NodeStatus) {
		n.Node = readNode(r)
		n.Address = readAddress(r)
		n.State = NodeState(r.U8())
		n.Version = readText(r, "version")
		n.Options = readOptions(r, n.Options)
	})
	m.Groups = readList(&r, m.Groups, Groups, 7, func(r *codec.Reader, g *GroupStatus) { g.read(r) })
	m.Options = readOptions(&r, m.Options)
	return finish(&r, TypeClusterStatusReply)
}
