package client

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sealmq/sealmq/envelope"
	"github.com/sealmq/sealmq/wire"
)

func TestSendAndReceive(t *testing.T) {
	f := newFake(t, 3)
	alice, bob := f.client(t, "alice"), f.client(t, "bob")
	ctx := context.Background()
	mustCreate(t, bob, "bob.in")

	body := []byte("hello")
	sent, err := alice.Send(ctx, "bob.in", body, ContentType("text/plain"), ReplyTo("alice.in"), Correlation([]byte{1}))
	if err != nil {
		t.Fatal(err)
	}
	if sent.Seq != 1 || sent.Duplicate || sent.ID == (MessageID{}) || sent.SealedBytes <= len(body) {
		t.Errorf("sent %+v", sent)
	}
	ms, err := bob.Receive(ctx, "bob.in", Max(10), Wait(time.Second))
	if err != nil || len(ms) != 1 {
		t.Fatalf("received %d messages, %v", len(ms), err)
	}
	m := ms[0]
	if !bytes.Equal(m.Body, body) || m.ID != sent.ID || m.Seq != 1 || m.Attempt != 1 || m.Sender != "alice" ||
		m.SenderKey != alice.opts.Identity.PublicKey() || m.Trust != TrustNew || m.ContentType != "text/plain" ||
		m.ReplyTo != "alice.in" || !bytes.Equal(m.Correlation, []byte{1}) {
		t.Errorf("received %+v", m)
	}
	if d := time.Since(m.SentAt); d < 0 || d > time.Minute {
		t.Errorf("sent at %v", m.SentAt)
	}
	if err := m.Ack(ctx); err != nil {
		t.Errorf("ack: %v", err)
	}
	if ms, err := bob.Receive(ctx, "bob.in"); err != nil || len(ms) != 0 {
		t.Errorf("an empty mailbox gave %d messages, %v", len(ms), err)
	}
}

func TestSenderKeepsOrder(t *testing.T) {
	f := newFake(t, 3)
	alice, bob := f.client(t, "alice"), f.client(t, "bob")
	ctx := context.Background()
	mustCreate(t, bob, "box")
	s := alice.Sender("box")
	const n = 1000
	var pending []*Pending
	for i := range n {
		pending = append(pending, s.Send(ctx, fmt.Appendf(nil, "%d", i)))
	}
	if err := s.Flush(ctx); err != nil {
		t.Fatal(err)
	}
	for i, p := range pending {
		sent, err := p.Wait(ctx)
		if err != nil || sent.Seq != uint64(i+1) || counted(sent.ID) != uint64(i+1) {
			t.Fatalf("message %d: %+v, %v", i, sent, err)
		}
	}
	for got := 0; got < n; {
		ms, err := bob.Receive(ctx, "box", Max(100))
		if err != nil || len(ms) == 0 {
			t.Fatalf("after %d: %d messages, %v", got, len(ms), err)
		}
		for _, m := range ms {
			if string(m.Body) != fmt.Sprint(got) {
				t.Fatalf("message %d is %q", got, m.Body)
			}
			got++
		}
	}
}

func TestKeys(t *testing.T) {
	f := newFake(t, 1)
	alice, bob := f.client(t, "alice"), f.client(t, "bob")
	ctx := context.Background()
	mustCreate(t, bob, "box")
	first, err := alice.Send(ctx, "box", []byte("order"), Key("order-17"))
	if err != nil || first.Duplicate {
		t.Fatalf("%+v, %v", first, err)
	}
	// Another process of the same identity, which has its own session and producer.
	again := connect(t, f.optionsFor("alice", alice.opts.Identity, alice.opts.KeyStore))
	second, err := again.Send(ctx, "box", []byte("order"), Key("order-17"))
	if err != nil || !second.Duplicate || second.ID != first.ID || second.Seq != first.Seq {
		t.Errorf("the same key again: %+v, %v; first %+v", second, err, first)
	}
	_, err = again.Send(ctx, "box", []byte("another order"), Key("order-17"))
	if !isCode(err, CodeIDConflict) || asError(err).Outcome != Definite || asError(err).Retryable {
		t.Errorf("another body under the key: %v", err)
	}
	// Keys are the sender's own.
	carol := f.client(t, "carol")
	if sent, err := carol.Send(ctx, "box", []byte("mine"), Key("order-17")); err != nil || sent.Duplicate {
		t.Errorf("the key of another sender: %+v, %v", sent, err)
	}
}

// Sessions last as long as the options say.
func TestSessionFor(t *testing.T) {
	for _, tt := range []struct {
		lasts, least, most time.Duration
		sessions           int // in an hour of a message each minute, at least
	}{
		{0, 59 * time.Minute, time.Hour, 1},
		{2 * time.Minute, time.Minute, 2 * time.Minute, 30},
		{24 * time.Hour, 24*time.Hour - time.Minute, 24 * time.Hour, 1},
	} {
		synctest.Test(t, func(t *testing.T) {
			f := newFake(t, 1)
			bob := f.client(t, "bob")
			mustCreate(t, bob, "box")
			o := f.options(t, "alice")
			o.SessionFor = tt.lasts
			alice := connect(t, o)
			for range 60 {
				mustSend(t, alice, "box", "x")
				time.Sleep(time.Minute)
			}
			inits := map[string]bool{}
			for i, m := range taken[*wire.Send](f) {
				if init := m.Sessions[0].Init; init != nil && !inits[string(init)] {
					inits[string(init)] = true
					h, err := envelope.ParseSessionHeader(init)
					// It was opened with the first message, or in good time for a later one.
					opened := m.Items[0].Header.NotAfterMinutes - uint32(f.ttl.Minutes())
					if left := h.NotAfter.Sub(time.Unix(int64(opened)*60, 0)); err != nil || i == 0 &&
						(left < tt.least || left > tt.most+time.Minute) {
						t.Errorf("sessions of %v: one lasts %v, %v", tt.lasts, left, err)
					}
				}
			}
			if len(inits) < tt.sessions || len(inits) > 2*tt.sessions+1 {
				t.Errorf("sessions of %v: %d in an hour", tt.lasts, len(inits))
			}
			for got := 0; got < 60; {
				ms, err := bob.Receive(t.Context(), "box", Max(60))
				if err != nil || len(ms) == 0 {
					t.Fatalf("after %d messages: %d, %v", got, len(ms), err)
				}
				got += len(ms)
			}
		})
	}
	f := newFake(t, 1)
	for _, lasts := range []time.Duration{-time.Hour, 1, 2*time.Minute - 1, 24*time.Hour + 1} {
		o := f.options(t, "alice")
		o.SessionFor = lasts
		if _, err := Connect(t.Context(), o); !isCode(err, CodeConfig) || !strings.Contains(err.Error(), "SessionFor") {
			t.Errorf("%v: %v", lasts, err)
		}
	}
}

// A session lasts by the nodes' clock, which may differ from this one.
func TestSessionForOtherClocks(t *testing.T) {
	for _, skew := range []time.Duration{0, 90 * time.Second, 4 * time.Minute, 20 * time.Hour, 23 * time.Hour,
		-4 * time.Minute, -23 * time.Hour} {
		for _, lasts := range []time.Duration{2 * time.Minute, time.Hour, 24 * time.Hour} {
			synctest.Test(t, func(t *testing.T) {
				f := newFake(t, 1)
				bob := f.client(t, "bob")
				mustCreate(t, bob, "box")
				f.skew = skew
				o := f.options(t, "alice")
				o.SessionFor = lasts
				alice := connect(t, o)
				for range 10 {
					mustSend(t, alice, "box", "x")
					time.Sleep(59 * time.Second)
				}
				sent := map[[16]byte]int{}
				inits := map[string]bool{}
				for _, m := range taken[*wire.Send](f) {
					sent[m.Items[0].Header.ID]++
					if m.Sessions[0].Init != nil {
						inits[string(m.Sessions[0].Init)] = true
					}
				}
				for _, n := range sent {
					if n > 1 {
						t.Errorf("clocks %v apart, sessions of %v: a message took %d attempts", skew, lasts, n)
					}
				}
				if len(inits) > 10 || lasts >= time.Hour && len(inits) > 1 {
					t.Errorf("clocks %v apart, sessions of %v: %d sessions in ten minutes", skew, lasts, len(inits))
				}
			})
		}
	}
}

// A sender keeps the session that it sealed in, until the mailbox has let go of it, whoever asked for that.
func TestSessionLetGo(t *testing.T) {
	f := newFake(t, 1)
	alice, _ := pair(t, f)
	box, _ := alice.mailbox("box")
	one, other := alice.Sender("box"), alice.Sender("box")
	sealedIn := func(s *Sender) *sendSession {
		t.Helper()
		p := s.Send(t.Context(), []byte("body"))
		if _, err := p.Wait(t.Context()); err != nil {
			t.Fatal(err)
		}
		return p.session
	}
	before := sealedIn(one)
	if sealedIn(one) != before || sealedIn(other) != before {
		t.Error("a second session was opened without need")
	}
	box.letGo(before)
	after := sealedIn(one)
	if after == before || sealedIn(other) != after {
		t.Error("a message was sealed in a session that the mailbox has let go of")
	}
}

func TestMixedSender(t *testing.T) {
	f := newFake(t, 1)
	alice, bob := f.client(t, "alice"), f.client(t, "bob")
	ctx := context.Background()
	mustCreate(t, bob, "box")
	s := alice.Sender("box")
	for i := range 100 {
		var opts []SendOption
		if i%3 == 0 {
			opts = append(opts, Key(fmt.Sprint("key", i)))
		}
		s.Send(ctx, []byte("body"), opts...)
	}
	if err := s.Flush(ctx); err != nil {
		t.Fatal(err)
	}
	for _, m := range taken[*wire.Send](f) {
		for i := range m.Items {
			if item := &m.Items[i]; !item.Keyed && item.Header.Counter() < m.LowestUnanswered {
				t.Errorf("counter %d below the lowest unanswered %d", item.Header.Counter(), m.LowestUnanswered)
			}
		}
	}
}

func TestSendErrors(t *testing.T) {
	f := newFake(t, 3)
	alice, bob := f.client(t, "alice"), f.client(t, "bob")
	ctx := context.Background()
	if _, err := bob.CreateMailbox(ctx, "empty", NoKeys()); err != nil {
		t.Fatal(err)
	}
	mustCreate(t, bob, "box")
	f.onRequest(func(r *fakeRequest) fault {
		if r.t == wire.TypeSend && r.principal == "mallory" {
			return fault{failure: refuseWith(wire.CodePermissionDenied)}
		}
		return fault{}
	})
	mallory := f.client(t, "mallory")
	tests := []struct {
		name string
		c    *Client
		box  string
		body []byte
		code Code
		hint string
	}{
		{"no such mailbox", alice, "nowhere", nil, CodeNotFound, "mailbox ls"},
		{"not a name", alice, "No Such Name", nil, CodeBadRequest, ""},
		{"no key yet", alice, "empty", nil, CodeNoKey, "Ask bob to run a receiver"},
		{"too large", alice, "box", make([]byte, wire.BodyBytes+1), CodeTooLarge, ""},
		{"not allowed", mallory, "box", nil, CodePermissionDenied, "grant add"},
	}
	for _, tt := range tests {
		_, err := tt.c.Send(ctx, tt.box, tt.body)
		e := asError(err)
		if err == nil || e.Code != tt.code || e.Outcome != Definite || e.Retryable || !strings.Contains(e.Hint, tt.hint) {
			t.Errorf("%s: %#v", tt.name, err)
		}
		if strings.Contains(fmt.Sprint(err), "nowhere") {
			t.Errorf("%s: the error names the mailbox: %v", tt.name, err)
		}
		s := tt.c.Sender(tt.box)
		if _, async := s.Send(ctx, tt.body).Wait(ctx); async == nil || asError(async).Code != tt.code {
			t.Errorf("%s through a sender: %v", tt.name, async)
		}
		if err := s.Flush(ctx); err == nil {
			t.Errorf("%s: flush found nothing wrong", tt.name)
		}
		if err := s.Flush(ctx); err != nil {
			t.Errorf("%s: flush told of it twice: %v", tt.name, err)
		}
	}
	if _, err := alice.Send(ctx, "box", make([]byte, wire.BodyBytes)); err != nil {
		t.Errorf("the largest body: %v", err)
	}
}

// The order of the id's counter, of the mailbox and of the sequence in the session must be that of the calls, and one
// failure must not hold up the rest.
func TestOneFailureAmongMany(t *testing.T) {
	f := newFake(t, 1)
	alice, bob := f.client(t, "alice"), f.client(t, "bob")
	ctx := context.Background()
	mustCreate(t, bob, "box")
	if _, err := alice.Send(ctx, "box", []byte("other body"), Key("k")); err != nil {
		t.Fatal(err)
	}
	s := alice.Sender("box")
	var pending []*Pending
	for i := range 200 {
		if i == 77 {
			pending = append(pending, s.Send(ctx, []byte("x"), Key("k")))
			continue
		}
		pending = append(pending, s.Send(ctx, []byte("x")))
	}
	var last uint64
	for i, p := range pending {
		sent, err := p.Wait(ctx)
		if i == 77 {
			if !isCode(err, CodeIDConflict) {
				t.Errorf("message 77: %v", err)
			}
			continue
		}
		if err != nil || sent.Seq <= last {
			t.Fatalf("message %d: %+v, %v", i, sent, err)
		}
		last = sent.Seq
	}
	if err := s.Flush(ctx); !isCode(err, CodeIDConflict) {
		t.Errorf("flush: %v", err)
	}
}

func TestSenderBound(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake(t, 1)
		alice, bob := f.client(t, "alice"), f.client(t, "bob")
		mustCreate(t, bob, "box")
		s := alice.Sender("box", BufferBytes(64<<10))
		if _, err := s.Send(t.Context(), nil).Wait(t.Context()); err != nil {
			t.Fatal(err)
		}
		f.onRequest(func(r *fakeRequest) fault { return fault{silent: r.t == wire.TypeSend, failure: nil} })
		body := make([]byte, 10<<10)
		ctx, stop := context.WithTimeout(t.Context(), time.Second)
		defer stop()
		began := time.Now()
		var waited []*Pending
		for range 10 {
			waited = append(waited, s.Send(ctx, body))
		}
		if d := time.Since(began); d != time.Second {
			t.Errorf("the sender blocked for %v", d)
		}
		for i, p := range waited {
			_, err := p.Wait(t.Context())
			e := asError(err)
			wantOutcome := Unknown
			if i >= 3 {
				wantOutcome = Definite // never left
			}
			if !errors.Is(err, context.DeadlineExceeded) || e.Outcome != wantOutcome || !e.Retryable {
				t.Errorf("message %d: %v, outcome %v", i, err, e.Outcome)
			}
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.bytes != 0 || len(s.room) != 0 {
			t.Errorf("%d bytes and %d waiting are left over", s.bytes, len(s.room))
		}
	})
}

func TestSendersAtOnce(t *testing.T) {
	f := newFake(t, 3)
	alice, bob := f.client(t, "alice"), f.client(t, "bob")
	ctx := context.Background()
	for i := range 4 {
		mustCreate(t, bob, fmt.Sprint("box", i))
	}
	const each = 200
	var all sync.WaitGroup
	for i := range 4 {
		s := alice.Sender(fmt.Sprint("box", i), InFlight(1+i), BufferBytes(20_000))
		for range 3 {
			all.Go(func() {
				for range each {
					s.Send(ctx, make([]byte, 300))
				}
				if err := s.Flush(ctx); err != nil {
					t.Error(err)
				}
			})
		}
		all.Go(func() {
			for range each {
				if _, err := alice.Send(ctx, fmt.Sprint("box", i), []byte("direct")); err != nil {
					t.Error(err)
				}
			}
		})
	}
	all.Wait()
	for i := range 4 {
		m, err := bob.ShowMailbox(ctx, fmt.Sprint("box", i))
		if err != nil || m.Ready != 4*each {
			t.Errorf("box %d has %d messages, %v", i, m.Ready, err)
		}
	}
}
