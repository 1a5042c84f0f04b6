package client

import (
	"context"
	"errors"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/sealmq/sealmq/wire"
)

// controlGroup holds grants and members.
const controlGroup = 0

// routes knows which node leads which group, as far as nodes have said. What it knows may be old: a node that does not
// lead says so and who does, and that costs a round trip, never a wrong answer.
type routes struct {
	c *Client

	asking flight[struct{}]

	mu      sync.Mutex
	known   bool
	version uint64
	groups  int
	slots   [wire.Slots]uint16
	leaders map[uint16]leader
	nodes   map[string]*node
}

type leader struct {
	node string
	term uint64
}

func newRoutes(c *Client, addresses map[string]string) *routes {
	r := &routes{c: c, leaders: map[uint16]leader{}, nodes: map[string]*node{}}
	for id, address := range addresses {
		r.nodes[id] = &node{c: c, id: id, addresses: []string{address}}
	}
	return r
}

// node returns the node of an id, a new one if it was not known.
func (r *routes) node(id, address string) *node {
	r.mu.Lock()
	n := r.nodes[id]
	if n == nil && len(r.nodes) < wire.Nodes {
		n = &node{c: r.c, id: id}
		r.nodes[id] = n
	}
	r.mu.Unlock()
	if n != nil {
		n.suggest(address)
	}
	return n
}

// all returns the nodes in random order, those with a connection first.
func (r *routes) all() []*node {
	r.mu.Lock()
	nodes := make([]*node, 0, len(r.nodes))
	for _, n := range r.nodes {
		nodes = append(nodes, n)
	}
	r.mu.Unlock()
	rand.Shuffle(len(nodes), func(i, j int) { nodes[i], nodes[j] = nodes[j], nodes[i] })
	live := 0
	for i, n := range nodes {
		if n.live() != nil {
			nodes[live], nodes[i] = nodes[i], nodes[live]
			live++
		}
	}
	return nodes
}

// refused returns since when every node has refused the connection, zero if one has not or has not been asked. why is
// what one of them ended with.
func (r *routes) refused() (since time.Time, why error) {
	r.mu.Lock()
	nodes := slices.Collect(maps.Values(r.nodes))
	r.mu.Unlock()
	for _, n := range nodes {
		at, err := n.refuses()
		if at.IsZero() {
			return time.Time{}, nil
		}
		if at.After(since) {
			since, why = at, err
		}
	}
	return since, why
}

// any returns a connection to some node.
func (r *routes) any(ctx context.Context) (*conn, error) {
	var refused error
	for _, n := range r.all() {
		c, err := n.connect(ctx)
		if err == nil {
			return c, nil
		}
		// A refusal says more than silence does.
		if refused == nil || isCode(refused, CodeUnreachable) {
			refused = err
		}
		if ctx.Err() != nil {
			break
		}
	}
	return nil, refused
}

// leaderOf returns a connection to the node that leads a group, or to any if nobody knows: it will say who does.
func (r *routes) leaderOf(ctx context.Context, group uint16) (*conn, error) {
	n := r.leader(group)
	if n == nil {
		if err := r.refresh(ctx); err != nil {
			return nil, err
		}
		if n = r.leader(group); n == nil {
			return r.any(ctx)
		}
	}
	c, err := n.connect(ctx)
	if err != nil && ctx.Err() == nil {
		r.lost(group, n.id)
		var certificate *certificateError
		if errors.As(err, &certificate) {
			// Whoever said that this node leads may have lied; others will say otherwise.
			e := *asError(err)
			e.Retryable = true
			return nil, &e
		}
	}
	return c, err
}

func (r *routes) leader(group uint16) *node {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.nodes[r.leaders[group].node]
}

// lost forgets that a node leads a group.
func (r *routes) lost(group uint16, node string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.leaders[group].node == node {
		delete(r.leaders, group)
	}
}

// moved takes a hint from a node that does not lead a group. An empty hint is the news that it does not.
func (r *routes) moved(group uint16, from string, to wire.Leader) {
	r.lost(group, from)
	if to.Node == "" || to.Node == from || r.node(to.Node, to.Address) == nil {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.leaders[group] = leader{node: to.Node}
}

// groupOf returns the group of a slot.
func (r *routes) groupOf(ctx context.Context, slot uint16) (uint16, error) {
	for {
		r.mu.Lock()
		known, group := r.known, r.slots[slot]
		r.mu.Unlock()
		if known {
			return group, nil
		}
		if err := r.refresh(ctx); err != nil {
			return 0, err
		}
	}
}

// knownGroup is groupOf where the slot map is known, as it is once Connect has returned.
func (r *routes) knownGroup(slot uint16) uint16 {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.slots[slot%wire.Slots]
}

// count returns the number of groups, the control group included.
func (r *routes) count(ctx context.Context) (int, error) {
	if _, err := r.groupOf(ctx, 0); err != nil {
		return 0, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.groups, nil
}

// refresh asks a node for the slot map. Callers at the same time share one question.
func (r *routes) refresh(ctx context.Context) error {
	_, err := r.asking.do(ctx, r.c, func(ctx context.Context) (struct{}, error) { return struct{}{}, r.ask(ctx) })
	return err
}

const (
	// askNext is how long a node may take to answer before the next one is asked as well.
	askNext = 100 * time.Millisecond
	// askPatience is how long others are waited for when a node has answered and does not know every leader.
	askPatience = 250 * time.Millisecond
)

// ask asks nodes for the slot map, one and then, a little later, others. It is through when one has answered that knows
// every leader, or a moment after any has: a node that was cut off is the last to learn who leads, and one that is gone
// must not hold up the rest.
func (r *routes) ask(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	type answer struct {
		all bool
		err error
	}
	nodes := r.all()
	answers := make(chan answer, len(nodes))
	asked, answered := 0, 0
	askAnother := func() {
		if asked == len(nodes) {
			return
		}
		n := nodes[asked]
		asked++
		if !r.c.start(func() {
			all, err := r.askOne(ctx, n)
			answers <- answer{all, err}
		}) {
			answers <- answer{false, definite(CodeClosed, errClosed, "")}
		}
	}
	next := time.NewTimer(askNext)
	defer next.Stop()
	var failed error
	var enough <-chan time.Time
	for askAnother(); answered < len(nodes); {
		select {
		case a := <-answers:
			answered++
			switch {
			case a.all:
				return nil
			case a.err == nil && enough == nil:
				patience := time.NewTimer(askPatience)
				defer patience.Stop()
				enough = patience.C
			case a.err != nil && (failed == nil || isCode(failed, CodeUnreachable)):
				failed = a.err
			}
			askAnother()
		case <-next.C:
			askAnother()
			next.Reset(askNext)
		case <-enough:
			return nil
		}
	}
	if enough != nil {
		return nil
	}
	return failed
}

// askOne asks one node. It reports whether every group's leader is known now.
func (r *routes) askOne(ctx context.Context, n *node) (all bool, err error) {
	c, err := n.connect(ctx)
	if err != nil {
		return false, err
	}
	var reply wire.SlotMapReply
	if err := c.roundTrip(ctx, &wire.SlotMap{}, &reply); err != nil {
		return false, err
	}
	return r.learn(&reply), nil
}

// learn takes a slot map in and reports whether every group's leader is known now.
func (r *routes) learn(m *wire.SlotMapReply) bool {
	for i := range m.Nodes {
		r.node(m.Nodes[i].Node, m.Nodes[i].Address)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.known || m.Version >= r.version {
		r.known, r.version, r.groups = true, m.Version, int(m.Groups)
		for _, s := range m.Ranges {
			for slot := int(s.First); slot <= int(s.Last); slot++ {
				r.slots[slot] = s.Group
			}
		}
	}
	for _, l := range m.Leaders {
		if old, ok := r.leaders[l.Group]; l.Node != "" && (!ok || l.Term >= old.term) {
			r.leaders[l.Group] = leader{l.Node, l.Term}
		}
	}
	return len(r.leaders) >= r.groups
}
