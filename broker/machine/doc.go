// Package machine holds every rule that all replicas must agree on: what a command does to the rows of its group.
//
// It knows the bytes of an entry and of each command, and the rules: numbering, dedup, sessions, leases, acks, expiry,
// key records, keys and grants. It must not know Raft, the network, files, clocks, randomness, the envelope inside a
// body record or the client protocol. There are two machines: [Mail] for each mail group and [Control] for the control
// group. A file here is a command; decide.go is the one decision about rights.
//
// Laws:
//
//   - Only Apply changes replicated rows, and what it does is a function of the rows and the entries alone. Time, ids
//     and limits arrive stamped in the entry. It makes no difference how entries are cut into runs of Apply, what is
//     cached, or whether anybody reads the outcomes.
//   - It is total. An unknown command or version, or bytes that do not parse, is a refusal with a [Code], the same on
//     every replica; nothing panics.
//   - The effects of runs and the applied index are one batch of one store; writeout.go says when. A command writes
//     either state/ or keys/, and each store skips the entries that it already holds.
//   - Bodies are not copied and not looked at. An address says where a body is: the Raft index of the entry, the byte
//     offset in the entry and the length, with the entry's term and a digest to check a reader's finding against.
//
// Bytes (docs/FORMATS.md has the tables):
//
//	entry    u8 version | u64 time, unix ms | uvarint control index | (uvarint length | command)*
//	command  u8 kind | u8 version | fields
package machine
