package raftlog

import (
	"encoding/binary"
	"fmt"
	"io"

	"github.com/hashicorp/raft"

	"github.com/sealmq/sealmq/internal/codec"
)

// The limits of the peer protocol. A sender keeps them, a receiver checks them before it takes memory.
const (
	// MaxEntryBytes is the largest entry that can be proposed.
	MaxEntryBytes = 4 << 20
	// maxAppendBytes is how many bytes of entries one AppendEntries carries, unless its first entry alone has more.
	maxAppendBytes = MaxEntryBytes
	// maxAppendEntries is how many entries one frame may carry. Raft is configured for far fewer.
	maxAppendEntries = 1024

	headBytes        = 15
	appendFixedBytes = 34
	entryHeadBytes   = 13
	// smallFrameBytes bounds every frame that carries no entries.
	smallFrameBytes = 1 << 10
	bulkFrameBytes  = headBytes + appendFixedBytes + maxAppendEntries*entryHeadBytes + maxAppendBytes
)

type frameType uint8

// The types of frames. Numbers are never reused. A reply is its request plus one.
const (
	frameHello        frameType = 1
	frameWelcome      frameType = 2
	framePing         frameType = 3
	framePong         frameType = 4
	frameFailure      frameType = 5
	frameVote         frameType = 16
	frameVoteReply    frameType = 17
	framePreVote      frameType = 18
	framePreVoteReply frameType = 19
	frameAppend       frameType = 20
	frameAppendReply  frameType = 21
	frameTimeoutNow   frameType = 22
	frameTimeoutReply frameType = 23

	frameStanding       frameType = 24
	frameStandingReply  frameType = 25
	frameReadIndex      frameType = 26
	frameReadIndexReply frameType = 27
)

// failure says why a request was not answered. It carries no text: Raft reads meaning into error texts.
type failure uint8

const (
	failNoGroup failure = 1 // the group does not run on this node (yet)
	failRefused failure = 2 // Raft, or a rule of this package, refused the request
)

// head is what every frame starts with. size counts the payload.
type head struct {
	size  int
	typ   frameType
	group uint16
	id    uint64
}

func appendHead(dst []byte, h head) []byte {
	dst = codec.AppendU32(dst, uint32(headBytes-4+h.size))
	dst = append(dst, byte(h.typ))
	dst = codec.AppendU16(dst, h.group)
	return codec.AppendU64(dst, h.id)
}

// readHead reads a frame's head and refuses a frame of more than limit bytes.
func readHead(r io.Reader, limit int) (head, error) {
	var b [headBytes]byte
	if _, err := io.ReadFull(r, b[:]); err != nil {
		return head{}, err
	}
	size := uint64(binary.BigEndian.Uint32(b[:]))
	if size < headBytes-4 || size > uint64(limit-4) {
		return head{}, fmt.Errorf("%w: frame of %d bytes", errFrame, size)
	}
	return head{
		size:  int(size) - (headBytes - 4),
		typ:   frameType(b[4]),
		group: binary.BigEndian.Uint16(b[5:]),
		id:    binary.BigEndian.Uint64(b[7:]),
	}, nil
}

// finish ends a decoder: a failure of the reader becomes errFrame.
func finish(r *codec.Reader, what string) error {
	if err := r.Done(); err != nil {
		return fmt.Errorf("%w: %s: %w", errFrame, what, err)
	}
	return nil
}

// flags reads one byte of flags and refuses bits outside known.
func flags(r *codec.Reader, known uint8) uint8 {
	f := r.U8()
	if f&^known != 0 {
		r.Fail(errFrame)
	}
	return f
}

// vote is RequestVote and, without its flag, RequestPreVote. The candidate is the node at the other end.
type vote struct {
	term, lastIndex, lastTerm uint64
	transfer                  bool
}

func appendVote(dst []byte, v vote) []byte {
	dst = codec.AppendU64(dst, v.term)
	dst = codec.AppendU64(dst, v.lastIndex)
	dst = codec.AppendU64(dst, v.lastTerm)
	return append(dst, bit(v.transfer, 1))
}

func parseVote(b []byte, typ frameType) (vote, error) {
	r := codec.NewReader(b)
	v := vote{term: r.U64(), lastIndex: r.U64(), lastTerm: r.U64()}
	known := uint8(1)
	if typ == framePreVote {
		known = 0
	}
	v.transfer = flags(&r, known) != 0
	return v, finish(&r, "vote")
}

// voteReply answers a vote or a pre-vote.
type voteReply struct {
	term    uint64
	granted bool
}

func appendVoteReply(dst []byte, v voteReply) []byte {
	return append(codec.AppendU64(dst, v.term), bit(v.granted, 1))
}

func parseVoteReply(b []byte) (voteReply, error) {
	r := codec.NewReader(b)
	v := voteReply{term: r.U64(), granted: flags(&r, 1) != 0}
	return v, finish(&r, "vote reply")
}

// appendReply answers AppendEntries.
type appendReply struct {
	term, lastLog           uint64
	success, noRetryBackoff bool
}

func appendAppendReply(dst []byte, a appendReply) []byte {
	dst = codec.AppendU64(dst, a.term)
	dst = codec.AppendU64(dst, a.lastLog)
	return append(dst, bit(a.success, 1)|bit(a.noRetryBackoff, 2))
}

func parseAppendReply(b []byte) (appendReply, error) {
	r := codec.NewReader(b)
	a := appendReply{term: r.U64(), lastLog: r.U64()}
	f := flags(&r, 3)
	a.success, a.noRetryBackoff = f&1 != 0, f&2 != 0
	return a, finish(&r, "append reply")
}

func bit(set bool, b uint8) uint8 {
	if set {
		return b
	}
	return 0
}

// timeoutNow asks the receiver to campaign at once. It names the term of the leader that asks: Raft's own message does
// not, and one that was delayed would depose a later leader.
func appendTimeoutNow(dst []byte, term uint64) []byte { return codec.AppendU64(dst, term) }

func parseTimeoutNow(b []byte) (uint64, error) {
	r := codec.NewReader(b)
	term := r.U64()
	return term, finish(&r, "timeout now")
}

func parseFailure(b []byte) (failure, error) {
	r := codec.NewReader(b)
	f := failure(r.U8())
	return f, finish(&r, "failure")
}

// appendAppendHead appends the part of AppendEntries that stands before the entries' data. Indexes are not sent: the
// entries follow PrevLogEntry without a gap.
func appendAppendHead(dst []byte, a *raft.AppendEntriesRequest) []byte {
	dst = codec.AppendU64(dst, a.Term)
	dst = codec.AppendU64(dst, a.PrevLogEntry)
	dst = codec.AppendU64(dst, a.PrevLogTerm)
	dst = codec.AppendU64(dst, a.LeaderCommitIndex)
	dst = codec.AppendU16(dst, uint16(len(a.Entries)))
	for _, e := range a.Entries {
		dst = codec.AppendU64(dst, e.Term)
		dst = append(dst, byte(e.Type))
		dst = codec.AppendU32(dst, uint32(len(e.Data)))
	}
	return dst
}

// readAppend reads an AppendEntries of size bytes from r. Every entry's data is memory of its own, so that the cache
// can let go of one without the others, and none is taken before all lengths are known to add up to the frame.
func readAppend(r io.Reader, size int) (*raft.AppendEntriesRequest, error) {
	if size < appendFixedBytes {
		return nil, fmt.Errorf("%w: append of %d bytes", errFrame, size)
	}
	var fixed [appendFixedBytes]byte
	if _, err := io.ReadFull(r, fixed[:]); err != nil {
		return nil, err
	}
	c := codec.NewReader(fixed[:])
	a := &raft.AppendEntriesRequest{
		Term: c.U64(), PrevLogEntry: c.U64(), PrevLogTerm: c.U64(), LeaderCommitIndex: c.U64(),
	}
	count := int(c.U16())
	size -= appendFixedBytes
	if count > maxAppendEntries || count*entryHeadBytes > size {
		return nil, fmt.Errorf("%w: append of %d entries", errFrame, count)
	}
	if a.PrevLogTerm > a.Term || (a.PrevLogEntry == 0) != (a.PrevLogTerm == 0) || a.PrevLogEntry > 1<<62 {
		return nil, fmt.Errorf("%w: append after an impossible entry", errFrame)
	}
	if a.LeaderCommitIndex > a.PrevLogEntry+uint64(count) {
		return nil, fmt.Errorf("%w: commit index beyond the entries", errFrame)
	}
	heads := make([]byte, count*entryHeadBytes)
	if _, err := io.ReadFull(r, heads); err != nil {
		return nil, err
	}
	sizes, err := parseEntryHeads(a, heads, size-len(heads))
	if err != nil {
		return nil, err
	}
	return a, readEntries(r, a.Entries, sizes)
}

// parseEntryHeads makes the entries, still without their data, and returns how many bytes each has. They must add up
// to total.
func parseEntryHeads(a *raft.AppendEntriesRequest, heads []byte, total int) ([]int, error) {
	c := codec.NewReader(heads)
	count := len(heads) / entryHeadBytes
	logs, sizes := make([]raft.Log, count), make([]int, count)
	a.Entries = make([]*raft.Log, count)
	term, sum := max(a.PrevLogTerm, 1), 0
	for i := range logs {
		l := &logs[i]
		l.Index, l.Term, l.Type = a.PrevLogEntry+1+uint64(i), c.U64(), raft.LogType(c.U8())
		size := uint64(c.U32())
		if l.Term < term || l.Term > a.Term {
			return nil, fmt.Errorf("%w: entry of an impossible term", errFrame)
		}
		if !kindHolds(l.Type, size) {
			return nil, fmt.Errorf("%w: entry of kind %d with %d bytes", errFrame, uint8(l.Type), size)
		}
		term = l.Term
		a.Entries[i], sizes[i] = l, int(size)
		sum += int(size)
	}
	if sum != total {
		return nil, fmt.Errorf("%w: entries of %d bytes in %d", errFrame, sum, total)
	}
	return sizes, finish(&c, "append")
}

// kindHolds reports whether an entry of this kind can have so many bytes. Raft panics on kinds that it does not know.
func kindHolds(t raft.LogType, size uint64) bool {
	switch t {
	case raft.LogCommand:
		return size <= MaxEntryBytes
	case raft.LogConfiguration:
		return 0 < size && size <= MaxEntryBytes
	case raft.LogNoop, raft.LogBarrier:
		return size == 0
	}
	return false
}

func readEntries(r io.Reader, entries []*raft.Log, sizes []int) error {
	for i, e := range entries {
		if sizes[i] == 0 {
			continue
		}
		e.Data = make([]byte, sizes[i])
		if _, err := io.ReadFull(r, e.Data); err != nil {
			return err
		}
		if e.Type == raft.LogConfiguration {
			if _, err := parseConfiguration(e.Data); err != nil {
				return fmt.Errorf("%w: %w", errFrame, err)
			}
		}
	}
	return nil
}
