// Package wire is version 1 of the protocol between clients and nodes: frames, the hello, messages, result codes and
// every limit. docs/PROTOCOL.md draws all of it byte by byte.
//
// It knows bytes: which ones a frame, a message, a clear header and a handle are made of, and which are refused. It
// must not know TLS, connections, storage, rights or how a body is sealed; sealed bytes are opaque to it.
//
// Laws:
//
//   - Every limit has its home in limit.go and is checked before memory is taken.
//   - One value has one encoding, and no strict prefix of a message is a message. What parses re-encodes to the same
//     bytes; options that this version does not know are kept for that.
//   - Unknown versions, types, flags and critical options are refused; unknown options without the critical bit are
//     skipped.
//   - Numbers of types, codes, nack codes, actions, capabilities and options are only ever appended.
//   - Decode aliases its input and reuses the slices of its receiver: a decoded message is valid as long as the
//     payload is. After an error the receiver's contents mean nothing.
//
// Bytes:
//
//	frame          u32 length of what follows | u8 type | u32 request id | payload
//	payload        the message's fields | options
//	options        u8 count | (u8 tag | uvarint length | value)*     tag: high bit = critical, low bits = number
//	mailbox        u16 slot | 16 mailbox id
//	send item      u8 flags | [u8 session] | id | 12 of the clear header | [header options] | sealed | [options]
//	deliver item   u8 flags | [u8 session] | [u8 producer] | seq | [attempts] | stored | [16 birth] | id |
//	               12 of the clear header | [header options] | sealed | [options]
//	clear header   u8 version | u8 type | u16 flags | u32 not-after | u32 epoch | 16 session | 16 id | [header options]
package wire
