package broker_test

import (
	"crypto/rand"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"io"
	"testing"
	"time"

	"github.com/sealmq/sealmq/wire"
)

// testConn speaks the protocol by hand, one goroutine at a time.
type testConn struct {
	t      testing.TB
	tls    *tls.Conn
	frames *wire.FrameReader
	hello  *wire.HelloReply
	last   uint32
	early  []frame // read while looking for another
}

type frame struct {
	request uint32
	message wire.Message
}

func newTestConn(t testing.TB, raw *tls.Conn) *testConn {
	frames := wire.NewFrameReader(raw)
	frames.SetLimit(wire.FrameBytes)
	return &testConn{t: t, tls: raw, frames: frames}
}

func (c *testConn) close() { c.tls.Close() }

// request sends a message under a new request id.
func (c *testConn) request(m wire.Message) uint32 {
	c.t.Helper()
	c.last++
	c.write(wire.AppendFrame(nil, c.last, m))
	return c.last
}

// send sends a message under an id.
func (c *testConn) send(request uint32, m wire.Message) {
	c.t.Helper()
	c.write(wire.AppendFrame(nil, request, m))
}

func (c *testConn) write(b []byte) {
	c.t.Helper()
	if _, err := c.tls.Write(b); err != nil {
		c.t.Fatal(err)
	}
}

// read returns the next frame.
func (c *testConn) read() (frame, error) {
	c.tls.SetReadDeadline(time.Now().Add(patience))
	typ, request, payload, err := c.frames.Next()
	if err != nil {
		return frame{}, err
	}
	if err := wire.CheckFromServer(typ, request); err != nil {
		return frame{}, err
	}
	m, err := wire.Decode(typ, append([]byte(nil), payload...))
	return frame{request, m}, err
}

// answer returns the next frame under a request id.
func (c *testConn) answer(request uint32) wire.Message {
	c.t.Helper()
	for i, f := range c.early {
		if f.request == request {
			c.early = append(c.early[:i:i], c.early[i+1:]...)
			return f.message
		}
	}
	for {
		f, err := c.read()
		if err != nil {
			c.t.Fatalf("waiting for the answer to %d: %v", request, err)
		}
		if f.request == request {
			return f.message
		}
		c.early = append(c.early, f)
	}
}

func (c *testConn) call(m wire.Message) wire.Message {
	c.t.Helper()
	return c.answer(c.request(m))
}

// ended reads until the connection ends and returns what came last.
func (c *testConn) ended() (last wire.Message, err error) {
	for {
		f, err := c.read()
		if err != nil {
			return last, err
		}
		last = f.message
	}
}

// expect fails unless the message is of the type.
func expect[M wire.Message](t testing.TB, m wire.Message) M {
	t.Helper()
	is, ok := m.(M)
	if !ok {
		t.Fatalf("came %T %+v", m, m)
	}
	return is
}

// refused fails unless the message is a failure with the code.
func refused(t testing.TB, m wire.Message, code wire.Code) *wire.Failure {
	t.Helper()
	f := expect[*wire.Failure](t, m)
	if f.Code != code {
		t.Fatalf("came %v %q, not %v", f.Code, f.Detail, code)
	}
	return f
}

// retry repeats a request while the node says that it is worth it.
func retry[M wire.Message](t testing.TB, c *testConn, m wire.Message) M {
	t.Helper()
	var answer wire.Message
	eventually(t, "an answer to "+m.Type().String(), func() bool {
		answer = c.call(m)
		f, failed := answer.(*wire.Failure)
		return !failed || f.Code != wire.CodeUnavailable && f.Code != wire.CodeOverloaded
	})
	return expect[M](t, answer)
}

func random16() (id [16]byte) { rand.Read(id[:]); return id }

// sender sends messages of one session and one producer to one mailbox.
type sender struct {
	box      wire.MailboxRef
	init     []byte
	session  [16]byte
	producer [8]byte
	counter  uint64
	epoch    uint32
}

func newSender(box wire.MailboxRef) *sender {
	s := &sender{box: box, init: sessionHeader(), epoch: 1}
	s.session = wire.SessionID(box.ID, s.init)
	rand.Read(s.producer[:])
	return s
}

// sessionHeader is one that nodes take for one: they look at its version and not-after only.
func sessionHeader() []byte {
	init := make([]byte, 100)
	rand.Read(init)
	init[0] = 1
	binary.BigEndian.PutUint32(init[4:], uint32(time.Now().Add(time.Hour).Unix()/60))
	return init
}

const ttl = 14 * 24 * time.Hour

func notAfter() uint32 { return uint32(time.Now().Add(ttl).Unix() / 60) }

// sealed stands for a sealed body of a size.
func sealed(n int) []byte {
	b := make([]byte, n)
	rand.Read(b)
	return b
}

// batch is a send of the next counted messages, one for each body, with the session's header.
func (s *sender) batch(bodies ...[]byte) *wire.Send {
	m := &wire.Send{
		Mailbox: s.box, Producer: s.producer, LowestUnanswered: s.counter + 1,
		Sessions: []wire.SessionRef{{ID: s.session, Init: s.init}},
	}
	for _, body := range bodies {
		s.counter++
		m.Items = append(m.Items, wire.SendItem{Sealed: body, Header: wire.ClearHeader{
			Type: wire.BodySealed, NotAfterMinutes: notAfter(), Epoch: s.epoch, Session: s.session,
			ID: wire.CountedID(s.producer, s.counter),
		}})
	}
	return m
}

// keyed is a send of one message with a keyed id.
func (s *sender) keyed(id, tag [16]byte, body []byte) *wire.Send {
	return &wire.Send{
		Mailbox: s.box, Producer: s.producer, Sessions: []wire.SessionRef{{ID: s.session, Init: s.init}},
		Items: []wire.SendItem{{Keyed: true, BodyTag: tag, Sealed: body, Header: wire.ClearHeader{
			Type: wire.BodySealed, NotAfterMinutes: notAfter(), Epoch: s.epoch, Session: s.session, ID: id,
		}}},
	}
}

// put sends n messages and fails unless all are stored.
func (s *sender) put(c *testConn, n int) *wire.Send {
	c.t.Helper()
	var bodies [][]byte
	for range n {
		bodies = append(bodies, sealed(100))
	}
	m := s.batch(bodies...)
	results(c.t, c.call(m), wire.CodeOK)
	return m
}

// results returns the results of a send, all of which must have the code.
func results(t testing.TB, m wire.Message, code wire.Code) (all []wire.SendResult) {
	t.Helper()
	for i, r := range expect[*wire.SendReply](t, m).Results() {
		if r.Code != code {
			t.Fatalf("item %d: %v, not %v", i, r.Code, code)
		}
		all = append(all, r)
	}
	return all
}

// pull is a pull of everything, without a wait.
func pull(box wire.MailboxRef) *wire.Pull {
	return &wire.Pull{
		Mailbox: box, Attempt: random16(), Receiver: random16(), EpochHigh: 1 << 20, MaxMessages: wire.BatchItems,
		MaxBytes: wire.CreditBytes,
	}
}

func subscribe(box wire.MailboxRef) *wire.Subscribe {
	return &wire.Subscribe{
		Mailbox: box, Attempt: random16(), Receiver: random16(), EpochHigh: 1 << 20, CreditMessages: 1000,
		CreditBytes: 64 << 20,
	}
}

func seqs(d *wire.Deliver) (all []uint64) {
	for i := range d.Items {
		all = append(all, d.Items[i].Seq)
	}
	return all
}

func ranges(all ...uint64) (r []wire.SeqRange) {
	for _, seq := range all {
		r = wire.AddSeq(r, seq)
	}
	return r
}

// codes returns the results of an ack, nack or extend.
func codes(t testing.TB, m wire.Message) (all []wire.Code) {
	t.Helper()
	for _, code := range expect[*wire.LeaseReply](t, m).Results() {
		all = append(all, code)
	}
	return all
}

func ack(d *wire.Deliver, all ...uint64) *wire.Ack {
	return &wire.Ack{Mailbox: d.Mailbox, Lease: d.Lease, Seqs: ranges(all...)}
}

// isEnd reports whether an error of reading says that the other side has closed the connection.
func isEnd(err error) bool {
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF)
}

// tryCall is call for a connection that may end.
func (c *testConn) tryCall(m wire.Message) (wire.Message, error) {
	c.last++
	if _, err := c.tls.Write(wire.AppendFrame(nil, c.last, m)); err != nil {
		return nil, err
	}
	for {
		f, err := c.read()
		if err != nil {
			return nil, err
		}
		if f.request == c.last {
			return f.message, nil
		}
	}
}
