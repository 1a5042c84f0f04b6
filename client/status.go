package client

import (
	"context"
	"encoding/hex"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/sealmq/sealmq/wire"
)

// Status is how a cluster is.
type Status struct {
	Cluster string // its id in hexadecimal digits
	Health  string // ok, degraded or no_quorum
	CanLose int    // how many more nodes may fail
	Nodes   []NodeStatus
	Groups  []GroupStatus
}

// NodeStatus is how a node is.
type NodeStatus struct {
	Node, Address string
	State         string // ok, starting, unreachable, quarantined or locked
	Version       string // of its software
}

// GroupStatus is how a group is.
type GroupStatus struct {
	Group        uint16
	Leader       string // empty if nobody knows
	Term, Commit uint64
	Applied      map[string]uint64 // by node
}

// statusTimeout is how long a node may take to say how it is.
const statusTimeout = 3 * time.Second

// Status asks every node how it is and how it sees the others, and puts together what they say.
func (c *Client) Status(ctx context.Context) (*Status, error) {
	ctx, stop := withDeadline(ctx)
	defer stop()
	if err := c.retry(ctx, c.routes.refresh); err != nil {
		return nil, err
	}
	nodes := c.routes.all()
	replies := make([]*wire.ClusterStatusReply, len(nodes))
	errs := make([]error, len(nodes))
	var asked sync.WaitGroup
	for i, n := range nodes {
		asked.Go(func() {
			ctx, cancel := context.WithTimeout(ctx, statusTimeout)
			defer cancel()
			conn, err := n.connect(ctx)
			var reply wire.ClusterStatusReply
			if err == nil {
				err = conn.roundTrip(ctx, &wire.ClusterStatus{}, &reply)
			}
			if errs[i] = err; err == nil {
				replies[i] = &reply
			}
		})
	}
	asked.Wait()
	answers := slices.DeleteFunc(replies, func(r *wire.ClusterStatusReply) bool { return r == nil })
	if len(answers) == 0 {
		for _, err := range errs {
			if !isCode(err, CodeUnreachable) {
				return nil, err
			}
		}
		return nil, errs[0]
	}
	return mergeStatus(answers), nil
}

// mergeStatus puts together what nodes say. The one that leads the control group, or has seen most, speaks for the
// cluster; each node speaks for itself.
func mergeStatus(answers []*wire.ClusterStatusReply) *Status {
	slices.SortFunc(answers, func(a, b *wire.ClusterStatusReply) int { return strings.Compare(a.Node, b.Node) })
	best := answers[0]
	for _, a := range answers {
		if a.Health < best.Health || leads(a) && !leads(best) && a.Health <= best.Health {
			best = a
		}
	}
	s := &Status{Cluster: hex.EncodeToString(best.Cluster[:]), Health: best.Health.String(), CanLose: int(best.CanLose)}
	for _, n := range best.Nodes {
		state := NodeStatus{n.Node, n.Address, n.State.String(), n.Version}
		i := slices.IndexFunc(answers, func(a *wire.ClusterStatusReply) bool { return a.Node == n.Node })
		if i < 0 && n.State == wire.NodeOK {
			// It did not answer, whatever the others think.
			state.State = wire.NodeUnreachable.String()
		}
		if i >= 0 {
			for _, self := range answers[i].Nodes {
				if self.Node == n.Node {
					state.State, state.Version = self.State.String(), self.Version
				}
			}
		}
		s.Nodes = append(s.Nodes, state)
	}
	slices.SortFunc(s.Nodes, func(a, b NodeStatus) int { return strings.Compare(a.Node, b.Node) })
	s.mergeGroups(answers)
	if s.Health == wire.HealthOK.String() && slices.ContainsFunc(s.Nodes, func(n NodeStatus) bool {
		return n.State != wire.NodeOK.String()
	}) {
		s.Health = wire.HealthDegraded.String()
		s.CanLose = max(s.CanLose-1, 0)
	}
	return s
}

func leads(a *wire.ClusterStatusReply) bool {
	for i := range a.Groups {
		if a.Groups[i].Group == controlGroup {
			return a.Groups[i].Leader == a.Node
		}
	}
	return false
}

func (s *Status) mergeGroups(answers []*wire.ClusterStatusReply) {
	byGroup := map[uint16]*GroupStatus{}
	for _, a := range answers {
		for i := range a.Groups {
			g := &a.Groups[i]
			into := byGroup[g.Group]
			if into == nil {
				into = &GroupStatus{Group: g.Group, Applied: map[string]uint64{}}
				byGroup[g.Group] = into
			}
			if g.Leader != "" && g.Term >= into.Term {
				into.Leader = g.Leader
			}
			into.Term, into.Commit = max(into.Term, g.Term), max(into.Commit, g.Commit)
			for _, n := range g.Applied {
				into.Applied[n.Node] = max(into.Applied[n.Node], n.Index)
			}
		}
	}
	for _, g := range byGroup {
		s.Groups = append(s.Groups, *g)
	}
	slices.SortFunc(s.Groups, func(a, b GroupStatus) int { return int(a.Group) - int(b.Group) })
}
