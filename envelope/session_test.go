package envelope

import (
	"bytes"
	"errors"
	"math"
	"sync"
	"testing"
	"time"
)

func TestSessionFacts(t *testing.T) {
	p := newParties(t, testNow, PolicySealed|PolicyPadded)
	s := p.open(t)
	init := s.Init()
	h, err := ParseSessionHeader(init)
	if err != nil {
		t.Fatal(err)
	}
	keyID, epoch, err := SessionKeyID(init)
	if err != nil {
		t.Fatal(err)
	}
	if keyID != p.key.ID() || s.KeyID() != keyID || epoch != 1 || s.Epoch() != 1 || h.Epoch != 1 || h.KeyID != keyID ||
		!h.NotAfter.Equal(s.NotAfter()) || h.Suite != SuiteXWing || s.Policy() != p.record.Policy {
		t.Errorf("header %+v", h)
	}
	r := p.mustAccept(t, init)
	if r.ID() != s.ID() || r.ID() != SessionID(p.mailbox, init) || r.Epoch() != 1 || !r.NotAfter().Equal(s.NotAfter()) ||
		!r.Created().Equal(testNow) || r.Sender().Key != p.sender.PublicKey() || r.Sender().Subject != "billing" {
		t.Errorf("%v accepted as %v", s, r)
	}
	if len(init) > MaxSessionInitBytes {
		t.Errorf("%d bytes", len(init))
	}
	init[0] ^= 0xff // the caller's copy is its own
	if bytes.Equal(init, s.Init()) {
		t.Error("Init hands out the session's own bytes")
	}
}

func TestSessionEndsByCount(t *testing.T) {
	p := newParties(t, testNow, PolicySealed)
	s := p.open(t)
	r := p.mustAccept(t, s.Init())
	if s.Remaining() != MaxSessionMessages {
		t.Errorf("%d remain", s.Remaining())
	}
	s.next.Store(MaxSessionMessages - 1)
	sealed, err := s.Seal(nil, testHeader, Message{Body: []byte("the last")})
	if err != nil {
		t.Fatal(err)
	}
	if o, err := r.Open(nil, testHeader, sealed, 0); err != nil || o.Sequence != MaxSessionMessages-1 {
		t.Errorf("%v, %v", o, err)
	}
	for range 3 {
		dst, err := s.Seal([]byte("prefix"), testHeader, Message{Body: []byte("x")})
		wantError(t, "one more", err, ErrSessionExhausted)
		if string(dst) != "prefix" || s.Remaining() != 0 {
			t.Errorf("dst %q, %d remain", dst, s.Remaining())
		}
	}
}

func TestSessionEndsByTime(t *testing.T) {
	p := newParties(t, testNow, PolicySealed)
	s := p.open(t)
	now := s.NotAfter().Add(-time.Nanosecond)
	s.now = func() time.Time { return now }
	if _, err := s.Seal(nil, testHeader, Message{}); err != nil {
		t.Error(err)
	}
	now = s.NotAfter()
	_, err := s.Seal(nil, testHeader, Message{})
	wantError(t, "at not-after", err, ErrSessionExhausted)
}

func TestSessionLifetime(t *testing.T) {
	p := newParties(t, testNow, PolicySealed)
	until := func(life time.Duration, now time.Time) (time.Time, error) {
		s, err := OpenSessionFor(p.sender, p.record, 1, now, life)
		if err != nil {
			return time.Time{}, err
		}
		if _, err := p.accept(s.Init()); err != nil {
			t.Errorf("a session of %v: %v", life, err)
		}
		return s.NotAfter(), nil
	}
	floor := func(t time.Time) time.Time { return t.Truncate(time.Minute) }
	for _, tt := range []struct {
		life time.Duration
		now  time.Time
		want time.Time
		err  error
	}{
		{DefaultSessionLifetime, testNow, floor(testNow.Add(time.Hour)), nil},
		{MaxSessionLifetime, testNow, floor(testNow.Add(MaxSessionLifetime)), nil},
		{MaxSessionLifetime + time.Second, testNow, time.Time{}, ErrTooLarge},
		{0, testNow, time.Time{}, ErrTooLarge},
		{-time.Hour, testNow, time.Time{}, ErrTooLarge},
		{time.Hour, p.record.NotAfter.Add(-5 * time.Minute), p.record.NotAfter, nil},
		{time.Hour, p.record.NotAfter, time.Time{}, ErrExpired},
		{time.Hour, p.record.NotAfter.Add(time.Hour), time.Time{}, ErrExpired},
		{time.Second, floor(testNow), time.Time{}, ErrExpired}, // shorter than the clear header can say
	} {
		got, err := until(tt.life, tt.now)
		if !got.Equal(tt.want) || !errors.Is(err, tt.err) {
			t.Errorf("%v from %v: until %v, %v, want %v, %v", tt.life, tt.now, got, err, tt.want, tt.err)
		}
	}
	_, err := OpenSession(p.sender, p.record, 2, testNow)
	wantError(t, "an epoch that is not there", err, ErrNoEpoch)
}

// Renewal falls into the last tenth of a session's life, all over it.
func TestRenewalIsSpread(t *testing.T) {
	end := testNow.Add(time.Hour)
	var parts [4]int
	for range 400 {
		at := renewalPoint(testNow, end)
		left := end.Sub(at)
		if left < 0 || left > 6*time.Minute {
			t.Fatalf("%v before the end", left)
		}
		parts[min(3, int(left/(90*time.Second)))]++
	}
	for i, n := range parts {
		if n < 40 { // 100 expected; under 40 has a chance below 10^-12
			t.Errorf("quarter %d of the last tenth: %d of 400", i, n)
		}
	}
	p := newParties(t, testNow, PolicySealed)
	s := p.open(t)
	if at := s.RenewAt(); at.After(s.NotAfter()) || at.Before(s.NotAfter().Add(-6*time.Minute)) {
		t.Errorf("renewal at %v, end at %v", at, s.NotAfter())
	}
}

// Policy of the record is kept, whatever the caller asks for.
func TestPolicy(t *testing.T) {
	for _, tt := range []struct {
		policy Policy
		form   Form
		ok     bool
	}{
		{PolicySealed, 0, true},
		{PolicySealed, FormSigned | FormPadded, true},
		{PolicySigned, FormPadded, false},
		{PolicySigned, FormSigned, true},
		{PolicyPadded, FormSigned, false},
		{PolicyPadded, FormPadded, true},
		{PolicySigned | PolicyPadded, FormSigned, false},
		{PolicySigned | PolicyPadded, FormSigned | FormPadded, true},
	} {
		s := newParties(t, testNow, tt.policy).open(t)
		_, err := s.Seal(nil, testHeader, Message{Form: tt.form})
		if (err == nil) != tt.ok || !tt.ok && !errors.Is(err, ErrPolicy) {
			t.Errorf("policy %d, form %d: %v", tt.policy, tt.form, err)
		}
	}
}

// Many goroutines seal and open at once: every message opens, and no sequence number comes twice.
func TestConcurrentUse(t *testing.T) {
	const workers, each = 8, 200
	p := newParties(t, testNow, PolicySealed)
	s := p.open(t)
	r := p.mustAccept(t, s.Init())
	sequences := make([][]uint64, workers)
	var wg sync.WaitGroup
	for w := range workers {
		wg.Go(func() {
			body := bytes.Repeat([]byte{byte(w)}, 10*w)
			var sealed, buffer []byte
			var o Opened
			for i := range each {
				f := FormPadded
				if i%50 == 0 {
					f |= FormSigned
				}
				header := append(bytes.Clone(testHeader), byte(w), byte(i))
				var err error
				if sealed, err = s.Seal(sealed[:0], header, Message{Form: f, Body: body}); err != nil {
					t.Error(err)
					return
				}
				if err := r.OpenInto(&o, buffer[:0], header, sealed, f); err != nil || !bytes.Equal(o.Body, body) {
					t.Errorf("worker %d, message %d: %v", w, i, err)
					return
				}
				sequences[w] = append(sequences[w], o.Sequence)
				p.sender.KeyedID(p.mailbox, "k")
				p.sender.StatementAt(testNow.Add(time.Duration(i) * 24 * time.Hour))
			}
		})
	}
	wg.Wait()
	seen := make(map[uint64]bool)
	for _, list := range sequences {
		for _, q := range list {
			if seen[q] || q >= workers*each {
				t.Fatalf("sequence %d twice or beyond", q)
			}
			seen[q] = true
		}
	}
	if len(seen) != workers*each || s.Remaining() != MaxSessionMessages-workers*each {
		t.Errorf("%d sequence numbers, %d remain", len(seen), s.Remaining())
	}
}

// The limit holds when many goroutines run into it together.
func TestConcurrentExhaustion(t *testing.T) {
	p := newParties(t, testNow, PolicySealed)
	s := p.open(t)
	const left = 10
	s.next.Store(MaxSessionMessages - left)
	var mu sync.Mutex
	sealed := 0
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range left {
				_, err := s.Seal(nil, testHeader, Message{})
				if err == nil {
					mu.Lock()
					sealed++
					mu.Unlock()
				} else if !errors.Is(err, ErrSessionExhausted) {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	if sealed != left {
		t.Errorf("%d sealed, want %d", sealed, left)
	}
}

// A session header with a time at the far end of what eight bytes hold is refused, not misread.
func TestExtremeTimes(t *testing.T) {
	p := newParties(t, testNow, PolicySealed)
	for _, created := range []time.Time{time.UnixMilli(math.MinInt64), time.UnixMilli(-1), time.UnixMilli(math.MaxInt64)} {
		f := newForgeInit(p, p.sender)
		f.created = created
		_, err := p.accept(f.seal(t))
		wantError(t, created.String(), err, ErrBadSeal)
	}
}
