package machine

import "github.com/sealmq/sealmq/internal/codec"

// Lease holds up to MaxMessages of the next messages of a mailbox for a receiver. Repeating it with the same attempt id
// (not zero) while that lease lasts answers with the same lease and those of its messages that are still held.
type Lease struct {
	Principal           string
	Mailbox             [16]byte
	Receiver, Attempt   [16]byte
	Lease               [8]byte // drawn by the leader
	MaxMessages         uint32
	MaxBytes            uint64 // of body records; one message is given whatever its size
	EpochLow, EpochHigh uint32 // the key epochs that the receiver holds, inclusive
	LeaseMillis         uint32 // 0 is the default
}

// Append appends the command to an entry.
func (c *Lease) Append(dst []byte) []byte {
	start := len(dst)
	dst = begin(dst, KindLease)
	dst = appendPrincipal(dst, c.Principal)
	dst = append(dst, c.Mailbox[:]...)
	dst = append(dst, c.Receiver[:]...)
	dst = append(dst, c.Attempt[:]...)
	dst = append(dst, c.Lease[:]...)
	dst = codec.AppendUvarint(dst, uint64(c.MaxMessages))
	dst = codec.AppendUvarint(dst, c.MaxBytes)
	dst = codec.AppendU32(dst, c.EpochLow)
	dst = codec.AppendU32(dst, c.EpochHigh)
	dst = codec.AppendU32(dst, c.LeaseMillis)
	return frame(dst, start)
}

func (c *Lease) decode(r *codec.Reader, n names) {
	c.Principal, c.Mailbox, c.Receiver, c.Attempt, c.Lease = n.read(r), r.Array16(), r.Array16(), r.Array16(), array8(r)
	c.MaxMessages, c.MaxBytes = uint32(r.Length(1<<32-1)), r.Uvarint()
	c.EpochLow, c.EpochHigh, c.LeaseMillis = r.U32(), r.U32(), r.U32()
	if c.Principal == "" || c.MaxMessages == 0 || c.EpochLow > c.EpochHigh || c.Lease == ([8]byte{}) {
		r.Fail(errRange)
	}
}
