// Package raftlog runs Raft groups: it orders opaque entries, makes them durable on a quorum and hands them to a state
// machine, group by group, over one set of connections between the nodes.
//
// It knows hashicorp/raft and hides it: no exported name carries one of its types. It knows that entries have an
// index, a term and bytes. It must not know what an entry means, what a mailbox is, how a state machine stores
// anything, TLS, or clients. The log itself is behind the [Log] interface; the connections come authenticated from
// [Options].
//
// The rooms: host.go (what all groups of a node share), group.go (one group), start.go (bootstrap, checks, the first
// leader), propose.go (entries in), fsm.go (entries out), lead.go (who leads), readindex.go (what everybody has been told), logstore.go, unsynced.go, tail.go,
// stablestore.go and snapshot.go (what Raft reads and writes), cache.go (recent entries), transport.go (Raft's calls), peer.go, link.go,
// inbound.go and conn.go (connections), hello.go, rpc.go and configuration.go (bytes), errors.go, logger.go.
//
// Laws, each with a test that fails without it:
//
//   - AppendEntries is cut by bytes but never to nothing, and its LeaderCommitIndex never passes the last entry that it
//     carries: a follower of hashicorp/raft 1.8.0 otherwise commits a stale suffix. Both ends see to it.
//   - Every request reaches Raft through Consumer(). The heartbeat fast path stays off: it runs beside the main loop
//     and can stamp one leader's entry with another's term.
//   - No pipelining: the stock pipeline stops for good when a follower refuses once.
//   - Votes and pre-votes are answered with Granted=false, never with an error: one error text counts as granted.
//   - While a write to the log has been pending for more than twice the timeout, this node sends no AppendEntries, so
//     that a leader with a hung disk loses its leadership.
//   - TimeoutNow comes from the known leader of the receiver's own term, or, in a cluster that has never had a leader,
//     from the preferred node to itself.
//   - A leader's entries go to the followers while its own disk is at work. Until they are durable here too, no machine is
//     given them, no follower is told that they are committed, and nothing is acknowledged to another leader (unsynced.go).
//   - The current term is durable by itself; a vote is one record, written when its candidate is known.
//   - The first error of the log ends the process: [Options.Fatal] is called once and should not return.
//   - An answer is definite or unknown: see the errors of this package.
//
// Bytes (docs/FORMATS.md has the whole): every frame between nodes is
//
//	u32 size of what follows | u8 type | u16 group | u64 request | payload
//
// and the first frame each way is a hello. Big-endian throughout, no optional parts, no trailing bytes.
package raftlog
