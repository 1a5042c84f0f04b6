package atrest

import (
	"bytes"
	"errors"
	"io"
	"sync"
	"testing"
)

// writeChunks returns a chunk-mode file of plaintext, written in pieces of at most piece bytes.
func writeChunks(t testing.TB, f *File, header, plaintext []byte, piece int) []byte {
	t.Helper()
	file := &buffer{b: bytes.Clone(header)}
	w := NewChunkWriter(f, file)
	for rest := plaintext; len(rest) > 0; {
		n, err := w.Write(rest[:min(piece, len(rest))])
		if err != nil {
			t.Fatal(err)
		}
		rest = rest[n:]
	}
	if err := w.Flush(); err != nil {
		t.Fatal(err)
	}
	if w.Size() != int64(len(plaintext)) {
		t.Fatalf("writer says %d bytes, %d were written", w.Size(), len(plaintext))
	}
	return file.b
}

func readChunks(f *File, file []byte) ([]byte, error) {
	r, err := NewChunkReader(f, bytes.NewReader(file), int64(len(file)))
	if err != nil {
		return nil, err
	}
	return readAll(r, r.Size()+1)
}

// borderSizes are the plaintext sizes around the chunk borders of a file with chunks of 2^9.
func borderSizes() []int {
	sizes := []int{0, 1, 2}
	for chunks := range 4 {
		border := 512 - Overhead - HeaderSize + chunks*(512-Overhead)
		sizes = append(sizes, border-1, border, border+1)
	}
	return sizes
}

func TestChunkLayout(t *testing.T) {
	for _, log2 := range []uint8{9, 10, 14, 22} {
		c := Chunks{log2: log2}
		sizes := map[int64]int64{}
		for _, around := range []int64{0, int64(c.Capacity(0)), int64(c.Capacity(0) + c.Capacity(1)), 1 << 40} {
			for plain := max(around-600, 0); plain < around+600; plain++ {
				size := c.FileSize(plain)
				sizes[size] = plain
				if got, err := c.PlainSize(size); err != nil || got != plain {
					t.Fatalf("2^%d: %d bytes make a file of %d, which is said to hold %d, %v", log2, plain, size, got, err)
				}
				index, within := c.Locate(plain)
				if within >= c.Capacity(index) || c.Offset(index)+int64(within)+Overhead+1 != c.FileSize(plain+1) {
					t.Fatalf("2^%d: byte %d is said to be at %d of chunk %d", log2, plain, within, index)
				}
			}
		}
		for size := range int64(4 << 9) {
			plain, err := c.PlainSize(size)
			if err == nil && c.FileSize(plain) != size {
				t.Fatalf("2^%d: a file of %d is said to hold %d bytes, which make one of %d", log2, size, plain, c.FileSize(plain))
			}
			if _, ok := sizes[size]; ok && err != nil {
				t.Fatalf("2^%d: a file of %d is refused: %v", log2, size, err)
			}
		}
	}
}

func TestChunkRoundTrip(t *testing.T) {
	f, header := newTestFile(t, ModeChunk, 9)
	for _, size := range borderSizes() {
		plaintext := pattern(size)
		for _, piece := range []int{1, 7, 483, 484, 485, 4096} {
			file := writeChunks(t, f, header, plaintext, piece)
			if want := (Chunks{log2: 9}).FileSize(int64(size)); int64(len(file)) != want {
				t.Fatalf("%d bytes in pieces of %d make a file of %d, not %d", size, piece, len(file), want)
			}
			if got, err := readChunks(f, file); err != nil || !bytes.Equal(got, plaintext) {
				t.Fatalf("%d bytes in pieces of %d: came back as %d, %v", size, piece, len(got), err)
			}
		}
	}
}

// A sync in the middle of a stream seals the tail as final, what follows seals it again in its place.
func TestChunkWriterGoesOnAfterFlush(t *testing.T) {
	f, header := newTestFile(t, ModeChunk, 9)
	plaintext := pattern(2000)
	for _, step := range []int{1, 100, 356, 484, 700} {
		file := &buffer{b: bytes.Clone(header)}
		w := NewChunkWriter(f, file)
		for at := 0; at < len(plaintext); at += step {
			part := plaintext[at:min(at+step, len(plaintext))]
			if _, err := w.Write(part); err != nil {
				t.Fatal(err)
			}
			if err := w.Flush(); err != nil {
				t.Fatal(err)
			}
			got, err := readChunks(f, file.b)
			if err != nil || !bytes.Equal(got, plaintext[:at+len(part)]) {
				t.Fatalf("steps of %d: after %d bytes: %d bytes, %v", step, at+len(part), len(got), err)
			}
		}
	}
}

func TestChunkReadAtAnywhere(t *testing.T) {
	f, header := newTestFile(t, ModeChunk, 9)
	for _, size := range borderSizes() {
		plaintext := pattern(size)
		file := writeChunks(t, f, header, plaintext, 1<<20)
		r, err := NewChunkReader(f, bytes.NewReader(file), int64(len(file)))
		if err != nil {
			t.Fatal(err)
		}
		for offset := 0; offset <= size+2; offset += 1 + offset/40 {
			for _, n := range []int{0, 1, 2, 355, 356, 357, 484, 900, 3000} {
				p := make([]byte, n)
				got, err := r.ReadAt(p, int64(offset))
				want := min(max(size-offset, 0), n)
				if got != want || (err == io.EOF) != (want < n) || err != nil && err != io.EOF {
					t.Fatalf("%d bytes at %d of %d: %d, %v", n, offset, size, got, err)
				}
				if want > 0 && !bytes.Equal(p[:want], plaintext[offset:offset+want]) {
					t.Fatalf("%d bytes at %d of %d: wrong bytes", n, offset, size)
				}
				start, length := r.FileRange(int64(offset), int64(n))
				if want > 0 && (start < HeaderSize || length < int64(want)+Overhead || start+length > int64(len(file))) {
					t.Fatalf("%d bytes at %d of %d lie at %d, %d", n, offset, size, start, length)
				}
			}
		}
		if _, err := r.ReadAt(make([]byte, 1), -1); err == nil {
			t.Error("read at a negative offset")
		}
	}
}

func TestChunkDamage(t *testing.T) {
	f, header := newTestFile(t, ModeChunk, 9)
	plaintext := pattern(484 + 484 + 484 + 100)
	file := writeChunks(t, f, header, plaintext, 1<<20)
	refused := func(what string, file []byte) {
		t.Helper()
		got, err := readChunks(f, file)
		if !errors.Is(err, ErrDamaged) || !bytes.HasPrefix(plaintext, got) {
			t.Fatalf("%s: %d bytes, %v", what, len(got), err)
		}
	}
	for i := HeaderSize; i < len(file); i++ {
		refused("flipped", flipped(file, i))
	}
	for n := range len(file) {
		refused("cut", file[:n])
	}
	for _, more := range [][]byte{{0}, make([]byte, Overhead), make([]byte, 512), file[3<<9:], file[1<<9 : 2<<9]} {
		refused("grown", append(bytes.Clone(file), more...))
	}
	chunk := func(b []byte, i int) []byte { return b[i<<9 : (i+1)<<9] }
	swapped := bytes.Clone(file)
	copy(chunk(swapped, 1), chunk(file, 2))
	copy(chunk(swapped, 2), chunk(file, 1))
	refused("swapped", swapped)
	doubled := bytes.Clone(file)
	copy(chunk(doubled, 2), chunk(file, 1))
	refused("doubled", doubled)
	other, otherHeader := newTestFile(t, ModeChunk, 9)
	foreign := bytes.Clone(file)
	copy(chunk(foreign, 1), chunk(writeChunks(t, other, otherHeader, plaintext, 1<<20), 1))
	refused("chunk of another file", foreign)

	// A file cut at a chunk border ends with a chunk that was not sealed as the last one.
	refused("cut at a border", file[:3<<9])
	// The final chunk of an earlier flush must not pass for a middle one, nor the other way round.
	short := writeChunks(t, f, header, plaintext[:484-HeaderSize+484], 1<<20)
	stale := append(bytes.Clone(short), file[2<<9:]...)
	refused("final chunk in the middle", stale)
}

// The reader is shared by all of Pebble's goroutines; the race detector watches.
func TestChunkReaderIsSafeForConcurrentUse(t *testing.T) {
	f, header := newTestFile(t, ModeChunk, 9)
	plaintext := pattern(20_000)
	file := writeChunks(t, f, header, plaintext, 1<<20)
	r, err := NewChunkReader(f, bytes.NewReader(file), int64(len(file)))
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for g := range 4 {
		wg.Go(func() {
			p := make([]byte, 1000)
			for i := range 500 {
				offset := (i*(37+g) + g*991) % (len(plaintext) - len(p))
				n := 1 + (i*71+g)%len(p)
				if _, err := r.ReadAt(p[:n], int64(offset)); err != nil || !bytes.Equal(p[:n], plaintext[offset:offset+n]) {
					t.Errorf("%d bytes at %d: %v", n, offset, err)
					return
				}
			}
		})
	}
	wg.Wait()
}

// Whatever a file holds, reading gives an error or a true prefix: here the chunks' key is known to the fuzzer's harness
// only, so nothing but the seeds may open.
func FuzzChunkFile(f *testing.F) {
	file, header := newTestFile(f, ModeChunk, 9)
	plaintext := pattern(1200)
	good := writeChunks(f, file, header, plaintext, 1<<20)
	f.Add(good[HeaderSize:])
	f.Add(good[HeaderSize : 1<<9])
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, body []byte) {
		got, err := readChunks(file, append(bytes.Clone(header), body...))
		if err == nil && !bytes.Equal(got, plaintext) {
			t.Fatalf("%d bytes opened to something else", len(body))
		}
		if err != nil && !errors.Is(err, ErrDamaged) {
			t.Fatalf("refused with %v", err)
		}
	})
}

func FuzzParseHeader(f *testing.F) {
	_, header := newTestFile(f, ModeChunk, 14)
	f.Add(header)
	_, header = newTestFile(f, ModeJournal, 15)
	f.Add(header)
	f.Fuzz(func(t *testing.T, b []byte) {
		h, err := ParseHeader(b)
		if err != nil {
			if !isRefusal(err) {
				t.Fatalf("refused with %v", err)
			}
			return
		}
		if !bytes.Equal(h.append(nil), b[:HeaderSize]) {
			t.Fatal("parses but encodes to other bytes")
		}
	})
}
