// Package storage keeps the rows of every group of a node in three Pebble instances, told apart by what they are for:
//
//	state/   replicated rows; only the machine of a group writes them
//	bodies/  bodies that were settled out of the journal, by address
//	keys/    the secrets of mailboxes, alone, so that destroying one destroys what it sealed
//
// It knows the keyspace, the bytes of each row, batches, reads and when rows are durable. It must not know a rule: what
// a row means for a message is decided in broker/machine. Nor does it know Raft, sealing or the network; it is given a
// vfs.FS for each store, sealed or not.
//
// Laws:
//
//   - The write-ahead log is off: the journal is it. What a crash keeps is what was flushed, always a whole number of
//     batches, and the row that says which Raft index the rows stand at is in the same batch as the rows.
//   - A batch writes a group's rows of state/ and of keys/ apart, and each store has its own applied row. keys/ is
//     committed first; its row is written with its rows, and otherwise by [Stores.Flush].
//   - The hot path reads by point lookups and never iterates over rows that were deleted.
//   - Rows are one version byte and then fields; unknown versions, and bytes left over, are [ErrDamaged].
//   - The first background error of any store ends the process through Options.Fatal.
//
// Keys are big-endian and begin with the group (u16) and the table (u8). mb is a mailbox's number in its group, never
// used again after it; hash is the first half of SHA-256.
//
//	state/  g 00                               applied: index, term, time
//	        g 01                               membership configuration and its index
//	        g 02                               group: next mailbox number, how far windows were dropped
//	        g 10 name                          mailbox number
//	        g 11 id[16]                        mailbox number
//	        g 12 hash(owner)[16] name          mailbox number
//	        g 13 identity key[32] name         mailbox number
//	        g 20 mb[8]                         mailbox
//	        g 21 mb[8]                         mailbox state: head, next, counts, epochs
//	        g 22 mb[8] version[8]              key record
//	        g 30 mb[8] page[8]                 delivery states of 256 sequence numbers, unless all are as sent
//	        g 31 mb[8] first seq[8]            addresses of messages that follow each other, within one page
//	        g 40 day[4] mb[8] 0 sender[16]     live sessions of a sender
//	        g 40 day[4] mb[8] 1 session[16]    session header
//	        g 50 class window[4] partition[2]    keyed ids, a bundle for each time that some were written
//	        g 51 class window[4] mb[8] sender[16] producer[8]    counted ids of a producer
//	        g 60 bucket[4] mb[8]               messages that expire in a bucket of ten minutes
//	        g 70 id[8]                         grant
//	        ffff 00                            format of the store
//	        ffff 01                            seed of the partitions of keyed ids
//	keys/   g 00, g 01                         as in state/
//	        g 10 mailbox id[16] generation[4]  secret[32]
//	        ffff 00                            format of the store
//	bodies/ ffff 00                            format of the store
package storage
