package envelope

import (
	"bytes"
	"errors"
	"math"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/sealmq/sealmq/internal/codec"
)

func TestMessageRoundTrip(t *testing.T) {
	p := newParties(t, testNow, PolicySealed)
	s := p.open(t)
	r := p.mustAccept(t, s.Init())
	options := []Options{
		{},
		{ContentType: "text/plain"},
		{Sent: testNow.Truncate(time.Millisecond)},
		{Sent: time.UnixMilli(0).UTC()},
		{Correlation: []byte{0}, ReplyTo: "a"},
		{ContentType: strings.Repeat("c", MaxContentTypeBytes), Sent: testNow.Truncate(time.Millisecond),
			Correlation: bytes.Repeat([]byte{1}, MaxCorrelationBytes), ReplyTo: strings.Repeat("r", 255),
			TraceContext: bytes.Repeat([]byte{2}, MaxTraceContextBytes)},
	}
	sequence := uint64(0)
	for _, size := range []int{0, 1, 50, 63, 64, 127, 128, 1000, 16383, 16384, MaxBodyBytes - 1, MaxBodyBytes} {
		for _, o := range options {
			for _, f := range []Form{0, FormPadded, FormSigned, FormSigned | FormPadded} {
				if size > 1<<14 && (f == FormSigned || o.ReplyTo == "a") {
					continue
				}
				m := Message{Form: f, Body: bytes.Repeat([]byte{0xa5}, size), Options: o}
				sealed, err := s.Seal([]byte("before"), testHeader, m)
				if err != nil {
					t.Fatal(err)
				}
				if string(sealed[:6]) != "before" || len(sealed)-6 > m.MaxSealedLen() || len(sealed)-6 > MaxSealedBytes {
					t.Fatalf("%d bytes sealed to %d, at most %d expected", size, len(sealed)-6, m.MaxSealedLen())
				}
				if f&FormPadded != 0 && PaddedLen(len(sealed)-6-Overhead) != len(sealed)-6-Overhead {
					t.Errorf("%d bytes inside are no padded length", len(sealed)-6-Overhead)
				}
				got, err := r.Open([]byte("head"), testHeader, sealed[6:], f)
				if err != nil {
					t.Fatalf("body of %d, form %d: %v", size, f, err)
				}
				if !bytes.Equal(got.Body, m.Body) || !reflect.DeepEqual(got.Options, o) || got.Sequence != sequence ||
					got.Form != f {
					t.Fatalf("body of %d, form %d: came back different", size, f)
				}
				sequence++
			}
		}
	}
}

func TestOpenInPlace(t *testing.T) {
	p := newParties(t, testNow, PolicySealed)
	s := p.open(t)
	r := p.mustAccept(t, s.Init())
	body := bytes.Repeat([]byte("body"), 100)
	sealed, err := s.Seal(nil, testHeader, Message{Form: FormSigned | FormPadded, Body: body})
	if err != nil {
		t.Fatal(err)
	}
	o, err := r.Open(sealed[:0], testHeader, sealed, FormSigned|FormPadded)
	if err != nil || !bytes.Equal(o.Body, body) {
		t.Errorf("%v, %v", o, err)
	}
}

// Header, body and sealed bytes may lie in one buffer, as a client builds its frame.
func TestSealBehindItsHeader(t *testing.T) {
	p := newParties(t, testNow, PolicySealed)
	s := p.open(t)
	r := p.mustAccept(t, s.Init())
	for _, room := range []int{0, 4096} {
		frame := append(make([]byte, 0, len(testHeader)+room), testHeader...)
		frame, err := s.Seal(frame, frame, Message{Form: FormPadded, Body: []byte("x")})
		if err != nil {
			t.Fatal(err)
		}
		n := len(testHeader)
		if o, err := r.Open(nil, frame[:n], frame[n:], FormPadded); err != nil || string(o.Body) != "x" {
			t.Errorf("room %d: %v, %v", room, o, err)
		}
	}
}

// What was in the buffer before does not show in the padding.
func TestPaddingIsCleared(t *testing.T) {
	p := newParties(t, testNow, PolicySealed)
	s := p.open(t)
	r := p.mustAccept(t, s.Init())
	dirty := bytes.Repeat([]byte{0xee}, 4096)
	sealed, err := s.Seal(dirty[:0], testHeader, Message{Form: FormPadded, Body: make([]byte, 1025)})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.Open(nil, testHeader, sealed, FormPadded); err != nil {
		t.Error(err)
	}
}

func TestMessageLimits(t *testing.T) {
	p := newParties(t, testNow, PolicySealed)
	s := p.open(t)
	for what, tt := range map[string]struct {
		m    Message
		want error
	}{
		"body":                    {Message{Body: make([]byte, MaxBodyBytes+1)}, ErrTooLarge},
		"unknown form":            {Message{Form: 4}, ErrUnsupported},
		"content type":            {Message{Options: Options{ContentType: strings.Repeat("c", 256)}}, ErrTooLarge},
		"content type, control":   {Message{Options: Options{ContentType: "a\nb"}}, ErrMalformed},
		"correlation":             {Message{Options: Options{Correlation: make([]byte, 256)}}, ErrTooLarge},
		"reply-to":                {Message{Options: Options{ReplyTo: strings.Repeat("r", 256)}}, ErrName},
		"reply-to, space":         {Message{Options: Options{ReplyTo: "a b"}}, ErrName},
		"trace context":           {Message{Options: Options{TraceContext: make([]byte, 1025)}}, ErrTooLarge},
		"sent before 1970":        {Message{Options: Options{Sent: time.UnixMilli(-1)}}, ErrMalformed},
		"a body too long, signed": {Message{Form: FormSigned, Body: make([]byte, MaxBodyBytes+1)}, ErrTooLarge},
	} {
		before := s.Remaining()
		dst, err := s.Seal([]byte("dst"), testHeader, tt.m)
		wantError(t, what, err, tt.want)
		if string(dst) != "dst" || s.Remaining() != before {
			t.Errorf("%s: refused, yet dst is %q and a number was used", what, dst)
		}
	}
	r := p.mustAccept(t, s.Init())
	_, err := r.Open(nil, testHeader, make([]byte, MaxSealedBytes+1), 0)
	wantError(t, "sealed", err, ErrTooLarge)
	_, err = r.Open(nil, testHeader, make([]byte, 100), 8)
	wantError(t, "unknown form", err, ErrUnsupported)
}

func TestOptionsInside(t *testing.T) {
	p := newParties(t, testNow, PolicySealed)
	r := p.mustAccept(t, p.open(t).Init())
	option := func(tag byte, value []byte) []byte { return codec.AppendBytes([]byte{tag}, value) }
	inside := func(options ...[]byte) []byte {
		b := []byte{0, byte(len(options))}
		return append(append(b, bytes.Join(options, nil)...), 1, 'x')
	}
	known := option(3, []byte("c"))
	sent := codec.AppendU64(nil, 1000)
	var seventeen [][]byte
	for i := range 17 {
		seventeen = append(seventeen, option(byte(20+i), nil))
	}
	for what, tt := range map[string]struct {
		inside []byte
		want   error
	}{
		"known":                    {inside(known), nil},
		"unknown":                  {inside(known, option(99, []byte("?"))), nil},
		"unknown before":           {inside(option(0, nil), known), nil},
		"unknown, empty":           {inside(known, option(9, nil)), nil},
		"unknown, critical":        {inside(known, option(tagCritical|99, nil)), ErrUnsupported},
		"known tag, critical":      {inside(option(tagCritical|3, []byte("c"))), ErrUnsupported},
		"critical form of one":     {inside(known, option(tagCritical|3, []byte("c"))), ErrBadSeal},
		"twice":                    {inside(known, known), ErrBadSeal},
		"descending":               {inside(known, option(2, sent)), ErrBadSeal},
		"empty content type":       {inside(option(1, nil)), ErrBadSeal},
		"content type, control":    {inside(option(1, []byte("\x1b[2J"))), ErrBadSeal},
		"time of 7 bytes":          {inside(option(2, sent[:7])), ErrBadSeal},
		"time of 9 bytes":          {inside(option(2, append(sent[:8:8], 0))), ErrBadSeal},
		"time beyond 63 bits":      {inside(option(2, codec.AppendU64(nil, math.MaxInt64+1))), ErrBadSeal},
		"the last time":            {inside(option(2, codec.AppendU64(nil, math.MaxInt64))), nil},
		"correlation too long":     {inside(option(3, make([]byte, 256))), ErrBadSeal},
		"reply-to, control":        {inside(option(4, []byte("a\n"))), ErrBadSeal},
		"unknown, too long":        {inside(option(9, make([]byte, maxOptionBytes+1))), ErrBadSeal},
		"unknown, longest":         {inside(option(9, make([]byte, maxOptionBytes))), nil},
		"16":                       {inside(seventeen[:16]...), nil},
		"17":                       {inside(seventeen...), ErrBadSeal},
		"more promised than there": {append([]byte{0, 2}, known...), ErrBadSeal},
	} {
		o, err := r.Open(nil, testHeader, r.sealer.sealInside(testHeader, tt.inside), 0)
		if tt.want != nil {
			wantError(t, what, err, tt.want)
		} else if err != nil || string(o.Body) != "x" {
			t.Errorf("%s: %v, %v", what, o, err)
		}
	}
}

// The body limit holds for what others seal, too, with and without the limit of the whole.
func TestOversizedBodyInside(t *testing.T) {
	p := newParties(t, testNow, PolicySealed)
	r := p.mustAccept(t, p.open(t).Init())
	inside := codec.AppendBytes([]byte{0, 0}, make([]byte, MaxBodyBytes+1))
	_, err := r.Open(nil, testHeader, r.sealer.sealInside(testHeader, inside), 0)
	wantError(t, "a byte too many", err, ErrBadSeal)
}

// Padmé as its authors define it: the padded length keeps its low bits zero, grows by less than 12 %, is idempotent
// and never shrinks as the length grows.
func TestPaddedLen(t *testing.T) {
	last := 0
	sizes := make(map[int]bool)
	for n := range 1 << 17 {
		got := PaddedLen(n)
		if got < n || got < last || got < minPadded || PaddedLen(got) != got {
			t.Fatalf("PaddedLen(%d) = %d after %d", n, got, last)
		}
		if n >= minPadded && float64(got-n) > 0.12*float64(n) {
			t.Fatalf("PaddedLen(%d) = %d: more than 12 %%", n, got)
		}
		last = got
		sizes[got] = true
	}
	if len(sizes) > 250 {
		t.Errorf("%d sizes to tell apart below 128 KiB", len(sizes))
	}
}

func TestAllocations(t *testing.T) {
	if raceEnabled {
		t.Skip("pools keep nothing reliably under the race detector")
	}
	p := newParties(t, testNow, PolicySealed)
	s := p.open(t)
	s.now = time.Now
	s.notAfterUnix = math.MaxInt64
	r := p.mustAccept(t, s.Init())
	m := Message{Form: FormPadded, Body: make([]byte, 1024), Options: Options{Sent: testNow}}
	sealed, err := s.Seal(nil, testHeader, m)
	if err != nil {
		t.Fatal(err)
	}
	check := func(what string, most float64, f func() error) {
		if got := testing.AllocsPerRun(200, func() { err = errors.Join(err, f()) }); got > most {
			t.Errorf("%s: %v allocations, at most %v", what, got, most)
		}
	}
	dst, plain := make([]byte, 0, 2048), make([]byte, 0, 2048)
	var o Opened
	check("seal", 1, func() error { _, err := s.Seal(nil, testHeader, m); return err })
	check("seal into a buffer", 0, func() error { _, err := s.Seal(dst, testHeader, m); return err })
	check("open", 2, func() error { _, err := r.Open(nil, testHeader, sealed, FormPadded); return err })
	check("open into buffers", 0, func() error { return r.OpenInto(&o, plain, testHeader, sealed, FormPadded) })
	if err != nil {
		t.Error(err)
	}
}
