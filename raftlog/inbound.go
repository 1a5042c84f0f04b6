package raftlog

import (
	"errors"
	"fmt"
	"io"
	"net"
	"time"

	"github.com/hashicorp/raft"

	"github.com/sealmq/sealmq/internal/codec"
)

const (
	// greetingConns bounds connections that have not said hello yet.
	greetingConns = 64
	// controlRequests and bulkRequests bound what one connection has under way. Raft has one AppendEntries and one
	// heartbeat out per group and peer, so a connection at its bound just waits.
	controlRequests = 256
	bulkRequests    = 64
)

// accept takes connections until the listener is closed.
func (h *Host) accept() {
	greeting := make(chan struct{}, greetingConns)
	for {
		n, err := h.o.Listener.Accept()
		if err != nil {
			if h.ctx.Err() != nil || errors.Is(err, net.ErrClosed) {
				return
			}
			h.log.warn("", "accepting a peer failed", "error", err)
			select {
			case <-h.ctx.Done():
				return
			case <-time.After(firstBackoff):
			}
			continue
		}
		select {
		case greeting <- struct{}{}:
			h.work.Go(func() { h.welcome(n, greeting) })
		default:
			n.Close()
			h.log.warn("", "peer connection refused", "error", "too many unfinished handshakes")
		}
	}
}

// welcome answers the hello of a new connection and serves it. It gives its token back when the hello is over.
func (h *Host) welcome(n net.Conn, greeting <-chan struct{}) {
	c := newConn(n)
	unhook := h.closeWith(c)
	defer unhook()
	late := time.AfterFunc(handshakeTimeout, func() { c.close(errTimeout) })
	p, ch, err := h.greeted(c)
	late.Stop()
	<-greeting
	if err != nil {
		c.close(err)
		h.log.warn("", "peer connection refused", "error", err)
		return
	}
	p.control.kick()
	p.bulk.kick()
	h.serve(p, c, ch)
	p.release(c, ch)
}

// greeted reads and answers the hello, and claims the connection for its peer.
func (h *Host) greeted(c *conn) (*peer, channel, error) {
	name, err := h.o.PeerName(c.net)
	if err != nil {
		return nil, 0, fmt.Errorf("identity of the peer: %w", err)
	}
	var buf [smallFrameBytes]byte
	f, payload, err := c.readSmall(&buf)
	if err != nil {
		return nil, 0, fmt.Errorf("hello: %w", err)
	}
	if f.typ != frameHello {
		return nil, 0, fmt.Errorf("%w: no hello", errFrame)
	}
	q, err := parseHello(payload)
	if err != nil {
		return nil, 0, err
	}
	p, refused := h.judge(q, name, c)
	w := welcome{refusal: refused}
	if refused == accepted {
		w.version, w.cluster, w.process, w.node = protocolVersion, h.o.Cluster, h.process, h.o.Node
	}
	b := appendWelcome(nil, w)
	front := append(appendHead(nil, head{typ: frameWelcome, size: len(b)}), b...)
	if err := c.send(nil, nil, front, nil); err != nil {
		if p != nil {
			p.release(c, q.channel)
		}
		return nil, 0, err
	}
	if refused != accepted {
		return nil, 0, fmt.Errorf("node %q: %w", name, refused.err())
	}
	return p, q.channel, nil
}

// judge decides on a hello. name is what the connection's certificate says.
func (h *Host) judge(q hello, name string, c *conn) (*peer, refusal) {
	switch {
	case q.minVersion > protocolVersion || q.maxVersion < protocolVersion:
		return nil, refusedVersion
	case q.cluster != h.o.Cluster:
		return nil, refusedCluster
	case q.to != h.o.Node:
		return nil, refusedWrongNode
	case q.from != name:
		return nil, refusedIdentity
	case q.from == h.o.Node:
		return nil, refusedDuplicate
	}
	p := h.memberPeer(q.from)
	if p == nil {
		return nil, refusedNotMember
	}
	if p.claim(q.process, c) != nil {
		return nil, refusedDuplicate
	}
	return p, accepted
}

// serve answers the requests of a connection until it dies.
func (h *Host) serve(p *peer, c *conn, ch channel) {
	h.work.Go(func() { c.watch(h.silence(ch), false) })
	err := h.readRequests(p, c, ch)
	c.close(err)
	if errors.Is(err, errFrame) {
		h.log.warn(p.node, "peer connection closed", "peer", p.node, "error", err)
	}
}

func (h *Host) readRequests(p *peer, c *conn, ch channel) error {
	limit, under := smallFrameBytes, make(chan struct{}, controlRequests)
	if ch == channelBulk {
		limit, under = bulkFrameBytes, make(chan struct{}, bulkRequests)
	}
	for {
		f, err := readHead(c.r, limit)
		if err != nil {
			return err
		}
		if f.typ == framePing {
			if f.size != 0 {
				return fmt.Errorf("%w: ping with a payload", errFrame)
			}
			if err := c.trySend(head{typ: framePong, id: f.id}); err != nil {
				return err
			}
			continue
		}
		command, err := readRequest(c.r, f)
		if err != nil {
			return err
		}
		select {
		case under <- struct{}{}:
		case <-c.dead:
			return c.cause
		}
		h.work.Go(func() {
			defer func() { <-under }()
			h.answer(p, c, f, command)
		})
	}
}

// readRequest reads a request's payload and makes the command that Raft knows.
func readRequest(r io.Reader, f head) (any, error) {
	if f.typ == frameAppend {
		return readAppend(r, f.size)
	}
	if f.size > smallFrameBytes {
		return nil, fmt.Errorf("%w: %d bytes of type %d", errFrame, f.size, f.typ)
	}
	b := make([]byte, f.size)
	if _, err := io.ReadFull(r, b); err != nil {
		return nil, err
	}
	switch f.typ {
	case frameVote:
		v, err := parseVote(b, f.typ)
		return &raft.RequestVoteRequest{
			Term: v.term, LastLogIndex: v.lastIndex, LastLogTerm: v.lastTerm, LeadershipTransfer: v.transfer,
		}, err
	case framePreVote:
		v, err := parseVote(b, f.typ)
		return &raft.RequestPreVoteRequest{Term: v.term, LastLogIndex: v.lastIndex, LastLogTerm: v.lastTerm}, err
	case frameTimeoutNow:
		term, err := parseTimeoutNow(b)
		return timeoutNow{term: term}, err
	case frameStanding:
		return askStanding{}, empty(b)
	case frameReadIndex:
		return askReadIndex{}, empty(b)
	}
	return nil, fmt.Errorf("%w: type %d in a request", errFrame, f.typ)
}

func empty(payload []byte) error {
	r := codec.NewReader(payload)
	return finish(&r, "question")
}

// answer hands a command to its group and sends what comes back.
func (h *Host) answer(p *peer, c *conn, f head, command any) {
	var response any
	err := error(errNoGroup)
	if g := h.group(f.group); g != nil {
		response, err = g.answer(p.node, command, c.dead)
	}
	typ, payload := encodeReply(f.typ, response, err)
	front := make([]byte, 0, headBytes+len(payload))
	front = append(appendHead(front, head{typ: typ, group: f.group, id: f.id, size: len(payload)}), payload...)
	c.send(nil, nil, front, nil)
}

// encodeReply makes the reply to a request of type asked. Votes have no failures: they are refused.
func encodeReply(asked frameType, response any, err error) (frameType, []byte) {
	switch r := response.(type) {
	case *raft.RequestVoteResponse:
		if asked == frameVote {
			return frameVoteReply, appendVoteReply(nil, voteReply{term: r.Term, granted: r.Granted && err == nil})
		}
	case *raft.RequestPreVoteResponse:
		if asked == framePreVote {
			return framePreVoteReply, appendVoteReply(nil, voteReply{term: r.Term, granted: r.Granted && err == nil})
		}
	case *raft.AppendEntriesResponse:
		if asked == frameAppend && err == nil {
			return frameAppendReply, appendAppendReply(nil, appendReply{
				term: r.Term, lastLog: r.LastLog, success: r.Success, noRetryBackoff: r.NoRetryBackoff,
			})
		}
	case *raft.TimeoutNowResponse:
		if asked == frameTimeoutNow && err == nil {
			return frameTimeoutReply, nil
		}
	case standing:
		if asked == frameStanding && err == nil {
			return frameStandingReply, appendStanding(nil, r)
		}
	case readIndex:
		if asked == frameReadIndex && err == nil {
			return frameReadIndexReply, appendReadIndex(nil, r)
		}
	}
	if asked == frameVote || asked == framePreVote {
		return asked + 1, appendVoteReply(nil, voteReply{})
	}
	why := failRefused
	if errors.Is(err, errNoGroup) {
		why = failNoGroup
	}
	return frameFailure, []byte{byte(why)}
}
