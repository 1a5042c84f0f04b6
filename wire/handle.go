package wire

import (
	"encoding/base64"
	"hash/crc32"
	"strings"

	"github.com/sealmq/sealmq/internal/codec"
)

// Handle is the proof of a lease on one message that people and programs carry as text. It is good on any connection
// of the principal that holds the lease, to the incarnation of the cluster that gave it.
type Handle struct {
	Incarnation uint64
	Mailbox     MailboxRef
	Lease       [8]byte
	Seq         uint64
}

// handlePrefix is the version of the text form.
const handlePrefix = "h1."

var handleSums = crc32.MakeTable(crc32.Castagnoli)

// EncodeHandle returns the text of a handle: the version, then in base64 (URL alphabet, no padding) its fields and the
// CRC-32C of them. The sum finds mistyped handles; a right one proves nothing that the lease does not.
func EncodeHandle(h Handle) string {
	b := codec.AppendU64(make([]byte, 0, 48), h.Incarnation)
	b = appendMailbox(b, &h.Mailbox)
	b = append(b, h.Lease[:]...)
	b = codec.AppendUvarint(b, h.Seq)
	b = codec.AppendU32(b, crc32.Checksum(b, handleSums))
	return handlePrefix + base64.RawURLEncoding.EncodeToString(b)
}

// ParseHandle reads the text of a handle. Its error is [ErrHandle].
func ParseHandle(text string) (Handle, error) {
	encoded, ok := strings.CutPrefix(text, handlePrefix)
	if !ok || len(encoded) > 96 || strings.ContainsAny(encoded, "\r\n") {
		return Handle{}, ErrHandle
	}
	b, err := base64.RawURLEncoding.Strict().DecodeString(encoded)
	if err != nil || len(b) < 4 {
		return Handle{}, ErrHandle
	}
	r := codec.NewReader(b)
	h := Handle{Incarnation: r.U64(), Mailbox: readMailbox(&r), Lease: readArray8(&r), Seq: r.Uvarint()}
	sum := r.U32()
	if r.Done() != nil || sum != crc32.Checksum(b[:len(b)-4], handleSums) || h.Seq == 0 {
		return Handle{}, ErrHandle
	}
	return h, nil
}
