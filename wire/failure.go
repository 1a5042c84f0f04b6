package wire

import "github.com/sealmq/sealmq/internal/codec"

// Leader says which node leads, as far as the sender knows. An address counts only if its certificate names the node.
type Leader struct {
	Node, Address string
}

func (l *Leader) append(dst []byte) []byte {
	dst = appendString(dst, l.Node)
	return appendString(dst, l.Address)
}

func (l *Leader) read(r *codec.Reader) {
	l.Node = readNode(r)
	l.Address = readAddress(r)
}

// Failure answers any request that failed as a whole. Under request id 0 it says why the connection ends. Its layout is
// the same in every version of the protocol.
type Failure struct {
	Code                   Code // never CodeOK
	MinVersion, MaxVersion uint8
	RetryAfterMillis       uint32
	TimeMinutes            uint32 // the node's clock in unix minutes, with CodeClockSkew
	Leader                 Leader // with CodeNotLeader, empty if the node does not know
	Detail                 string // for people; never a secret, a body or a name
	Options                Options
}

// Type returns TypeFailure.
func (m *Failure) Type() Type { return TypeFailure }

// Append appends the payload.
func (m *Failure) Append(dst []byte) []byte {
	dst = codec.AppendU16(dst, uint16(m.Code))
	dst = append(dst, m.MinVersion, m.MaxVersion)
	dst = codec.AppendU32(dst, m.RetryAfterMillis)
	dst = codec.AppendU32(dst, m.TimeMinutes)
	dst = m.Leader.append(dst)
	dst = appendString(dst, m.Detail)
	return appendOptions(dst, m.Options)
}

// Decode reads a payload.
func (m *Failure) Decode(payload []byte) error {
	r := codec.NewReader(payload)
	if m.Code = Code(r.U16()); m.Code == CodeOK {
		r.Fail(&FieldError{"code", ErrRange})
	}
	m.MinVersion, m.MaxVersion = r.U8(), r.U8()
	m.RetryAfterMillis = r.U32()
	m.TimeMinutes = r.U32()
	m.Leader.read(&r)
	m.Detail = readText(&r, "detail")
	m.Options = readOptions(&r, m.Options)
	return finish(&r, TypeFailure)
}

// Ping asks for a pong. Either side may send one.
type Ping struct {
	Options Options
}

// Type returns TypePing.
func (m *Ping) Type() Type { return TypePing }

// Append appends the payload.
func (m *Ping) Append(dst []byte) []byte { return appendOptions(dst, m.Options) }

// Decode reads a payload.
func (m *Ping) Decode(payload []byte) error {
	r := codec.NewReader(payload)
	m.Options = readOptions(&r, m.Options)
	return finish(&r, TypePing)
}

// Pong answers a ping.
type Pong struct {
	TimeMillis int64 // the sender's clock
	Options    Options
}

// Type returns TypePong.
func (m *Pong) Type() Type { return TypePong }

// Append appends the payload.
func (m *Pong) Append(dst []byte) []byte {
	dst = codec.AppendU64(dst, uint64(m.TimeMillis))
	return appendOptions(dst, m.Options)
}

// Decode reads a payload.
func (m *Pong) Decode(payload []byte) error {
	r := codec.NewReader(payload)
	m.TimeMillis = int64(r.U64())
	m.Options = readOptions(&r, m.Options)
	return finish(&r, TypePong)
}

// GoAway says that the node will close the connection. Requests that it has read are still answered.
type GoAway struct {
	Code        Code
	GraceMillis uint32 // until it closes
	Detail      string // for people
	Options     Options
}

// Type returns TypeGoAway.
func (m *GoAway) Type() Type { return TypeGoAway }

// Append appends the payload.
func (m *GoAway) Append(dst []byte) []byte {
	dst = codec.AppendU16(dst, uint16(m.Code))
	dst = codec.AppendU32(dst, m.GraceMillis)
	dst = appendString(dst, m.Detail)
	return appendOptions(dst, m.Options)
}

// Decode reads a payload.
func (m *GoAway) Decode(payload []byte) error {
	r := codec.NewReader(payload)
	m.Code = Code(r.U16())
	m.GraceMillis = r.U32()
	m.Detail = readText(&r, "detail")
	m.Options = readOptions(&r, m.Options)
	return finish(&r, TypeGoAway)
}

// Done answers a request that has nothing else to say than that it was done.
type Done struct {
	Options Options
}

// Type returns TypeDone.
func (m *Done) Type() Type { return TypeDone }

// Append appends the payload.
func (m *Done) Append(dst []byte) []byte { return appendOptions(dst, m.Options) }

// Decode reads a payload.
func (m *Done) Decode(payload []byte) error {
	r := codec.NewReader(payload)
	m.Options = readOptions(&r, m.Options)
	return finish(&r, TypeDone)
}
