package wire

import "github.com/sealmq/sealmq/internal/codec"

// Version is the protocol version that this package speaks.
const Version = 1

// ALPN is the application protocol that both sides name in the TLS handshake.
const ALPN = "sealmq/1"

// helloMagic begins every hello, of every version.
const helloMagic = 0x534c4d51 // "SLMQ"

// Capabilities are abilities that one side announces and the other may use. Bits are only ever appended; unknown ones
// are ignored.
type Capabilities uint64

// The capabilities of nodes.
const (
	CapOrderingKey Capabilities = 1 << 0 // messages with one ordering key are delivered one at a time, in order
	CapDelay       Capabilities = 1 << 1 // messages may name a minute before which they are not delivered
	CapPriority    Capabilities = 1 << 2 // messages may have a priority
	CapReplace     Capabilities = 1 << 3 // parked messages may be replaced by their sender
)

// Proofs are the ways in which a node lets a client prove its identity. Bits are only ever appended.
type Proofs uint32

// ProofCertificate is a client certificate in the TLS handshake.
const ProofCertificate Proofs = 1 << 0

// Hello opens a connection. Its layout is the same in every version of the protocol; new parts are options.
type Hello struct {
	MinVersion, MaxVersion uint8
	Capabilities           Capabilities
	Cluster                [16]byte // the cluster that the client wants, zero for any
	Client                 string   // name and version of the software, for people
	Options                Options
}

// Common returns the version that a client with this hello and this package speak: the highest that both know.
func (m *Hello) Common() (version uint8, ok bool) {
	return Version, m.MinVersion <= Version && Version <= m.MaxVersion
}

// Type returns TypeHello.
func (m *Hello) Type() Type { return TypeHello }

// Append appends the payload.
func (m *Hello) Append(dst []byte) []byte {
	dst = codec.AppendU32(dst, helloMagic)
	dst = append(dst, m.MinVersion, m.MaxVersion)
	dst = codec.AppendU64(dst, uint64(m.Capabilities))
	dst = append(dst, m.Cluster[:]...)
	dst = appendString(dst, m.Client)
	return appendOptions(dst, m.Options)
}

// Decode reads a payload.
func (m *Hello) Decode(payload []byte) error {
	r := codec.NewReader(payload)
	if r.U32() != helloMagic {
		r.Fail(ErrMagic)
	}
	m.MinVersion, m.MaxVersion = r.U8(), r.U8()
	if r.Err() == nil && (m.MinVersion == 0 || m.MinVersion > m.MaxVersion) {
		r.Fail(&FieldError{"min_version", ErrRange})
	}
	m.Capabilities = Capabilities(r.U64())
	m.Cluster = r.Array16()
	m.Client = readText(&r, "client")
	m.Options = readOptions(&r, m.Options)
	return finish(&r, TypeHello)
}

// Limits are what a node allows a connection; see limit.go for what they may be at most.
type Limits struct {
	BodyBytes         uint32
	FrameBytes        uint32
	BatchItems        uint32
	InFlightRequests  uint32 // requests without an answer, subscriptions included
	InFlightBytes     uint32 // bytes of their frames
	Subscriptions     uint32
	WaitMillis        uint32
	IdleMillis        uint32 // a connection on which nothing was read for so long is closed; 0 means never
	NotAfterMaxMillis uint64 // the longest time to live of a message
}

func (l *Limits) append(dst []byte) []byte {
	for _, v := range [...]uint32{l.BodyBytes, l.FrameBytes, l.BatchItems, l.InFlightRequests, l.InFlightBytes,
		l.Subscriptions, l.WaitMillis, l.IdleMillis} {
		dst = codec.AppendUvarint(dst, uint64(v))
	}
	return codec.AppendUvarint(dst, l.NotAfterMaxMillis)
}

func (l *Limits) read(r *codec.Reader) {
	const any32 = 1<<32 - 1
	l.BodyBytes = readU32(r, "body_bytes", 0, BodyBytes)
	l.FrameBytes = readU32(r, "frame_bytes", PreAuthFrameBytes, FrameBytes)
	l.BatchItems = readU32(r, "batch_items", 1, BatchItems)
	l.InFlightRequests = readU32(r, "in_flight_requests", 1, any32)
	l.InFlightBytes = readU32(r, "in_flight_bytes", 1, any32)
	l.Subscriptions = readU32(r, "subscriptions", 0, any32)
	l.WaitMillis = readU32(r, "wait_millis", 0, WaitMillis)
	l.IdleMillis = readU32(r, "idle_millis", 0, any32)
	l.NotAfterMaxMillis = r.Uvarint()
}

// HelloReply answers a hello.
type HelloReply struct {
	Version      uint8 // the version that both sides speak from here on
	Capabilities Capabilities
	Limits       Limits
	Cluster      [16]byte
	Incarnation  uint64 // changes when a cluster is restored from a backup
	Node         string
	Nonce        [32]byte // for proofs of identity
	Proofs       Proofs   // ways in which an identity may be proved
	TimeMillis   int64    // the node's clock
	Principal    string   // who the node takes the client for; empty until an identity is proved
	Options      Options
}

// Type returns TypeHelloReply.
func (m *HelloReply) Type() Type { return TypeHelloReply }

// Append appends the payload.
func (m *HelloReply) Append(dst []byte) []byte {
	dst = append(dst, m.Version)
	dst = codec.AppendU64(dst, uint64(m.Capabilities))
	dst = m.Limits.append(dst)
	dst = append(dst, m.Cluster[:]...)
	dst = codec.AppendU64(dst, m.Incarnation)
	dst = appendString(dst, m.Node)
	dst = append(dst, m.Nonce[:]...)
	dst = codec.AppendU32(dst, uint32(m.Proofs))
	dst = codec.AppendU64(dst, uint64(m.TimeMillis))
	dst = appendString(dst, m.Principal)
	return appendOptions(dst, m.Options)
}

// Decode reads a payload.
func (m *HelloReply) Decode(payload []byte) error {
	r := codec.NewReader(payload)
	if m.Version = r.U8(); r.Err() == nil && m.Version != Version {
		r.Fail(&FieldError{"version", ErrVersion})
	}
	m.Capabilities = Capabilities(r.U64())
	m.Limits.read(&r)
	m.Cluster = r.Array16()
	m.Incarnation = r.U64()
	m.Node = readNode(&r)
	m.Nonce = r.Array32()
	m.Proofs = Proofs(r.U32())
	m.TimeMillis = int64(r.U64())
	m.Principal = readToken(&r, "principal")
	m.Options = readOptions(&r, m.Options)
	return finish(&r, TypeHelloReply)
}
