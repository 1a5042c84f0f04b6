package client

import (
	"cmp"
	"context"
	"slices"
	"sync"
	"time"

	"github.com/sealmq/sealmq/wire"
)

// verdict is what a receiver says about a leased message.
type verdict struct {
	kind        byte
	nack        wire.NackCode
	appCode     uint32
	delayMillis uint32
	leaseMillis uint32
}

const (
	verdictAck byte = iota
	verdictNack
	verdictExtend
)

// settleKey is what verdicts have in common that go out in one frame.
type settleKey struct {
	mailbox wire.MailboxRef
	lease   [8]byte
	verdict verdict
}

// settleOp is a verdict on one message. then is told the result, once, and must not block.
type settleOp struct {
	seq   uint64
	lease *lease // to note an extension in, may be nil
	then  func(error)
}

// settler sends the verdicts on messages of one group. What gathers while a round is on its way goes out together in
// the next: the busier, the fewer frames.
type settler struct {
	c     *Client
	group uint16

	mu      sync.Mutex
	open    map[settleKey][]settleOp
	running bool
}

// settling is the verdicts of one frame.
type settling struct {
	key  settleKey
	ops  []settleOp
	seqs []uint64 // ascending, each once
	sent bool     // an attempt may have got through
	call *call
}

// settle gives a verdict on its way. It does not block.
func (c *Client) settle(key settleKey, op settleOp) {
	group := c.routes.knownGroup(key.mailbox.Slot)
	c.mu.Lock()
	s := c.settlers[group]
	if s == nil {
		s = &settler{c: c, group: group, open: map[settleKey][]settleOp{}}
		c.settlers[group] = s
	}
	c.mu.Unlock()
	s.mu.Lock()
	s.open[key] = append(s.open[key], op)
	begin := !s.running
	s.running = true
	s.mu.Unlock()
	if begin && !c.start(s.run) {
		s.refuse()
	}
}

// run sends rounds until nothing is left to say.
func (s *settler) run() {
	for {
		round := s.take()
		if round == nil {
			return
		}
		s.round(round)
	}
}

func (s *settler) take() []*settling {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.open) == 0 {
		s.running = false
		return nil
	}
	var round []*settling
	for key, ops := range s.open {
		for chunk := range slices.Chunk(ops, wire.BatchItems) {
			round = append(round, newSettling(key, chunk))
		}
	}
	s.open = make(map[settleKey][]settleOp, len(round))
	return round
}

func newSettling(key settleKey, ops []settleOp) *settling {
	g := &settling{key: key, ops: ops, seqs: make([]uint64, len(ops))}
	for i := range ops {
		g.seqs[i] = ops[i].seq
	}
	slices.Sort(g.seqs)
	g.seqs = slices.Compact(g.seqs)
	return g
}

// refuse ends what waits when the client is closed.
func (s *settler) refuse() {
	s.mu.Lock()
	open := s.open
	s.open, s.running = map[settleKey][]settleOp{}, false
	s.mu.Unlock()
	for _, ops := range open {
		for _, op := range ops {
			op.then(definite(CodeClosed, errClosed, ""))
		}
	}
}

// round sends verdicts until each has its answer, failed for good, or has been tried for the default timeout. Verdicts
// may be repeated: whoever acked a message may ack it again under the same lease.
func (s *settler) round(round []*settling) {
	ctx, cancel := context.WithTimeout(s.c.ctx, defaultTimeout)
	defer cancel()
	var wait backoff
	for {
		left, e := s.attempt(ctx, round)
		if len(left) == 0 {
			return
		}
		round = left
		gone := s.c.hopeless(ctx)
		hinted := e.failure != nil && e.failure.Leader.Node != "" && wait.attempts == 0
		pause := wait.next(e.RetryAfter)
		if gone != nil || ctx.Err() != nil || !e.Retryable || !hinted && !sleep(ctx, pause) {
			for _, g := range round {
				failed := e.withOutcome(g.sent)
				if gone != nil && e.Retryable {
					failed = gone.withOutcome(g.sent)
				} else if e.Retryable {
					failed = ended(context.Cause(ctx), e, g.sent)
				}
				g.done(failed, nil)
			}
			return
		}
	}
}

// attempt sends every verdict once. It returns those to send again and why.
func (s *settler) attempt(ctx context.Context, round []*settling) (left []*settling, why *Error) {
	c, err := s.c.routes.leaderOf(ctx, s.group)
	if err != nil {
		return round, asError(err)
	}
	for _, g := range round {
		if g.call, err = c.begin(g.message()); err != nil {
			g.call = nil
			left, why = append(left, g), asError(err)
		}
	}
	for _, g := range round {
		if g.call == nil {
			continue
		}
		var reply wire.LeaseReply
		select {
		case <-g.call.done:
			err = g.call.result(&reply)
		case <-ctx.Done():
			err = ended(context.Cause(ctx), nil, true)
		}
		switch e := asErrorOrNil(err); {
		case e == nil && again(&reply) != nil:
			left, why = append(left, g), again(&reply)
		case e == nil:
			g.done(nil, &reply)
		case e.Retryable:
			g.sent = g.sent || e.Outcome == Unknown
			left, why = append(left, g), e
		default:
			g.done(e.withOutcome(g.sent), nil)
		}
	}
	if why != nil {
		s.c.noteRoute(s.group, c, why)
	}
	return left, why
}

// again returns why verdicts that were answered have to be given again, nil if they have not.
func again(reply *wire.LeaseReply) *Error {
	for _, run := range reply.Runs {
		if run.Code.Retryable() {
			return fromCode(run.Code, 0, "")
		}
	}
	return nil
}

// message returns the frame that says it.
func (g *settling) message() wire.Message {
	var seqs []wire.SeqRange
	for _, seq := range g.seqs {
		seqs = wire.AddSeq(seqs, seq)
	}
	switch v := g.key.verdict; v.kind {
	case verdictAck:
		return &wire.Ack{Mailbox: g.key.mailbox, Lease: g.key.lease, Seqs: seqs}
	case verdictExtend:
		return &wire.Extend{Mailbox: g.key.mailbox, Lease: g.key.lease, Seqs: seqs, LeaseMillis: v.leaseMillis}
	default:
		return &wire.Nack{Mailbox: g.key.mailbox, Lease: g.key.lease, Seqs: seqs,
			Code: v.nack, AppCode: v.appCode, DelayMillis: v.delayMillis}
	}
}

// done tells everybody how it went: e for all of them, or the node's reply.
func (g *settling) done(e *Error, reply *wire.LeaseReply) {
	results := make([]wire.Code, 0, len(g.seqs))
	if reply != nil {
		for _, code := range reply.Results() {
			results = append(results, code)
		}
		if len(results) != len(g.seqs) {
			e = &Error{Code: CodeInternal, Outcome: Unknown, Detail: "the node gave another number of results"}
		}
	}
	for _, op := range g.ops {
		err := e
		if err == nil {
			i, _ := slices.BinarySearch(g.seqs, op.seq)
			if results[i] != wire.CodeOK {
				// An attempt whose answer was lost may have settled it, and ended its lease by that.
				err = fromCode(results[i], 0, "").withOutcome(g.sent)
			} else if v := g.key.verdict; v.kind == verdictExtend && op.lease != nil {
				left := time.Duration(cmp.Or(reply.LeaseMillis, v.leaseMillis)) * time.Millisecond
				op.lease.extended(cmp.Or(left, op.lease.lasts()))
			}
		}
		if err == nil {
			op.then(nil)
		} else {
			op.then(err)
		}
	}
}

// asErrorOrNil is asError for an error that may be nil.
func asErrorOrNil(err error) *Error {
	if err == nil {
		return nil
	}
	return asError(err)
}
