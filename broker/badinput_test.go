package broker_test

import (
	"context"
	"crypto/tls"
	"encoding/binary"
	"io"
	"math/rand/v2"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sealmq/sealmq/broker"
	"github.com/sealmq/sealmq/internal/pki"
	"github.com/sealmq/sealmq/wire"
)

// bystander is a client that nothing may disturb.
func bystander(t *testing.T, c *cluster) func() {
	conn := c.dial(t, "n1", "bystander")
	return func() {
		t.Helper()
		expect[*wire.Pong](t, conn.call(&wire.Ping{}))
	}
}

// TestPlainText: whoever speaks HTTP is told in HTTP what the port is, whoever speaks anything else hears nothing.
func TestPlainText(t *testing.T) {
	t.Parallel()
	c := common.get(t)
	unharmed := bystander(t, c)
	for text, want := range map[string]string{
		"GET / HTTP/1.1\r\nHost: x\r\n\r\n":      "HTTP/1.0 400 Bad Request\r\n",
		"POST /send HTTP/1.1\r\nHost: x\r\n\r\n": "HTTP/1.0 400 Bad Request\r\n",
		"PROXY TCP4 1.2.3.4 1.2.3.4 1 2\r\n":     "", "SSH-2.0-x\r\n": "", "\x00\x00\x00\x05\x04\x00\x00\x00\x01": "",
	} {
		raw, err := net.Dial("tcp", c.nodes["n1"].Client.Address)
		if err != nil {
			t.Fatal(err)
		}
		raw.Write([]byte(text))
		raw.SetReadDeadline(time.Now().Add(patience))
		answer, err := io.ReadAll(raw)
		raw.Close()
		if e, ok := err.(net.Error); ok && e.Timeout() {
			t.Errorf("%q: the connection stays open", text)
		}
		if want == "" && len(answer) > 16 || !strings.HasPrefix(string(answer), want) || strings.Contains(string(answer), "n1") {
			t.Errorf("%q was answered by %q", text, answer)
		}
	}
	unharmed()
}

// stranger is a certificate of an authority of its own.
func stranger(t *testing.T, kind pki.Kind, cluster [16]byte, node bool) tls.Certificate {
	t.Helper()
	a, err := pki.CreateAuthority(kind, cluster)
	if err != nil {
		t.Fatal(err)
	}
	issue := func() (pki.Leaf, error) { return a.IssueService("you", 0) }
	if node {
		issue = func() (pki.Leaf, error) { return a.IssueNode("n2", nil, 0) }
	}
	leaf, err := issue()
	if err != nil {
		t.Fatal(err)
	}
	cert, err := tls.X509KeyPair(leaf.CertPEM, leaf.KeyPEM)
	if err != nil {
		t.Fatal(err)
	}
	return cert
}

// certificateOf is what a node shows on one of its listeners.
func certificateOf(t *testing.T, files broker.TLSFiles) tls.Certificate {
	t.Helper()
	cert, err := tls.LoadX509KeyPair(files.Cert, files.Key)
	if err != nil {
		t.Fatal(err)
	}
	return cert
}

// TestClientPortAdmits services and operators of this cluster, with certificates that hold, over TLS 1.3, and who names
// the protocol.
func TestClientPortAdmits(t *testing.T) {
	c := common.get(t)
	unharmed := bystander(t, c)
	node := c.nodes["n2"]
	expired, err := c.issue("late", time.Nanosecond)
	if err != nil {
		t.Fatal(err)
	}
	you := func(change func(*tls.Config)) *tls.Config {
		o := c.tlsConfig(c.certificate(t, "you"))
		change(o)
		return o
	}
	for _, x := range []struct {
		name   string
		config *tls.Config
		alert  string
	}{
		{"no certificate", c.tlsConfig(), "certificate required"},
		{"unknown authority", c.tlsConfig(stranger(t, pki.Client, c.id, false)), ""},
		{"another cluster", c.tlsConfig(stranger(t, pki.Client, random16(), false)), ""},
		{"a node, as to nodes", c.tlsConfig(certificateOf(t, node.Peer.TLS)), ""},
		{"a node, as to clients", c.tlsConfig(certificateOf(t, node.Client.TLS)), "bad certificate"},
		{"a node, as to operators", c.tlsConfig(certificateOf(t, node.Operator.TLS)), "bad certificate"},
		{"expired", c.tlsConfig(expired), "expired"},
		{"TLS 1.2", you(func(o *tls.Config) { o.MinVersion, o.MaxVersion = 0, tls.VersionTLS12 }), "protocol version"},
		{"another protocol", you(func(o *tls.Config) { o.NextProtos = []string{"h2"} }), "no application protocol"},
		{"no protocol", you(func(o *tls.Config) { o.NextProtos = nil }), ""},
	} {
		refusesHandshake(t, x.name, c.nodes["n1"].Client.Address, x.config, x.alert)
	}
	unharmed()
	// Who it was stands in no log: names are not logged unless asked for.
	for _, name := range []string{"svc/", "/node/", "operator/looker"} {
		if strings.Contains(c.logs.String(), name) {
			t.Errorf("the log says %q", name)
		}
	}
}

// TestPeerPortAdmits nodes of this cluster only, before a byte of the peer protocol is read.
func TestPeerPortAdmits(t *testing.T) {
	c := common.get(t)
	unharmed := bystander(t, c)
	as := func(cert tls.Certificate, protocol string) *tls.Config {
		o := c.tlsConfig(cert)
		o.NextProtos, o.InsecureSkipVerify = []string{protocol}, true
		return o
	}
	const peers = "sealmq-peer/1"
	node := certificateOf(t, c.nodes["n2"].Peer.TLS)
	for _, x := range []struct {
		name   string
		config *tls.Config
		alert  string
	}{
		{"a client", as(c.certificate(t, "you"), peers), ""},
		{"an operator", as(c.certificate(t, "operator/admin"), peers), ""},
		{"a node of another cluster", as(stranger(t, pki.Peer, random16(), true), peers), ""},
		{"a node of an unknown authority", as(stranger(t, pki.Peer, c.id, true), peers), ""},
		{"a node, as to clients", as(certificateOf(t, c.nodes["n2"].Client.TLS), peers), ""},
		{"a node with the protocol of clients", as(node, wire.ALPN), "no application protocol"},
		// It is a node, and what it says is not the peer protocol.
		{"a node with a hello of clients", as(node, peers), ""},
	} {
		refusesHandshake(t, x.name, c.nodes["n1"].Peer.Address, x.config, x.alert)
	}
	unharmed()
}

// refusesHandshake fails unless a connection ends with an error that says alert.
func refusesHandshake(t *testing.T, name, address string, config *tls.Config, alert string) {
	t.Helper()
	err := firstError(address, config)
	if err == nil || !strings.Contains(err.Error(), alert) {
		t.Errorf("%s: %v, not %q", name, err, alert)
	}
	if e, ok := err.(net.Error); ok && e.Timeout() {
		t.Errorf("%s: the connection stays open", name)
	}
}

// firstError dials, says hello and returns the first thing that goes wrong.
func firstError(address string, config *tls.Config) error {
	d := tls.Dialer{Config: config}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	raw, err := d.DialContext(ctx, "tcp", address)
	if err != nil {
		return err
	}
	defer raw.Close()
	raw.SetDeadline(time.Now().Add(patience))
	// With TLS 1.3 a client knows of the refusal only when it reads.
	raw.Write(wire.AppendFrame(nil, 1, &wire.Hello{MinVersion: 1, MaxVersion: 1}))
	_, err = raw.Read(make([]byte, 1))
	return err
}

func TestHelloIsRefused(t *testing.T) {
	c := common.get(t)
	unharmed := bystander(t, c)
	hello := func(change func(*wire.Hello)) []byte {
		h := &wire.Hello{MinVersion: 1, MaxVersion: 1, Client: "test", Cluster: c.id}
		change(h)
		return wire.AppendFrame(nil, 7, h)
	}
	long := func(n uint32) []byte { return binary.BigEndian.AppendUint32(nil, n) }
	for _, x := range []struct {
		name    string
		bytes   []byte
		request uint32
		code    wire.Code
	}{
		{"newer versions", hello(func(h *wire.Hello) { h.MinVersion, h.MaxVersion = 2, 255 }), 7,
			wire.CodeUnsupportedVersion},
		{"version 0", hello(func(h *wire.Hello) { h.MinVersion = 0 }), 0, wire.CodeBadRequest},
		{"another cluster", hello(func(h *wire.Hello) { h.Cluster[0]++ }), 7, wire.CodeWrongCluster},
		{"no magic", append([]byte{0, 0, 0, 40, 1, 0, 0, 0, 7}, make([]byte, 35)...), 0, wire.CodeBadRequest},
		{"critical option", hello(func(h *wire.Hello) { h.Options = wire.Options{{Tag: 0x81, Value: nil}} }), 0,
			wire.CodeUnsupported},
		{"text of control characters", hello(func(h *wire.Hello) { h.Client = "\x1b[2J" }), 0, wire.CodeBadRequest},
		{"a request before it", wire.AppendFrame(nil, 1, &wire.Ping{}), 0, wire.CodeUnauthenticated},
		{"an unknown request before it", []byte{0, 0, 0, 5, 200, 0, 0, 0, 1}, 0, wire.CodeUnauthenticated},
		{"length 0", long(0), 0, wire.CodeBadRequest},
		{"length 4", long(4), 0, wire.CodeBadRequest},
		{"length above that of a hello", long(wire.PreAuthFrameBytes + 1), 0, wire.CodeTooLarge},
		{"length 2^31", long(1 << 31), 0, wire.CodeTooLarge},
		{"length 2^32-1", long(1<<32 - 1), 0, wire.CodeTooLarge},
		{"HTTP inside TLS", []byte("GET / HTTP/1.1\r\n\r\n"), 0, wire.CodeTooLarge},
	} {
		conn := newTestConn(t, c.handshake(t, "n1", c.certificate(t, "you")))
		conn.write(x.bytes)
		f, err := conn.read()
		if err != nil {
			t.Errorf("%s: %v", x.name, err)
			continue
		}
		no := refused(t, f.message, x.code)
		if f.request != x.request || no.MinVersion != 1 || no.MaxVersion != 1 {
			t.Errorf("%s: under request %d %+v", x.name, f.request, no)
		}
		if last, err := conn.ended(); last != nil || !isEnd(err) {
			t.Errorf("%s: then came %v, %v", x.name, last, err)
		}
		conn.close()
	}
	unharmed()
}

func TestFramesThatEndTheConnection(t *testing.T) {
	c := common.get(t)
	unharmed := bystander(t, c)
	box := wire.MailboxRef{ID: random16()}
	waiting := pull(c.owned(t, "closer", "closer.box"))
	waiting.WaitMillis = 60_000
	whole := wire.AppendFrame(nil, 9, &wire.Ack{Mailbox: box, Seqs: ranges(1)})
	trailing := append(append([]byte(nil), whole...), 0)
	binary.BigEndian.PutUint32(trailing, uint32(len(trailing)-4))
	short := append([]byte(nil), whole[:len(whole)-1]...)
	binary.BigEndian.PutUint32(short, uint32(len(short)-4))
	for _, x := range []struct {
		name  string
		bytes []byte
		code  wire.Code
	}{
		{"a second hello", wire.AppendFrame(nil, 9, &wire.Hello{MinVersion: 1, MaxVersion: 1}), wire.CodeBadRequest},
		{"a node's message", wire.AppendFrame(nil, 9, &wire.Done{}), wire.CodeBadRequest},
		{"request 0", wire.AppendFrame(nil, 0, &wire.Ping{}), wire.CodeBadRequest},
		{"an open request again", append(wire.AppendFrame(nil, 9, waiting), wire.AppendFrame(nil, 9,
			&wire.Ping{})...), wire.CodeBadRequest},
		{"an open subscription again", append(wire.AppendFrame(nil, 9, subscribe(waiting.Mailbox)),
			wire.AppendFrame(nil, 9, subscribe(waiting.Mailbox))...), wire.CodeBadRequest},
		{"above the limit", binary.BigEndian.AppendUint32(nil, wire.FrameBytes+1), wire.CodeTooLarge},
		{"a byte too many", trailing, wire.CodeBadRequest},
		{"a byte too few", short, wire.CodeBadRequest},
	} {
		conn := c.leading(t, "closer", "closer.box")
		conn.write(x.bytes)
		last, err := conn.ended()
		f, ok := last.(*wire.Failure)
		if !ok || f.Code != x.code || !isEnd(err) {
			t.Errorf("%s: last came %+v, %v; not %v", x.name, last, err, x.code)
		}
	}
	unharmed()
}

// TestGarbage sends every type of message with bytes that are none: each is refused, typed, and nothing breaks.
func TestGarbage(t *testing.T) {
	t.Parallel()
	c := common.get(t)
	unharmed := bystander(t, c)
	random := rand.New(rand.NewPCG(1, 2))
	payloads := [][]byte{nil, {0}, {255}, make([]byte, 40), make([]byte, 2000)}
	for range 5 {
		b := make([]byte, random.IntN(200))
		for i := range b {
			b[i] = byte(random.Uint32())
		}
		payloads = append(payloads, b)
	}
	conn := c.dial(t, "n1", "garbage")
	for _, typ := range append(wire.Types(), 0, 8, 50, 150, 255) {
		if typ == wire.TypeCredit || typ == wire.TypeUnsubscribe || typ == wire.TypePong {
			continue // without an answer
		}
		for _, payload := range payloads {
			conn.last++
			b := binary.BigEndian.AppendUint32(nil, uint32(5+len(payload)))
			b = binary.BigEndian.AppendUint32(append(b, byte(typ)), conn.last)
			conn.write(append(b, payload...))
			f, err := conn.read()
			if err != nil {
				t.Fatalf("%v %x: %v", typ, payload, err)
			}
			no, failed := f.message.(*wire.Failure)
			if failed && f.request == 0 {
				if _, err := conn.ended(); !isEnd(err) {
					t.Errorf("%v: after %v the connection goes on: %v", typ, no.Code, err)
				}
				conn.close()
				conn = c.dial(t, "n1", "garbage")
			} else if f.request != conn.last {
				t.Fatalf("%v: came %+v", typ, f)
			}
			if failed && no.Code.Outcome() != wire.Definite {
				t.Errorf("%v %x: %v %q", typ, payload, no.Code, no.Detail)
			}
		}
	}
	// A message of nothing is allowed where a list is all there is.
	expect[*wire.MailboxCreateReply](t, conn.call(&wire.MailboxCreate{}))
	unharmed()
}

func TestSilentStrangersAreClosed(t *testing.T) {
	t.Parallel()
	c := common.get(t)
	address := c.nodes["n1"].Client.Address
	closed := make(chan string)
	began := time.Now()
	watch := func(name string, raw net.Conn) {
		raw.SetReadDeadline(time.Now().Add(patience))
		_, err := io.ReadAll(raw)
		raw.Close()
		if e, ok := err.(net.Error); ok && e.Timeout() {
			name += " stays open"
		} else {
			name = ""
		}
		closed <- name
	}
	for range 100 {
		raw, err := net.Dial("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		go watch("a connection without a handshake", raw)
	}
	raw, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	raw.Write([]byte{0x16, 3, 1, 0, 100, 1})
	go watch("half a handshake", raw)
	go watch("a connection without a hello", c.handshake(t, "n1", c.certificate(t, "you")))
	half := c.handshake(t, "n1", c.certificate(t, "you"))
	half.Write([]byte{0, 0, 31, 0, 1, 0, 0})
	go watch("half a hello", half)
	// Others are let in meanwhile.
	unharmed := bystander(t, c)
	for range 103 {
		if name := <-closed; name != "" {
			t.Error(name)
		}
	}
	if took := time.Since(began); took < wire.PreAuthMillis*time.Millisecond {
		t.Errorf("they were closed after %v already", took)
	}
	unharmed()
}

// TestPipelineWithoutReading: whoever asks and does not listen is not listened to, and loses nothing.
func TestPipelineWithoutReading(t *testing.T) {
	t.Parallel()
	c := common.get(t)
	const requests = 100_000
	conn := c.dial(t, "n1", "greedy")
	// So long that the sockets' buffers do not hold them all.
	request := &wire.SlotMap{Options: wire.Options{{Tag: 99, Value: make([]byte, 250)}}}
	var written atomic.Int64
	done := make(chan struct{})
	go func() {
		defer close(done)
		for i := 0; i < requests; i += 100 {
			var b []byte
			for j := range 100 {
				b = wire.AppendFrame(b, uint32(i+j+2), request)
			}
			if _, err := conn.tls.Write(b); err != nil {
				return
			}
			written.Add(100)
		}
	}()
	unharmed := bystander(t, c)
	last := int64(-1)
	eventually(t, "the node to stop listening", func() bool {
		unharmed()
		now := written.Load()
		stalled := now == last && now > 0
		last = now
		time.Sleep(50 * time.Millisecond)
		return stalled
	})
	if last == requests {
		t.Error("the node took everything in")
	}
	seen := make([]bool, requests)
	for range requests {
		f, err := conn.read()
		if err != nil {
			t.Fatal(err)
		}
		expect[*wire.SlotMapReply](t, f.message)
		if i := f.request - 2; seen[i] {
			t.Fatalf("request %d was answered twice", f.request)
		} else {
			seen[i] = true
		}
	}
	<-done
}

func TestTooManyRequestsInFlight(t *testing.T) {
	t.Parallel()
	c := common.get(t)
	box := c.owned(t, "flight", "flight.box")
	conn := c.leading(t, "flight", "flight.box")
	limit := int(conn.hello.Limits.InFlightRequests)
	m := pull(box)
	m.WaitMillis = 60_000
	var b []byte
	for i := range limit + 5 {
		m.Attempt = random16()
		b = wire.AppendFrame(b, uint32(i+10), m)
	}
	go conn.tls.Write(b)
	for range 5 {
		f, err := conn.read()
		if err != nil {
			t.Fatal(err)
		}
		refused(t, f.message, wire.CodeOverloaded)
	}
	bystander(t, c)()
	conn.close()
}

func TestConnectionsAreLimited(t *testing.T) {
	t.Parallel()
	c := startCluster(t, 1, 1, func(o *broker.Options) { o.Connections = 2 })
	first, second := c.dial(t, "n1", "a"), c.dial(t, "n1", "b")
	third := newTestConn(t, c.handshake(t, "n1", c.certificate(t, "c")))
	refused(t, third.call(&wire.Hello{MinVersion: 1, MaxVersion: 1}), wire.CodeOverloaded)
	if last, err := third.ended(); last != nil || !isEnd(err) {
		t.Errorf("then came %v, %v", last, err)
	}
	expect[*wire.Pong](t, first.call(&wire.Ping{}))
	second.close()
	eventually(t, "a place", func() bool {
		conn := newTestConn(t, c.handshake(t, "n1", c.certificate(t, "c")))
		defer conn.close()
		_, ok := conn.call(&wire.Hello{MinVersion: 1, MaxVersion: 1}).(*wire.HelloReply)
		return ok
	})
}
