package atrest

import (
	"bytes"
	"errors"
	"io"
	"sync"
	"testing"
)

// frameFile is a frame-mode file and what a test needs to know of how it came about.
type frameFile struct {
	*FrameWriter
	file  *File
	disk  *buffer
	plain []byte
}

func newFrameFile(t testing.TB, log2 uint8) *frameFile {
	f, header := newTestFile(t, ModeFrame, log2)
	return startFrameFile(t, f, header)
}

func startFrameFile(t testing.TB, f *File, header []byte) *frameFile {
	disk := &buffer{}
	w, err := NewFrameWriter(f, header, disk)
	if err != nil {
		t.Fatal(err)
	}
	return &frameFile{FrameWriter: w, file: f, disk: disk}
}

// write appends n bytes and returns where in the file their first frame starts.
func (f *frameFile) write(t testing.TB, n int) int {
	t.Helper()
	at := int(f.FileSize())
	p := pattern(len(f.plain) + n)[len(f.plain):]
	if got, err := f.Write(p); got != n || err != nil {
		t.Fatalf("wrote %d of %d bytes: %v", got, n, err)
	}
	f.plain = append(f.plain, p...)
	return at
}

func (f *frameFile) synced(t testing.TB) {
	t.Helper()
	if err := f.Synced(); err != nil {
		t.Fatal(err)
	}
}

func (f *frameFile) finish(t testing.TB) int {
	t.Helper()
	f.synced(t)
	at := int(f.FileSize())
	if err := f.Finish(); err != nil {
		t.Fatal(err)
	}
	f.synced(t)
	return at
}

func (f *frameFile) scan(disk []byte) (*Frames, []byte, error) {
	s, err := ScanFrames(f.file, bytes.NewReader(disk), func() (int64, error) { return int64(len(disk)), nil })
	if err != nil {
		return nil, nil, err
	}
	plain, err := readAll(s, s.Size()+1)
	return s, plain, err
}

func TestFrameRoundTrip(t *testing.T) {
	for _, size := range []int{0, 1, 511, 512, 513, 1024, 3000} {
		f := newFrameFile(t, 9)
		for len(f.plain) < size {
			f.write(t, min(1+len(f.plain)*2, size-len(f.plain)))
		}
		if size == 3000 {
			f.write(t, size) // longer than a frame may be
		}
		s, plain, err := f.scan(f.disk.b)
		if err != nil || !bytes.Equal(plain, f.plain) || s.Final() || s.Torn() != 0 {
			t.Fatalf("%d bytes, not finished: %d, %v", size, len(plain), err)
		}
		if f.FileSize() != int64(len(f.disk.b)) || f.Size() != int64(len(f.plain)) {
			t.Fatalf("writer says %d, %d; file has %d, %d", f.FileSize(), f.Size(), len(f.disk.b), len(f.plain))
		}
		f.finish(t)
		s, plain, err = f.scan(f.disk.b)
		if err != nil || !bytes.Equal(plain, f.plain) || !s.Final() || s.Torn() != 0 {
			t.Fatalf("%d bytes, finished: %d, %v", size, len(plain), err)
		}
		for offset := 0; offset <= len(f.plain)+1; offset += 1 + offset/30 {
			for _, n := range []int{0, 1, 13, 600} {
				p := make([]byte, n)
				got, err := s.ReadAt(p, int64(offset))
				want := min(max(len(f.plain)-offset, 0), n)
				rest := f.plain[min(offset, len(f.plain)):]
				if got != want || (err == io.EOF) != (want < n) || !bytes.Equal(p[:got], rest[:got]) {
					t.Fatalf("%d bytes at %d of %d: %d, %v", n, offset, len(f.plain), got, err)
				}
			}
		}
	}
}

// Readers share a file, and what was scanned may rot before it is read; the race detector watches.
func TestFramesAreSafeForConcurrentUse(t *testing.T) {
	f := newFrameFile(t, 9)
	f.write(t, 4000)
	s, _, err := f.scan(f.disk.b)
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for g := range 4 {
		wg.Go(func() {
			p := make([]byte, 700)
			for i := range 300 {
				offset := (i*(31+g) + g*991) % (len(f.plain) - len(p))
				if _, err := s.ReadAt(p, int64(offset)); err != nil || !bytes.Equal(p, f.plain[offset:offset+len(p)]) {
					t.Errorf("at %d: %v", offset, err)
					return
				}
			}
		})
	}
	wg.Wait()
	f.disk.b[FrameStart+2000] ^= 1
	if got, err := readAll(s, s.Size()); !errors.Is(err, ErrDamaged) || !bytes.HasPrefix(f.plain, got) {
		t.Errorf("rotten after the scan: %d bytes, %v", len(got), err)
	}
}

func TestFinishWantsASyncedFile(t *testing.T) {
	f := newFrameFile(t, 9)
	f.write(t, 10)
	if err := f.Finish(); err == nil {
		t.Fatal("the final frame was written over unsynced bytes: a reader would believe all of them")
	}
}

// Of a finished file no byte may change and none may be missing. Either mark alone may be spoiled, by a power cut while
// it was overwritten, and that loses nothing.
func TestFinishedFileDamage(t *testing.T) {
	f := newFrameFile(t, 9)
	for _, n := range []int{1, 100, 512, 30} {
		f.write(t, n)
	}
	f.finish(t)
	for i := HeaderSize; i < len(f.disk.b); i += 1 + 50*(FrameStart-min(i, FrameStart))/FrameStart {
		_, plain, err := f.scan(flipped(f.disk.b, i))
		if i >= framePage && i < FrameStart {
			if err != nil || !bytes.Equal(plain, f.plain) {
				t.Fatalf("byte %d of a mark flipped: %v", i, err)
			}
		} else if !errors.Is(err, ErrDamaged) {
			t.Fatalf("byte %d flipped: %d bytes, %v", i, len(plain), err)
		}
	}
	if _, _, err := f.scan(flipped(flipped(f.disk.b, framePage), 2*framePage)); !errors.Is(err, ErrDamaged) {
		t.Fatalf("both marks spoiled: %v", err)
	}
	for n := 0; n < len(f.disk.b); n += 1 + 50*(FrameStart-min(n, FrameStart))/FrameStart {
		if _, plain, err := f.scan(f.disk.b[:n]); !errors.Is(err, ErrDamaged) {
			t.Fatalf("cut to %d: %d bytes, %v", n, len(plain), err)
		}
	}
	for _, more := range []int{1, 100, 5000} {
		if _, _, err := f.scan(append(bytes.Clone(f.disk.b), make([]byte, more)...)); !errors.Is(err, ErrDamaged) {
			t.Fatalf("%d bytes behind the final frame: %v", more, err)
		}
	}
}

// The verdicts of the tail rule, one situation a row.
func TestTailRule(t *testing.T) {
	var a, b, c int
	build := func(syncs string) *frameFile {
		f := newFrameFile(t, 9)
		for i, at := range []*int{&a, &b, &c} {
			*at = f.write(t, 100*(i+1))
			if syncs[i] == 's' {
				f.synced(t)
			}
		}
		return f
	}
	const damagedVerdict = -1
	flip := func(at *int) func([]byte) []byte { return func(disk []byte) []byte { return flipped(disk, *at+40) } }
	zeroFrom := func(at *int, n int) func([]byte) []byte {
		return func(disk []byte) []byte {
			disk = bytes.Clone(disk)
			clear(disk[*at:min(*at+n, len(disk))])
			return disk
		}
	}
	cut := func(at *int, n int) func([]byte) []byte { return func(disk []byte) []byte { return disk[:*at+n] } }
	zeros := func(disk []byte) []byte { return append(bytes.Clone(disk), make([]byte, 60<<10)...) }
	both := func(first, second func([]byte) []byte) func([]byte) []byte {
		return func(disk []byte) []byte { return second(first(disk)) }
	}
	spoilMark := func(number int) func([]byte) []byte {
		return func(disk []byte) []byte { return flipped(disk, (1+number)*framePage+7) }
	}
	tests := []struct {
		name  string
		syncs string // of the three frames of 100, 200 and 300 bytes: s synced, - not
		spoil func([]byte) []byte
		want  int // bytes that are left, or damagedVerdict
	}{
		{"nothing synced, all there", "---", cut(&c, 336), 600},
		{"nothing synced, first torn, later frames survived", "---", flip(&a), 0},
		{"nothing synced, middle lost, last survived", "---", zeroFrom(&b, 236), 100},
		{"nothing synced, cut to nothing", "---", cut(&a, 0), 0},
		{"first synced, the rest torn", "s--", zeroFrom(&b, 1000), 100},
		{"first synced, second torn, third survived the same flush", "s--", flip(&b), 100},
		{"first synced and rotten", "s--", flip(&a), damagedVerdict},
		{"first synced and zeroed", "s--", zeroFrom(&a, 136), damagedVerdict},
		{"first synced, cut inside it", "s--", cut(&a, 135), damagedVerdict},
		{"first synced, cut behind it", "s--", cut(&b, 0), 100},
		{"two synced, second rotten", "-s-", flip(&b), damagedVerdict},
		{"two synced, first rotten", "-s-", flip(&a), damagedVerdict},
		{"all synced, last rotten", "sss", flip(&c), damagedVerdict},
		{"all synced, last cut short by a byte", "sss", cut(&c, 335), damagedVerdict},
		{"all synced, last cut off at its border", "sss", cut(&c, 0), damagedVerdict},
		{"all synced, all cut off", "sss", cut(&a, 0), damagedVerdict},
		{"preallocated zeros behind the end", "sss", zeros, 600},
		{"zeros behind a torn end", "s--", both(cut(&c, 20), zeros), 300},
		// Marks alternate, so the first and the third sync are in mark 0.
		{"newest mark spoiled, all there", "sss", spoilMark(0), 600},
		{"older mark spoiled, last rotten", "sss", both(spoilMark(1), flip(&c)), damagedVerdict},
		{"newest mark spoiled, second rotten", "sss", both(spoilMark(0), flip(&b)), damagedVerdict},
		{"newest mark spoiled and the last rotten", "sss", both(spoilMark(0), flip(&c)), 300},
		{"no mark left", "sss", both(spoilMark(0), spoilMark(1)), damagedVerdict},
	}
	for _, tt := range tests {
		f := build(tt.syncs)
		_, plain, err := f.scan(tt.spoil(f.disk.b))
		if tt.want == damagedVerdict {
			if !errors.Is(err, ErrDamaged) {
				t.Errorf("%s: %d bytes, %v, want ErrDamaged", tt.name, len(plain), err)
			}
			continue
		}
		if err != nil || !bytes.Equal(plain, f.plain[:tt.want]) {
			t.Errorf("%s: %d bytes, %v, want %d bytes", tt.name, len(plain), err, tt.want)
		}
	}
}

func TestFramesSwapped(t *testing.T) {
	f := newFrameFile(t, 9)
	var at []int
	for range 4 {
		at = append(at, f.write(t, 50))
	}
	end := f.finish(t)
	const n = 50 + FrameOverhead
	spoil := map[string]func(disk []byte) []byte{
		"two swapped": func(disk []byte) []byte {
			copy(disk[at[1]:], f.disk.b[at[2]:at[2]+n])
			copy(disk[at[2]:], f.disk.b[at[1]:at[1]+n])
			return disk
		},
		"one doubled": func(disk []byte) []byte { copy(disk[at[2]:], f.disk.b[at[1]:at[1]+n]); return disk },
		"one removed": func(disk []byte) []byte { return append(disk[:at[1]], disk[at[2]:]...) },
		"final early": func(disk []byte) []byte { copy(disk[at[1]:], f.disk.b[end:]); return disk },
		"marks swapped": func(disk []byte) []byte {
			copy(disk[framePage:], f.disk.b[2*framePage:3*framePage])
			copy(disk[2*framePage:], f.disk.b[framePage:2*framePage])
			return disk
		},
	}
	for name, spoil := range spoil {
		if _, plain, err := f.scan(spoil(bytes.Clone(f.disk.b))); !errors.Is(err, ErrDamaged) {
			t.Errorf("%s: %d bytes, %v", name, len(plain), err)
		}
	}
}

// A checkpoint reads the manifest while it is written: a reader must see a true prefix, and never damage.
func TestFramesAreReadWhileWritten(t *testing.T) {
	f := newFrameFile(t, 9)
	for range 50 {
		f.write(t, 40)
		f.synced(t)
		behind := bytes.Clone(f.disk.b)
		f.write(t, 10)
		f.synced(t)
		// The marks are read first, then more is synced, then the size is asked for and the frames are read.
		r := &growing{now: bytes.NewReader(behind), next: bytes.NewReader(bytes.Clone(f.disk.b))}
		s, err := ScanFrames(f.file, r, func() (int64, error) { r.now = r.next; return int64(len(f.disk.b)), nil })
		if err != nil || s.Size() != f.Size() {
			t.Fatalf("read while written: %v", err)
		}
	}
}

type growing struct{ now, next *bytes.Reader }

func (g *growing) ReadAt(p []byte, offset int64) (int, error) { return g.now.ReadAt(p, offset) }

func FuzzScanFrames(f *testing.F) {
	good := newFrameFile(f, 9)
	good.write(f, 10)
	good.write(f, 500)
	good.synced(f)
	front := bytes.Clone(good.disk.b[:FrameStart])
	good.write(f, 7)
	good.finish(f)
	f.Add(good.disk.b[FrameStart:])
	f.Add(good.disk.b[FrameStart : len(good.disk.b)-50])
	f.Add(make([]byte, 200))
	f.Fuzz(func(t *testing.T, body []byte) {
		_, plain, err := good.scan(append(bytes.Clone(front), body...))
		if err == nil && (!bytes.HasPrefix(good.plain, plain) || len(plain) < 510) {
			t.Fatalf("%d bytes opened to %d, of which 510 were durable", len(body), len(plain))
		}
		if err != nil && !errors.Is(err, ErrDamaged) {
			t.Fatalf("refused with %v", err)
		}
	})
}
