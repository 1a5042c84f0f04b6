package wire

import "github.com/sealmq/sealmq/internal/codec"

// Pull asks for messages once, waiting for the first if there is none. One Deliver answers it.
type Pull struct {
	Mailbox             MailboxRef
	Attempt             [16]byte // a repeat with the same attempt gets the same leases
	Receiver            [16]byte // kept by the client: who reconnects with it gets its own leases back
	EpochLow, EpochHigh uint32   // the key epochs that the receiver holds
	LeaseMillis         uint32   // 0 means the mailbox's own
	MaxMessages         uint32
	MaxBytes            uint32 // of sealed bytes; at least one message comes, however large
	WaitMillis          uint32
	Options             Options
}

// Type returns TypePull.
func (m *Pull) Type() Type { return TypePull }

// Append appends the payload.
func (m *Pull) Append(dst []byte) []byte {
	dst = appendMailbox(dst, &m.Mailbox)
	dst = append(dst, m.Attempt[:]...)
	dst = append(dst, m.Receiver[:]...)
	dst = codec.AppendU32(dst, m.EpochLow)
	dst = codec.AppendU32(dst, m.EpochHigh)
	dst = codec.AppendUvarint(dst, uint64(m.LeaseMillis))
	dst = codec.AppendUvarint(dst, uint64(m.MaxMessages))
	dst = codec.AppendUvarint(dst, uint64(m.MaxBytes))
	dst = codec.AppendUvarint(dst, uint64(m.WaitMillis))
	return appendOptions(dst, m.Options)
}

// Decode reads a payload.
func (m *Pull) Decode(payload []byte) error {
	r := codec.NewReader(payload)
	m.Mailbox = readMailbox(&r)
	m.Attempt = r.Array16()
	m.Receiver = r.Array16()
	m.EpochLow, m.EpochHigh = readEpochs(&r)
	m.LeaseMillis = readLeaseMillis(&r)
	m.MaxMessages = readU32(&r, "max_messages", 1, BatchItems)
	m.MaxBytes = readU32(&r, "max_bytes", 1, CreditBytes)
	m.WaitMillis = readU32(&r, "wait_millis", 0, WaitMillis)
	m.Options = readOptions(&r, m.Options)
	return finish(&r, TypePull)
}

// Subscribe asks for messages as they come, as far as credit goes. Its request id names the subscription.
type Subscribe struct {
	Mailbox             MailboxRef
	Attempt             [16]byte
	Receiver            [16]byte
	EpochLow, EpochHigh uint32
	LeaseMillis         uint32
	CreditMessages      uint32
	CreditBytes         uint32
	Options             Options
}

// Type returns TypeSubscribe.
func (m *Subscribe) Type() Type { return TypeSubscribe }

// Append appends the payload.
func (m *Subscribe) Append(dst []byte) []byte {
	dst = appendMailbox(dst, &m.Mailbox)
	dst = append(dst, m.Attempt[:]...)
	dst = append(dst, m.Receiver[:]...)
	dst = codec.AppendU32(dst, m.EpochLow)
	dst = codec.AppendU32(dst, m.EpochHigh)
	dst = codec.AppendUvarint(dst, uint64(m.LeaseMillis))
	dst = codec.AppendUvarint(dst, uint64(m.CreditMessages))
	dst = codec.AppendUvarint(dst, uint64(m.CreditBytes))
	return appendOptions(dst, m.Options)
}

// Decode reads a payload.
func (m *Subscribe) Decode(payload []byte) error {
	r := codec.NewReader(payload)
	m.Mailbox = readMailbox(&r)
	m.Attempt = r.Array16()
	m.Receiver = r.Array16()
	m.EpochLow, m.EpochHigh = readEpochs(&r)
	m.LeaseMillis = readLeaseMillis(&r)
	m.CreditMessages = readU32(&r, "credit_messages", 0, CreditMessages)
	m.CreditBytes = readU32(&r, "credit_bytes", 0, CreditBytes)
	m.Options = readOptions(&r, m.Options)
	return finish(&r, TypeSubscribe)
}

// Credit adds credit to the subscription of its request id and says which key epochs the receiver holds now. It has no
// answer.
type Credit struct {
	Messages, Bytes     uint32
	EpochLow, EpochHigh uint32
	Options             Options
}

// Type returns TypeCredit.
func (m *Credit) Type() Type { return TypeCredit }

// Append appends the payload.
func (m *Credit) Append(dst []byte) []byte {
	dst = codec.AppendUvarint(dst, uint64(m.Messages))
	dst = codec.AppendUvarint(dst, uint64(m.Bytes))
	dst = codec.AppendU32(dst, m.EpochLow)
	dst = codec.AppendU32(dst, m.EpochHigh)
	return appendOptions(dst, m.Options)
}

// Decode reads a payload.
func (m *Credit) Decode(payload []byte) error {
	r := codec.NewReader(payload)
	m.Messages = readU32(&r, "messages", 0, CreditMessages)
	m.Bytes = readU32(&r, "bytes", 0, CreditBytes)
	m.EpochLow, m.EpochHigh = readEpochs(&r)
	m.Options = readOptions(&r, m.Options)
	return finish(&r, TypeCredit)
}

// Unsubscribe ends the subscription of its request id, which a SubscriptionEnd answers. Leases stay as they are.
type Unsubscribe struct {
	Options Options
}

// Type returns TypeUnsubscribe.
func (m *Unsubscribe) Type() Type { return TypeUnsubscribe }

// Append appends the payload.
func (m *Unsubscribe) Append(dst []byte) []byte { return appendOptions(dst, m.Options) }

// Decode reads a payload.
func (m *Unsubscribe) Decode(payload []byte) error {
	r := codec.NewReader(payload)
	m.Options = readOptions(&r, m.Options)
	return finish(&r, TypeUnsubscribe)
}

// SubscriptionEnd is the last message of a subscription: CodeOK if the client asked for it.
type SubscriptionEnd struct {
	Code             Code
	RetryAfterMillis uint32
	Leader           Leader // with CodeNotLeader
	Detail           string // for people
	Options          Options
}

// Type returns TypeSubscriptionEnd.
func (m *SubscriptionEnd) Type() Type { return TypeSubscriptionEnd }

// Append appends the payload.
func (m *SubscriptionEnd) Append(dst []byte) []byte {
	dst = codec.AppendU16(dst, uint16(m.Code))
	dst = codec.AppendU32(dst, m.RetryAfterMillis)
	dst = m.Leader.append(dst)
	dst = appendString(dst, m.Detail)
	return appendOptions(dst, m.Options)
}

// Decode reads a payload.
func (m *SubscriptionEnd) Decode(payload []byte) error {
	r := codec.NewReader(payload)
	m.Code = Code(r.U16())
	m.RetryAfterMillis = r.U32()
	m.Leader.read(&r)
	m.Detail = readText(&r, "detail")
	m.Options = readOptions(&r, m.Options)
	return finish(&r, TypeSubscriptionEnd)
}
