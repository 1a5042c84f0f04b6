package wire

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"os"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/sealmq/sealmq/internal/testkit"
)

// frames returns a stream of a frame of every type and what is in it.
func frames(g random) (stream []byte, want [][]byte) {
	for i, typ := range Types() {
		start := len(stream)
		stream = AppendFrame(stream, uint32(i), g.message(typ))
		want = append(want, stream[start:])
	}
	return stream, want
}

// readAll reads frames until an error and returns them as they were on the wire.
func readAll(f *FrameReader) (got [][]byte, err error) {
	for {
		typ, request, payload, err := f.Next()
		if err != nil {
			return got, err
		}
		frame := binary.BigEndian.AppendUint32(nil, uint32(frameFixedBytes+len(payload)))
		frame = binary.BigEndian.AppendUint32(append(frame, byte(typ)), request)
		got = append(got, append(frame, payload...))
	}
}

func TestFrameReaderHowBytesArrive(t *testing.T) {
	stream, want := frames(seeded(1))
	big := AppendFrame(nil, 7, batch(300, 1024))
	stream, want = append(stream, big...), append(want, big)
	stream = append(stream, stream...)
	want = append(want, want...)
	sources := map[string]io.Reader{
		"all in one packet":    bytes.NewReader(stream),
		"one byte at a time":   iotest.OneByteReader(bytes.NewReader(stream)),
		"half of what is read": iotest.HalfReader(bytes.NewReader(stream)),
		"data with the error":  iotest.DataErrReader(bytes.NewReader(stream)),
	}
	for name, src := range sources {
		f := NewFrameReader(src)
		f.SetLimit(FrameBytes)
		got, err := readAll(f)
		if err != io.EOF {
			t.Errorf("%s: %v, want EOF", name, err)
		}
		if len(got) != len(want) {
			t.Fatalf("%s: %d frames, want %d", name, len(got), len(want))
		}
		for i := range want {
			if !bytes.Equal(got[i], want[i]) {
				t.Errorf("%s: frame %d is different", name, i)
			}
		}
	}
}

func TestFrameReaderCutAtEveryByte(t *testing.T) {
	stream, want := frames(seeded(2))
	ends := map[int]int{0: 0}
	for i, at := 0, 0; i < len(want); i++ {
		at += len(want[i])
		ends[at] = i + 1
	}
	complete := 0
	for cut := range len(stream) {
		if n, ok := ends[cut]; ok {
			complete = n
		}
		f := NewFrameReader(bytes.NewReader(stream[:cut]))
		f.SetLimit(FrameBytes)
		got, err := readAll(f)
		wantErr := io.ErrUnexpectedEOF
		if _, ok := ends[cut]; ok {
			wantErr = io.EOF
		}
		if !errors.Is(err, wantErr) || len(got) != complete {
			t.Fatalf("cut at %d: %d frames and %v, want %d and %v", cut, len(got), err, complete, wantErr)
		}
	}
}

// announce returns the first bytes of a frame of this length.
func announce(size uint32) []byte {
	return append(binary.BigEndian.AppendUint32(nil, size), byte(TypePing), 0, 0, 0, 1)
}

func TestFrameLimits(t *testing.T) {
	tests := []struct {
		name  string
		limit int // 0: not set
		size  uint32
		want  error
	}{
		{"length 0", 0, 0, ErrBadFrame},
		{"no room for the request id", 0, 4, ErrBadFrame},
		{"empty payload", 0, 5, nil},
		{"before proof: most", 0, PreAuthFrameBytes, nil},
		{"before proof: one more", 0, PreAuthFrameBytes + 1, ErrFrameTooLarge},
		{"before proof: what is good later", 0, FrameBytes, ErrFrameTooLarge},
		{"most", FrameBytes, FrameBytes, nil},
		{"one more", FrameBytes, FrameBytes + 1, ErrFrameTooLarge},
		{"limit above the highest", 1 << 30, FrameBytes + 1, ErrFrameTooLarge},
		{"announced lower", 20_000, 20_000, nil},
		{"announced lower, one more", 20_000, 20_001, ErrFrameTooLarge},
		{"2^31", FrameBytes, 1 << 31, ErrFrameTooLarge},
		{"2^32-1", FrameBytes, 1<<32 - 1, ErrFrameTooLarge},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			body := io.MultiReader(bytes.NewReader(announce(tt.size)), io.LimitReader(zeros{}, int64(tt.size)-5))
			f := NewFrameReader(body)
			if tt.limit != 0 {
				f.SetLimit(tt.limit)
			}
			_, _, payload, err := f.Next()
			if tt.want == nil {
				if err != nil || len(payload) != int(tt.size)-5 {
					t.Fatalf("%d bytes, %v", len(payload), err)
				}
				return
			}
			var frame *FrameError
			if !errors.Is(err, tt.want) || !errors.As(err, &frame) || frame.SizeBytes != tt.size {
				t.Fatalf("%v, want %v", err, tt.want)
			}
			if code, closes := CodeOf(err); !closes || code == CodeOK {
				t.Errorf("code %v, closes %v", code, closes)
			}
			if _, _, _, again := f.Next(); again != err {
				t.Errorf("after the refusal: %v, want the same error", again)
			}
		})
	}
}

type zeros struct{}

func (zeros) Read(b []byte) (int, error) { clear(b); return len(b), nil }

// The buffer follows the bytes that have arrived, not what was announced; and an idle connection keeps the small one.
func TestFrameReaderMemoryFollowsBytes(t *testing.T) {
	for _, arrived := range []int{0, 100, 10_000, 40_000, 300_000} {
		f := NewFrameReader(io.LimitReader(io.MultiReader(bytes.NewReader(announce(FrameBytes)), zeros{}), int64(9+arrived)))
		f.SetLimit(FrameBytes)
		if _, _, _, err := f.Next(); err != io.ErrUnexpectedEOF {
			t.Fatal(err)
		}
		if most := max(bufferBytes[0], 4*arrived); len(f.buf) > most {
			t.Errorf("%d bytes arrived: buffer of %d, want at most %d", arrived, len(f.buf), most)
		}
	}
	small := AppendFrame(nil, 1, &Ping{})
	f := NewFrameReader(io.MultiReader(bytes.NewReader(announce(FrameBytes)), io.LimitReader(zeros{}, FrameBytes-5),
		bytes.NewReader(small), bytes.NewReader(small)))
	f.SetLimit(FrameBytes)
	for range 2 {
		if _, _, _, err := f.Next(); err != nil {
			t.Fatal(err)
		}
	}
	if len(f.buf) != smallBufferBytes || f.large != nil {
		t.Errorf("idle with a buffer of %d bytes", len(f.buf))
	}
}

func TestRefusedFrameTakesNoMemory(t *testing.T) {
	header := announce(FrameBytes + 1)
	took := testkit.AllocatedBytes(func() {
		f := NewFrameReader(bytes.NewReader(header))
		f.SetLimit(FrameBytes)
		if _, _, _, err := f.Next(); !errors.Is(err, ErrFrameTooLarge) || len(f.buf) != smallBufferBytes {
			t.Errorf("%v, buffer of %d", err, len(f.buf))
		}
	})
	if took > 2*smallBufferBytes { // one is the reader's own
		t.Errorf("refusing took %d bytes", took)
	}
}

func TestForeignProtocolsAreNamed(t *testing.T) {
	tests := map[string]string{
		"GET / HTTP/1.1\r\nHost: x\r\n\r\n":  "HTTP",
		"POST /v1/send HTTP/1.1\r\n":         "HTTP",
		"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n":   "HTTP",
		"HTTP/1.1 400 Bad Request\r\n":       "HTTP",
		"\x16\x03\x01\x02\x00\x01\x00\x01":   "TLS",
		"\x15\x03\x03\x00\x02\x02\x46":       "TLS",
		"SSH-2.0-OpenSSH_9.9\r\n":            "SSH",
		"PROXY TCP4 1.2.3.4 5.6.7.8 1 2\r\n": "the PROXY protocol",
		"\r\n\r\n\x00\r\nQUIT\n":             "the PROXY protocol",
		"\xff\xff\xff\xff\x00\x00\x00\x00":   "",
	}
	for in, want := range tests {
		_, _, _, err := NewFrameReader(strings.NewReader(in)).Next()
		var frame *FrameError
		if !errors.As(err, &frame) || !errors.Is(err, ErrFrameTooLarge) || frame.Speaks != want {
			t.Errorf("%q: %v, want a refusal that names %q", in, err, want)
			continue
		}
		if want != "" && !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v does not name %s", in, err, want)
		}
	}
}

// steps is a source that returns one of its results after another.
type steps []struct {
	data string
	err  error
}

func (s *steps) Read(b []byte) (int, error) {
	if len(*s) == 0 {
		return 0, nil
	}
	step := (*s)[0]
	*s = (*s)[1:]
	return copy(b, step.data), step.err
}

func TestFrameReaderGoesOnAfterTimeout(t *testing.T) {
	frame := string(AppendFrame(nil, 9, &Ping{}))
	late := os.ErrDeadlineExceeded
	f := NewFrameReader(&steps{{frame[:3], nil}, {"", late}, {frame[3:8], late}, {frame[8:], nil}})
	if _, _, _, err := f.Next(); err != late {
		t.Fatalf("%v, want the deadline", err)
	}
	typ, request, _, err := f.Next()
	if err != nil || typ != TypePing || request != 9 {
		t.Fatalf("%v %d, %v", typ, request, err)
	}
	if _, _, _, err := f.Next(); err != io.ErrNoProgress {
		t.Fatalf("a source without bytes: %v", err)
	}
}
