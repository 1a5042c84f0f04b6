package raftlog

import "errors"

// What a proposal can fail with. All but [ErrLeadershipLost] are definite: the entry is not in the log and never will
// be, so the same request may be proposed again, here or elsewhere.
var (
	// ErrNotLeader means that this node does not lead the group. Definite.
	ErrNotLeader = errors.New("this node does not lead the group")
	// ErrUnavailable means that too many bytes are waiting in the group, or that the disk is full. Definite; try again
	// later.
	ErrUnavailable = errors.New("the group takes no more entries for now")
	// ErrTooLarge means an entry above [MaxEntryBytes]. Definite, and final for that entry.
	ErrTooLarge = errors.New("entry is above the size limit")
	// ErrShutdown means that the group is closing and the entry was not handed to Raft. Definite.
	ErrShutdown = errors.New("group is closing")
	// ErrLeadershipLost means that this node stopped leading, or stopped, before it knew. The outcome is unknown: the
	// entry may be committed by a later leader, or never.
	ErrLeadershipLost = errors.New("leadership lost before the outcome was known")
)

// ErrNotFound means that no entry with this index and term is in the log.
var ErrNotFound = errors.New("no such entry in the log")

// ErrUnconfirmed means that no leader is known whom a majority confirms.
var ErrUnconfirmed = errors.New("no leader is confirmed by a majority")

// ErrDamaged marks a log and a machine that cannot belong together: the log ends before what the machine has applied,
// holds another term there, or the machine has entries but no configuration. The node must not start.
var ErrDamaged = errors.New("log does not reach the applied state")

// Why two nodes do not talk. They stay inside: the links log them and try again.
var (
	errFrame      = errors.New("malformed peer frame")
	errVersion    = errors.New("no common version of the peer protocol")
	errCluster    = errors.New("peer belongs to another cluster")
	errWrongNode  = errors.New("the address belongs to another node")
	errIdentity   = errors.New("the certificate names another node")
	errNotMember  = errors.New("node is not a member")
	errDuplicate  = errors.New("another process runs under the same node id")
	errSilent     = errors.New("peer went silent")
	errClosed     = errors.New("connection closed")
	errStopped    = errors.New("group is stopped")
	errTimeout    = errors.New("peer did not answer in time")
	errRefused    = errors.New("peer refused the request")
	errNoGroup    = errors.New("group does not run here")
	errStalled    = errors.New("the local log is stalled")
	errNoSnapshot = errors.New("no snapshot is sent: the log is never cut")
)
