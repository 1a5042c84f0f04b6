package machine

import (
	"encoding/binary"

	"github.com/sealmq/sealmq/internal/codec"
)

// Kind is the first byte of a command. Numbers are only ever added. Each command's second byte is its version.
type Kind uint8

const (
	KindKeyPut           Kind = 1
	KindKeyDelete        Kind = 2
	KindMailboxCreate    Kind = 10
	KindMailboxDelete    Kind = 11
	KindKeyRecordPublish Kind = 12
	KindSessionPut       Kind = 13
	KindSend             Kind = 20
	KindLease            Kind = 21
	KindAck              Kind = 22
	KindNack             Kind = 23
	KindExtend           Kind = 24
	KindRelease          Kind = 25
	KindExpire           Kind = 26
	KindTick             Kind = 27
	KindGrantAdd         Kind = 40
	KindGrantRemove      Kind = 41
)

// commandVersion is the version of every command so far.
const commandVersion = 1

// SeqRange is Count sequence numbers of a mailbox from First on.
type SeqRange struct {
	First uint64
	Count uint32
}

// begin starts a command of one of the small kinds; frame ends it by moving it up behind its length.
func begin(dst []byte, kind Kind) []byte { return append(dst, byte(kind), commandVersion) }

func frame(dst []byte, start int) []byte {
	n := len(dst) - start
	var prefix [binary.MaxVarintLen64]byte
	k := binary.PutUvarint(prefix[:], uint64(n))
	dst = append(dst, prefix[:k]...)
	copy(dst[start+k:], dst[start:start+n])
	copy(dst[start:], prefix[:k])
	return dst
}

func appendRanges(dst []byte, ranges []SeqRange) []byte {
	dst = codec.AppendUvarint(dst, uint64(len(ranges)))
	for _, s := range ranges {
		dst = codec.AppendUvarint(dst, s.First)
		dst = codec.AppendUvarint(dst, uint64(s.Count))
	}
	return dst
}

// readRanges reads ranges into the memory of dst. They name at least one and at most MaxRangeMessages numbers.
func readRanges(r *codec.Reader, dst []SeqRange) []SeqRange {
	dst = dst[:0]
	total := uint64(0)
	for range r.Count(MaxRangeMessages, 2) {
		s := SeqRange{First: r.Uvarint(), Count: uint32(r.Length(MaxRangeMessages))}
		if s.First == 0 || s.Count == 0 || s.First+uint64(s.Count) < s.First {
			r.Fail(errRange)
		}
		if total += uint64(s.Count); total > MaxRangeMessages {
			r.Fail(codec.ErrLimit)
		}
		if r.Err() != nil {
			return dst[:0]
		}
		dst = append(dst, s)
	}
	if len(dst) == 0 {
		r.Fail(errRange)
	}
	return dst
}

func appendPrincipal(dst []byte, principal string) []byte {
	dst = append(dst, byte(len(principal)))
	return append(dst, principal...)
}

// array8 reads 8 bytes, the size of producers, leases and grant ids.
func array8(r *codec.Reader) (v [8]byte) {
	copy(v[:], r.Take(8))
	return v
}

// names keeps one string of each principal that commands name, so that reading a command allocates nothing.
type names map[string]string

// maxNames bounds a names table. It is emptied when full: principals that are active come back at once.
const maxNames = 16_384

func (n names) read(r *codec.Reader) string {
	b := r.Bytes8()
	if s, ok := n[string(b)]; ok {
		return s
	}
	s := string(b)
	if n != nil && len(s) > 0 {
		if len(n) >= maxNames {
			clear(n)
		}
		n[s] = s
	}
	return s
}

// command is the value of every command type: it appends itself to an entry and reads itself back. decode reuses the
// receiver's slices and aliases the input.
type command interface {
	Append(dst []byte) []byte
	decode(r *codec.Reader, n names)
}

// headBytes is the size of a command's kind and version.
const headBytes = 2

// readHead reads a command's kind and version.
func readHead(r *codec.Reader) (Kind, Code) {
	kind, version := Kind(r.U8()), r.U8()
	switch {
	case r.Err() != nil:
		return 0, CodeMalformed
	case version != commandVersion:
		return 0, CodeUnsupported
	default:
		return kind, CodeOK
	}
}

// writesKeys reports whether commands of the kind write keys/; all others write state/.
func (k Kind) writesKeys() bool { return k == KindKeyPut || k == KindKeyDelete }
