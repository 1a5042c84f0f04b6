package client

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sealmq/sealmq/envelope"
	"github.com/sealmq/sealmq/wire"
)

const testPatience = 2500 * time.Millisecond

// impatient connects a service that does not wait for nodes that all refuse.
func impatient(t *testing.T, o Options) *Client {
	t.Helper()
	c, err := Connect(t.Context(), o, GiveUpRefused(testPatience))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// Where every node refuses the connection, each call gives up soon, and says that nobody is there.
func TestGiveUpRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake(t, 3)
		bob := f.client(t, "bob")
		mustCreate(t, bob, "box")
		mustSend(t, bob, "box", "1")
		alice := impatient(t, f.options(t, "alice"))
		mustSend(t, alice, "box", "2")
		own := impatient(t, f.optionsFor("bob", bob.opts.Identity, bob.opts.KeyStore))
		ms, err := own.Receive(t.Context(), "box")
		if err != nil || len(ms) != 1 {
			t.Fatalf("%d messages, %v", len(ms), err)
		}
		for id := range f.nodes {
			f.setDown(id, true)
		}
		synctest.Wait()
		time.Sleep(time.Minute) // nobody has looked meanwhile: that counts for nothing
		first := true
		for _, call := range []struct {
			name string
			do   func(context.Context) error
		}{
			{"connecting", func(ctx context.Context) error {
				_, err := Connect(ctx, f.options(t, "carol"), GiveUpRefused(testPatience))
				return err
			}},
			{"sending", func(ctx context.Context) error { _, err := alice.Send(ctx, "box", []byte("x")); return err }},
			{"showing", func(ctx context.Context) error { _, err := alice.ShowMailbox(ctx, "box"); return err }},
			{"status", func(ctx context.Context) error { _, err := alice.Status(ctx); return err }},
			{"acking", func(ctx context.Context) error { return ms[0].Ack(ctx) }},
			{"receiving", func(ctx context.Context) error { _, err := own.Receive(ctx, "box", Wait(time.Second)); return err }},
		} {
			began := time.Now()
			err := call.do(t.Context())
			e := asErrorOrNil(err)
			if e == nil || e.Code != CodeUnreachable || e.Outcome != Definite || !e.Retryable ||
				!strings.Contains(err.Error(), "every node refuses the connection") {
				t.Errorf("%s: %v", call.name, err)
			}
			d := time.Since(began)
			if d > 3*time.Second || first && d < testPatience {
				t.Errorf("%s: gave up after %v", call.name, d)
			}
			first = false
		}
		// The context's own end says the same.
		ctx, stop := context.WithTimeout(t.Context(), time.Second)
		defer stop()
		if _, err := Connect(ctx, f.options(t, "carol"), GiveUpRefused(time.Minute)); !isCode(err, CodeUnreachable) {
			t.Errorf("at the deadline: %v", err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(time.Second, cancel)
		_, err = Connect(ctx, f.options(t, "carol"), GiveUpRefused(time.Minute))
		if !errors.Is(err, context.Canceled) {
			t.Errorf("interrupted: %v", err)
		}
	})
}

// Whoever gives up on nodes that refuse still waits for those that come back in time, and where one node is there.
func TestFailoverIsRiddenOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake(t, 3)
		bob := f.client(t, "bob")
		mustCreate(t, bob, "box")
		alice := impatient(t, f.options(t, "alice"))
		mustSend(t, alice, "box", "1")
		set := func(down bool, ids ...string) {
			for _, id := range ids {
				f.setDown(id, down)
			}
		}
		set(true, "n1", "n2", "n3")
		time.AfterFunc(2*time.Second, func() { set(false, "n1", "n2", "n3") })
		mustSend(t, alice, "box", "2")
		// One is left and knows no leader.
		f.lead("")
		set(true, "n1", "n2")
		time.AfterFunc(20*time.Second, func() { set(false, "n1", "n2"); f.lead("n2") })
		mustSend(t, alice, "box", "3")
		// One is there and does not answer.
		set(true, "n1", "n2")
		f.onRequest(func(*fakeRequest) fault { return fault{silent: true} })
		_, err := alice.ShowMailbox(t.Context(), "box")
		if !isCode(err, CodeTimeout) {
			t.Errorf("with a silent node: %v", err)
		}
	})
}

// Nodes that answer and know no leader are told from nodes that are away.
func TestNoLeader(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake(t, 3)
		alice, bob := pair(t, f)
		mustSend(t, alice, "box", "1")
		f.lead("")
		for name, call := range map[string]func() error{
			"sending":       func() error { _, err := alice.Send(t.Context(), "box", []byte("x")); return err },
			"receiving":     func() error { _, err := bob.Receive(t.Context(), "box"); return err },
			"showing":       func() error { _, err := bob.ShowMailbox(t.Context(), "box"); return err },
			"a first send":  func() error { _, err := bob.Send(t.Context(), "box", []byte("x")); return err },
			"adding grants": func() error { _, _, err := bob.AddGrant(t.Context(), "x", "send", "y"); return err },
		} {
			err := call()
			e := asErrorOrNil(err)
			if e == nil || e.Code != "not_leader" || e.Outcome != Definite || !strings.Contains(e.Hint, "sealmq status") ||
				e.Detail != "no leader: a majority of nodes is missing" || strings.Contains(err.Error(), "last attempt") {
				t.Errorf("%s: %v", name, err)
			}
		}
	})
}

// A refusal names the right that the call takes, not the one that a node asked about on the way.
func TestRefusalNamesTheRight(t *testing.T) {
	f := newFake(t, 1)
	alice, bob := pair(t, f)
	_ = bob
	f.onRequest(func(r *fakeRequest) fault {
		no := refuseWith(wire.CodePermissionDenied)
		no.Detail = "alice has no grant for send,stat"
		return fault{failure: no}
	})
	ctx := context.Background()
	for action, call := range map[string]func() error{
		"receive": func() error { _, err := alice.Receive(ctx, "box"); return err },
		"send":    func() error { _, err := alice.Send(ctx, "box", []byte("x")); return err },
		"manage":  func() error { return alice.DeleteMailbox(ctx, "box") },
	} {
		err := call()
		if e := asErrorOrNil(err); e == nil || e.Code != CodePermissionDenied ||
			e.Detail != "alice has no grant for "+action ||
			!strings.Contains(e.Hint, "sealmq grant add alice "+action+" RESOURCE") {
			t.Errorf("%s: %v", action, err)
		}
	}
	f.onRequest(func(r *fakeRequest) fault {
		return fault{failure: refuseWith(wire.CodePermissionDenied)}
	})
	_, err := alice.CreateMailbox(ctx, "another")
	if e := asErrorOrNil(err); e == nil || e.Detail != "alice has no grant for manage" {
		t.Errorf("creating: %v", err)
	}
}

// Who can have no keys makes no mailbox, and one whose keys are refused does not stay.
func TestMailboxWithoutRightToKeys(t *testing.T) {
	f := newFake(t, 1)
	id, err := envelope.NewIdentity("admin")
	if err != nil {
		t.Fatal(err)
	}
	keys, err := OpenKeyStore(t.TempDir() + "/keyring")
	if err != nil {
		t.Fatal(err)
	}
	ctx := context.Background()
	operator := connect(t, f.optionsFor("operator/admin", id, keys))
	_, err = operator.CreateMailbox(ctx, "box")
	if e := asErrorOrNil(err); e == nil || e.Code != CodePermissionDenied || e.Outcome != Definite ||
		!strings.Contains(e.Detail, "keys") || !strings.Contains(e.Hint, "--as NAME mailbox create") {
		t.Errorf("%v", err)
	}
	bob := f.client(t, "bob")
	f.onRequest(nth(wire.TypeKeyRecordPublish, 1, fault{failure: refuseWith(wire.CodePermissionDenied)}))
	_, err = bob.CreateMailbox(ctx, "box")
	if e := asErrorOrNil(err); e == nil ||
		!strings.Contains(e.Detail, "bob has no grant for keys; the mailbox was taken back") {
		t.Errorf("%v", err)
	}
	if _, err := bob.ShowMailbox(ctx, "box"); !isCode(err, CodeNotFound) {
		t.Errorf("what is left: %v", err)
	}
	mustCreate(t, bob, "box")
}

func TestCreatedMailboxesAreNamed(t *testing.T) {
	f := newFake(t, 1)
	bob := f.client(t, "bob")
	results, err := bob.CreateMailboxes(context.Background(), []string{"a", "b"})
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range results {
		m, err := bob.ShowMailbox(context.Background(), r.Name)
		if err != nil || m.ID != r.ID || m.Group != r.Group {
			t.Errorf("%+v, not %+v, %v", r, m, err)
		}
	}
}

// What listens at an address and is no node's client port is not said to have refused the certificate.
func TestSomethingElseListens(t *testing.T) {
	f := newFake(t, 1)
	listen := func(c *tls.Config) string {
		l, err := tls.Listen("tcp", "127.0.0.1:0", c)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { l.Close() })
		go func() {
			for {
				c, err := l.Accept()
				if err != nil {
					return
				}
				go func() {
					defer c.Close()
					c.(*tls.Conn).Handshake()
					c.Read(make([]byte, 1))
				}()
			}
		}()
		return l.Addr().String()
	}
	other := f.nodes["n1"].config.Clone()
	other.NextProtos = []string{"h2"}
	strangers := f.nodes["n1"].config.Clone()
	strangers.ClientCAs = newFakeCA(f.id).pool
	for _, tt := range []struct {
		name, address string
		code          Code
		says          string
	}{
		{"another protocol", listen(other), CodeConfig, "is not the client port of a node"},
		{"another authority", listen(strangers), CodeUnauthenticated, "refused the client's certificate"},
	} {
		o := f.options(t, "alice")
		o.Nodes, o.dial = map[string]string{"n1": tt.address}, nil
		_, err := Connect(context.Background(), o)
		if !isCode(err, tt.code) || !strings.Contains(err.Error(), tt.says) || asError(err).Hint == "" {
			t.Errorf("%s: %v", tt.name, err)
		}
	}
}

// A dial that took its time is not a refusal: the node may be there.
func TestSlowDialIsNoRefusal(t *testing.T) {
	for _, tt := range []struct {
		err     error
		refused bool
	}{
		{errors.New("connection refused"), true},
		{&net.OpError{Op: "dial", Err: os.ErrDeadlineExceeded}, false},
		{context.DeadlineExceeded, false},
	} {
		tr := &transport{dial: func(context.Context, string) (net.Conn, error) { return nil, tt.err }}
		_, err := tr.connect(context.Background(), "n1", "n1:7420")
		if got := errors.As(err, new(*refusedError)); got != tt.refused || !errors.Is(err, tt.err) {
			t.Errorf("%v: refused %v", tt.err, got)
		}
	}
}

func TestCertificateIsMissing(t *testing.T) {
	dir := t.TempDir()
	cert, key := filepath.Join(dir, certificateFile), filepath.Join(dir, keyFile)
	_, err := certificateFiles(cert, key)
	if e := asErrorOrNil(err); e == nil || e.Code != CodeConfig || !strings.Contains(e.Hint, "sealmq id new") {
		t.Errorf("without both: %v", err)
	}
	if err := os.WriteFile(key, []byte("key"), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err = certificateFiles(cert, key)
	if e := asErrorOrNil(err); e == nil || !strings.Contains(e.Hint, "sealmq id sign") ||
		!strings.Contains(e.Detail, cert) {
		t.Errorf("before it was signed: %v", err)
	}
}

// What an error says leads on.
func TestAdvice(t *testing.T) {
	f := newFake(t, 1)
	alice, bob := pair(t, f)
	ctx := context.Background()
	for _, tt := range []struct{ subject, resource, says string }{
		{"", "box", `the subject ""`}, {"x y", "box", `the subject "x y"`}, {"x", "NO", `the resource "NO"`},
	} {
		_, _, err := alice.AddGrant(ctx, tt.subject, "send", tt.resource)
		if !isCode(err, CodeBadRequest) || !strings.Contains(err.Error(), tt.says) || asError(err).Hint == "" {
			t.Errorf("%v", err)
		}
	}
	if _, err := ParseHandle("h1.x"); !isCode(err, CodeBadRequest) ||
		!strings.Contains(asError(err).Hint, "recv --ack=false") {
		t.Errorf("%v", err)
	}
	mustSend(t, alice, "box", "1")
	ms, err := bob.Receive(ctx, "box")
	if err != nil || len(ms) != 1 {
		t.Fatal(err)
	}
	if err := ms[0].Nack(ctx); err != nil {
		t.Fatal(err)
	}
	if err := ms[0].Ack(ctx); !isCode(err, CodeLeaseLost) || strings.Contains(asError(err).Hint, "another receiver") {
		t.Errorf("%v", err)
	}
	p := NewPins()
	if _, err := p.Accept("box"); !errors.Is(err, ErrNotOffered) {
		t.Errorf("%v", err)
	}
	if _, err := bob.CreateMailbox(ctx, "box"); !isCode(err, CodeExists) ||
		!strings.Contains(err.Error(), "there already") {
		t.Errorf("%v", err)
	}
}

// What a call refused has been given back when it returns: its caller may close the client then.
func TestRefusedIsGivenBackFirst(t *testing.T) {
	f := newFake(t, 1)
	alice, bob := pair(t, f)
	mustSend(t, alice, "box", "1")
	if _, err := bob.Receive(t.Context(), "box"); err != nil {
		t.Fatal(err)
	}
	again := f.client(t, "alice")
	mustSend(t, again, "box", "2")
	f.onRequest(func(r *fakeRequest) fault {
		if r.t == wire.TypeNack {
			time.Sleep(50 * time.Millisecond)
		}
		return fault{}
	})
	_, err := bob.Receive(t.Context(), "box")
	if !isCode(err, CodeKeyChanged) {
		t.Fatal(err)
	}
	if state, _, _ := f.state("box", 2); state != stateDelayed {
		t.Errorf("state %d", state)
	}
}
