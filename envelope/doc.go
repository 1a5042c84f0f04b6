// Package envelope seals messages end to end: from the service that sends to the service that owns the mailbox, past
// brokers that carry the bytes and cannot read them.
//
// It knows identities (an Ed25519 key and a name), the epoch keys of mailboxes (HPKE with X-Wing, that is ML-KEM-768
// and X25519), the signed key records that publish them, sessions (one key agreement for many messages) and messages
// (AES-256-GCM). It must not know networks, brokers, files, the protocol's frames or the fields of the clear header: a
// header is opaque bytes here, authenticated as they are. What may be trusted on first use and what is pinned is its
// caller's decision, too.
//
// Laws:
//
//   - Everything signed, derived or authenticated is a [codec.PAE] string under a label of its own (labels.go), so that
//     nothing made for one purpose passes for another.
//   - Keys of messages come from the HPKE exporter only. HPKE's own Seal and Open count in order, which does not fit
//     receivers that compete for messages or meet one twice.
//   - Every nonce is random and every key is fresh: no counter is kept on disk, so a restored disk, a cloned machine
//     or a second attempt after a crash cannot repeat one.
//   - The mailbox's id and name, the owner's identity key and the epoch key's id go into the key agreement; the session
//     id and the sender's key go into the message key. A message that is moved, renamed or signed again by somebody
//     else meets another key and does not open.
//   - A wrong private key gives no error in the key agreement, only another secret. The key id in the clear part of a
//     session is what tells [ErrNoKey] (this receiver lacks the key) from [ErrBadSeal] (this was tampered with).
//   - Unknown versions, suites, flags and critical options are refused, as are trailing bytes. What parses encodes to
//     the same bytes again.
//   - Private keys are in no error, no String and no %v.
//
// The package runs under GODEBUG=fips140=only.
//
// Bytes (big-endian; docs/FORMATS.md has every table, with what is signed and derived):
//
//	statement    version 1 | flags 2 | not-before 4 | not-after 4 | identity key 32 | subject | patterns |
//	             organisation key id 8 | signature 64
//	key record   version 1 | policy 2 | mailbox id 16 | record version 8 | previous hash 32 | not-after 4 | name |
//	             epochs (number 4 | suite 1 | not-before 4 | not-after 4 | public key)* | owner's statement |
//	             signature 64
//	session      version 1 | suite 1 | flags 2 | not-after 4 | epoch 4 | key id 8 | enc 1120 |
//	             length 2 | nonce 12 | sealed (created 8 | sender's statement | signature 64) | tag 16
//	message      nonce 12 | sealed ([signature 64] | sequence | options | length | body | zeros) | tag 16
//	identity     version 1 | label | name | Ed25519 seed 32 | digest 32                                  private
//	epoch key    version 1 | label | number 4 | suite 1 | not-before 4 | not-after 4 | seed 32 | digest 32   private
package envelope
