// Package atrest seals what lies on a disk: AES-256-GCM under a fresh key for every file, in four forms that share one
// header, and the ring file that holds the keys.
//
// It knows keys, headers, nonces and where a sealed chunk or frame lies. It must not know Pebble, Raft, a directory
// layout or what any plaintext means; callers hand it base names and [StoreID] values, and do their own file work.
//
// Laws:
//
//   - Every nonce is random and every file has its own key, so a retry, a rewritten tail, a crash or a cloned disk
//     never repeats a (key, nonce) pair. Nothing counts nonces, on disk or in memory.
//   - The header, the file's base name, the store and the data key are bound into the file's key, and a 32-byte
//     commitment says so: a renamed, swapped or foreign file fails when it is opened, not when it is read.
//   - What is sealed is bound to its place by the additional data. Bytes that do not authenticate are never returned.
//   - A wrong root key ([ErrWrongKey]) is told apart from damage ([ErrDamaged]) and from a newer format ([ErrVersion]).
//     Reading changes nothing.
//   - No key is ever printed: keys lie behind pointers and the types that hold them format as their ids.
//
// Keys, top down: a [Root] wraps the key-encryption key; that seals the ring file ([Rings]); each [Ring] holds data
// keys; each file's key is derived from one of them:
//
//	okm = HKDF-SHA256(data key, salt, PAE("sealmq/file/v1", header[0:64], base name), 64)
//	file key = okm[0:32], commitment = okm[32:64]
//
// The header of every sealed file, 128 bytes:
//
//	+--------+---------+------+-------+------------+-------------+----------+------+------------+-------+
//	| "ENCF" | version | mode | suite | log2 chunk | data key id | store id | salt | commitment | zero  |
//	| 0    4 | 4     1 | 5  1 | 6   1 | 7        1 | 8         8 | 16    16 | 32 32| 64      32 | 96 32 |
//	+--------+---------+------+-------+------------+-------------+----------+------+------------+-------+
//
// Sealed always means nonce 12 | ciphertext | tag 16. After the header comes, by mode:
//
//	chunk    sealed chunks in slots of 2^log2 bytes, the header taking the front of slot 0 (see [Chunks])
//	frame    marks and frames, for files that grow (see [FrameWriter])
//	journal  chunks that package raftlog/journal lays out
//	record   one sealed blob to the end of the file (see [Ring.SealRecord])
package atrest
