package main

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
)

// A scanner looks for many byte strings in many files at once: raw, in hexadecimal and in base64 at every alignment.
// Every string is found by eight of its bytes, the most varied ones. One pass hashes the eight bytes at every offset
// into a small bitmap that stays in the processor's cache, so that nearly all of a file costs one lookup a byte.
type scanner struct {
	patterns []pattern
	anchors  map[uint64][]int // eight bytes -> patterns
	filter   []uint64         // bitmap over the hashes of the anchors
	shift    uint
	longest  int
	window   int // bytes read at a time
}

type pattern struct {
	what   string // what it was planted as, for the report
	bytes  []byte
	anchor int
}

// anchorBytes is what a search looks up, and the length of the shortest string that can be searched for.
const anchorBytes = 8

// A scanHit is a planted string that was found where only sealed bytes should be.
type scanHit struct {
	file   string
	offset int64
	what   string
}

func newScanner() *scanner { return &scanner{anchors: map[uint64][]int{}, window: 4 << 20} }

// plant adds text in every form that a careless layer would write it in. It must come before the first scan.
func (s *scanner) plant(what string, text []byte) {
	s.add(what, text)
	s.add(what+" in hexadecimal", []byte(hex.EncodeToString(text)))
	s.add(what+" in hexadecimal", bytes.ToUpper([]byte(hex.EncodeToString(text))))
	for align := range 3 {
		s.add(what+" in base64", base64Within(base64.RawStdEncoding, text, align))
		s.add(what+" in base64", base64Within(base64.RawURLEncoding, text, align))
	}
}

// base64Within is what stands in a base64 text wherever data occurs align bytes behind a multiple of three: the
// characters at both ends depend on the neighbours and are left out.
func base64Within(enc *base64.Encoding, data []byte, align int) []byte {
	text := enc.EncodeToString(append(make([]byte, align), data...))
	if align > 0 {
		text = text[align+1:]
	}
	if (align+len(data))%3 != 0 {
		text = text[:len(text)-1]
	}
	return []byte(text)
}

func (s *scanner) add(what string, text []byte) {
	if len(text) < anchorBytes {
		return
	}
	p := pattern{what: what, bytes: text, anchor: mostVaried(text)}
	anchor := binary.LittleEndian.Uint64(text[p.anchor:])
	for _, other := range s.anchors[anchor] {
		if bytes.Equal(s.patterns[other].bytes, text) {
			return // the two base64 alphabets mostly agree, and so do equal files
		}
	}
	s.anchors[anchor] = append(s.anchors[anchor], len(s.patterns))
	s.patterns = append(s.patterns, p)
	s.longest = max(s.longest, len(text))
	s.filter = nil
}

// mostVaried is the offset of the eight bytes with the most different values: preallocated zeros must not look like a
// hit eight bytes long at every offset.
func mostVaried(text []byte) int {
	best, at := 0, 0
	for i := 0; i+anchorBytes <= len(text); i++ {
		if n := distinctBytes(text[i : i+anchorBytes]); n > best {
			best, at = n, i
		}
	}
	return at
}

func distinctBytes(b []byte) int {
	var seen [256]bool
	n := 0
	for _, c := range b {
		if !seen[c] {
			seen[c] = true
			n++
		}
	}
	return n
}

const hashFactor = 0x9E3779B97F4A7C15

// prepare builds the bitmap: 32 to 64 bits for each anchor.
func (s *scanner) prepare() {
	bits := uint(12)
	for 1<<bits < 32*len(s.anchors) {
		bits++
	}
	s.shift = 64 - bits
	s.filter = make([]uint64, 1<<bits/64)
	for anchor := range s.anchors {
		h := anchor * hashFactor >> s.shift
		s.filter[h/64] |= 1 << (h % 64)
	}
}

// trees scans every regular file below the given directories and files, names of files included.
func (s *scanner) trees(roots ...string) (hits []scanHit, scanned int64, err error) {
	var files []string
	for _, root := range roots {
		before := len(files)
		walk := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
			if err == nil && d.Type().IsRegular() {
				files = append(files, path)
			}
			return err
		})
		if walk != nil && !errors.Is(walk, fs.ErrNotExist) {
			return nil, 0, fmt.Errorf("scanning %s: %w", root, walk)
		}
		hits = append(hits, s.names(root, files[before:])...)
	}
	s.prepare()
	var mu sync.Mutex
	var wait sync.WaitGroup
	next := make(chan string)
	for range runtime.GOMAXPROCS(0) {
		wait.Go(func() {
			for file := range next {
				h, n, e := s.file(file)
				mu.Lock()
				hits, scanned, err = append(hits, h...), scanned+n, errors.Join(err, e)
				mu.Unlock()
			}
		})
	}
	for _, f := range files {
		next <- f
	}
	close(next)
	wait.Wait()
	return hits, scanned, err
}

// names looks for planted strings in the names of files.
func (s *scanner) names(root string, files []string) (hits []scanHit) {
	for _, f := range files {
		rel, err := filepath.Rel(root, f)
		if err != nil {
			continue
		}
		for _, p := range s.patterns {
			if strings.Contains(rel, string(p.bytes)) {
				hits = append(hits, scanHit{file: f, what: p.what + " as a file name"})
			}
		}
	}
	return hits
}

// file scans one file in windows that overlap by more than the longest pattern.
func (s *scanner) file(path string) (hits []scanHit, scanned int64, err error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, 0, err
	}
	defer f.Close()
	buf := make([]byte, 0, s.window+2*s.longest)
	var start int64 // of buf in the file
	done := 0       // offset in buf below which every anchor has been looked at
	for {
		n, err := io.ReadFull(f, buf[len(buf):min(cap(buf), len(buf)+s.window)])
		buf = buf[:len(buf)+n]
		last := errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF)
		if err != nil && !last {
			return hits, start, fmt.Errorf("scanning %s: %w", path, err)
		}
		end := len(buf) // anchors below it have all of their pattern in buf
		if !last {
			end = max(done, len(buf)-s.longest)
		}
		for _, h := range s.look(buf, done, end) {
			h.file, h.offset = path, h.offset+start
			hits = append(hits, h)
		}
		if last {
			return hits, start + int64(len(buf)), nil
		}
		keep := max(0, end-s.longest)
		done = end - keep
		start += int64(keep)
		buf = buf[:copy(buf, buf[keep:])]
	}
}

// look compares at the anchors that begin in buf[from:to].
func (s *scanner) look(buf []byte, from, to int) (hits []scanHit) {
	filter, shift := s.filter, s.shift
	noZeros := s.anchors[0] == nil
	for i := from; i < to && i+anchorBytes <= len(buf); i++ {
		anchor := binary.LittleEndian.Uint64(buf[i:])
		if anchor == 0 && noZeros {
			// Preallocated space is most of a disk: eight zeros before eight zeros are nine anchors of zeros.
			for i+2*anchorBytes <= len(buf) && binary.LittleEndian.Uint64(buf[i+anchorBytes:]) == 0 {
				i += anchorBytes
			}
			continue
		}
		h := anchor * hashFactor >> shift
		if filter[h/64]&(1<<(h%64)) == 0 {
			continue
		}
		for _, n := range s.anchors[anchor] {
			p := &s.patterns[n]
			at := i - p.anchor
			if at >= 0 && at+len(p.bytes) <= len(buf) && bytes.Equal(buf[at:at+len(p.bytes)], p.bytes) {
				hits = append(hits, scanHit{offset: int64(at), what: p.what})
			}
		}
	}
	return hits
}
