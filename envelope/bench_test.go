package envelope

import (
	"fmt"
	"testing"
	"time"
)

func BenchmarkSeal(b *testing.B) {
	for _, size := range []int{128, 1 << 10, 32 << 10, 1 << 20} {
		for name, form := range map[string]Form{"plain": 0, "padded": FormPadded, "signed": FormSigned | FormPadded} {
			b.Run(fmt.Sprintf("%s/%d", name, size), func(b *testing.B) {
				p := newParties(b, time.Now(), PolicySealed)
				s := p.open(b)
				s.now = time.Now
				header, body := make([]byte, 44), make([]byte, size)
				var dst []byte
				b.SetBytes(int64(size))
				b.ReportAllocs()
				for b.Loop() {
					s.next.Store(0)
					var err error
					dst, err = s.Seal(dst[:0], header, Message{Form: form, Body: body})
					if err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}

// BenchmarkSeal1KiB is the common message, padded, into a new slice.
func BenchmarkSeal1KiB(b *testing.B) {
	p := newParties(b, time.Now(), PolicySealed)
	s := p.open(b)
	s.now = time.Now
	header := make([]byte, 44)
	msg := Message{Form: FormPadded, Body: make([]byte, 1024), Options: Options{Sent: p.now}}
	b.SetBytes(1024)
	b.ReportAllocs()
	for b.Loop() {
		s.next.Store(0)
		if _, err := s.Seal(nil, header, msg); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkOpen(b *testing.B) {
	for _, size := range []int{128, 1 << 10, 32 << 10, 1 << 20} {
		for name, form := range map[string]Form{"padded": FormPadded, "signed": FormSigned | FormPadded} {
			b.Run(fmt.Sprintf("%s/%d", name, size), func(b *testing.B) {
				p := newParties(b, time.Now(), PolicySealed)
				s := p.open(b)
				r, err := p.accept(s.Init())
				if err != nil {
					b.Fatal(err)
				}
				header := make([]byte, 44)
				sealed, err := s.Seal(nil, header, Message{Form: form, Body: make([]byte, size), Options: Options{Sent: p.now}})
				if err != nil {
					b.Fatal(err)
				}
				b.SetBytes(int64(size))
				b.ReportAllocs()
				for b.Loop() {
					if _, err := r.Open(nil, header, sealed, form); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}

func BenchmarkOpenSession(b *testing.B) {
	p := newParties(b, time.Now(), PolicySealed)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := OpenSession(p.sender, p.record, 1, p.now); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkAcceptSession(b *testing.B) {
	p := newParties(b, time.Now(), PolicySealed)
	init := p.open(b).Init()
	b.ReportAllocs()
	for b.Loop() {
		if _, err := p.accept(init); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkVerifyKeyRecord(b *testing.B) {
	p := newParties(b, time.Now(), PolicySealed)
	raw := p.record.Bytes()
	b.ReportAllocs()
	for b.Loop() {
		rec, err := ParseKeyRecord(raw)
		if err != nil {
			b.Fatal(err)
		}
		if err := rec.Verify(p.now, testMailboxName); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkGenerateEpochKey(b *testing.B) {
	now := time.Now()
	for b.Loop() {
		if _, err := GenerateEpochKey(1, now, now.Add(time.Hour)); err != nil {
			b.Fatal(err)
		}
	}
}
