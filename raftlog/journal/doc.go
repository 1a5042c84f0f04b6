// Package journal is the shared, sealed, group-committed log on disk: what all Raft groups of a node write is made
// durable by one write and one fdatasync at a time.
//
// It knows segment files, chunks, flushes, records of groups (entries, terms and votes, truncations, bases) and where
// an entry's bytes lie. It must not know any Raft library, what an entry's data means, nor any other store.
//
// Laws:
//
//   - What a call made durable is there after any crash, and what was never acknowledged is there whole or not at all,
//     entry by entry. Terms and votes never go back.
//   - A flush is written only after the fdatasync of the one before it returned. So a chunk's durable point, which says
//     where its own flush begins, proves that everything below was durable: damage there is a [DamagedError], and
//     damage at or above the highest durable point that anything valid states is a torn tail, dropped in silence.
//   - No byte that was made durable is written again, the mark's two slots excepted, of which one always stands.
//   - A segment gets its name only after its state block is durable. So a damaged front of a segment is never a torn
//     tail, and the newest segment alone says what the older ones are and what of them still counts.
//   - Open believes the page cache in nothing: what lies above the last durable point is written again into a new
//     segment and synced before Open returns.
//   - The first failed write or sync poisons the journal: Options.Fatal is called once, every later call fails. A
//     second fsync is never trusted. ENOSPC while reserving a segment is no failure but a state ([ErrNoSpace]).
//
// A directory holds
//
//	0000000000000001.seg ...   segments, numbers rising, never used twice
//	0000000000000007.spare     reserved space for coming segments; its bytes mean nothing
//	mark                       durable point, terms and votes, twice
//
// A segment is a sealed file (package atrest, mode journal, chunk size 2^15) whose header fills the first 512 bytes.
// Chunks follow, each at a multiple of 512, padded with zeros:
//
//	+------+---------+------+--------+-------+---------+--------------+-------+------------+-----+
//	| "SJ" | version | kind | length | place | durable | previous tag | nonce | ciphertext | tag |
//	| 2    | 1       | 1    | 4      | 4     | 4       | 16           | 12    | length     | 16  |
//	+------+---------+------+--------+-------+---------+--------------+-------+------------+-----+
//	AAD = PAE("sealmq/journal-chunk/v1", the first 32 bytes)
//
// A full chunk is 32 KiB on disk and holds 32,708 bytes. A chunk of kind 1 holds whole records. A record that does not
// fit in one chunk starts at the front of its own full chunk, and chunks of kind 2 hold nothing but its continuing
// data, all full but the last: byte n of an entry is found by arithmetic. Records:
//
//	1 entry       group u16, index u64, term u64, type u8, length u32, data
//	2 vote        group u16, term u64, vote's term u64, candidate bytes8
//	3 truncate    group u16, first index that goes u64
//	4 base        group u16, first index kept u64, term of the one before it u64
//	5 installing  group u16, index u64, term u64; both 0: no longer
//	6 state       length u32, state block; the first record of every segment and of no other place
//	7 index       length u32, index; the last record of a segment that was ended in good order
//
// The state block, the index and the mark are tabled beside their code.
package journal
