package journal

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"
	"strconv"
	"strings"

	"github.com/sealmq/sealmq/internal/atrest"
)

const (
	segmentSuffix = ".seg"
	spareSuffix   = ".spare"
)

func segmentName(number uint64) string { return fmt.Sprintf("%016x%s", number, segmentSuffix) }
func spareName(number uint64) string   { return fmt.Sprintf("%016x%s", number, spareSuffix) }

// parseName returns the number in the name of a segment or a spare.
func parseName(name, suffix string) (number uint64, ok bool) {
	hex, ok := strings.CutSuffix(name, suffix)
	if !ok || len(hex) != 16 || strings.ToLower(hex) != hex {
		return 0, false
	}
	number, err := strconv.ParseUint(hex, 16, 64)
	return number, err == nil
}

// listing is what a journal's directory holds; other names in it are not the journal's.
type listing struct {
	segments []uint64 // rising
	spares   []uint64 // rising
	mark     bool
}

func list(o *Options) (listing, error) {
	var l listing
	names, err := o.FS.List(o.Dir)
	if errors.Is(err, fs.ErrNotExist) {
		return l, fmt.Errorf("%s: %w", o.Dir, ErrEmpty)
	}
	if err != nil {
		return l, fmt.Errorf("listing %s: %w", o.Dir, err)
	}
	for _, name := range names {
		if n, ok := parseName(name, segmentSuffix); ok {
			l.segments = append(l.segments, n)
		} else if n, ok := parseName(name, spareSuffix); ok {
			l.spares = append(l.spares, n)
		} else if name == markName {
			l.mark = true
		}
	}
	slices.Sort(l.segments)
	slices.Sort(l.spares)
	if len(l.segments) == 0 && !l.mark {
		return l, fmt.Errorf("%s: %w", o.Dir, ErrEmpty)
	}
	return l, nil
}

// segmentFile is an open segment. Any number of goroutines may read it.
type segmentFile struct {
	number uint64
	path   string
	file   File
	sealed *atrest.File
}

// openSegment opens a segment for reading and proves that its header belongs to this name, store and ring.
func openSegment(o *Options, number uint64) (*segmentFile, error) {
	path := o.path(segmentName(number))
	f, err := o.FS.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, &DamagedError{File: path, Reason: "the segment is missing"}
	}
	if err != nil {
		return nil, fmt.Errorf("opening a journal segment: %w", err)
	}
	s := &segmentFile{number: number, path: path, file: f}
	head := make([]byte, firstPlace)
	n, err := f.ReadAt(head, 0)
	switch {
	case n == len(head):
		s.sealed, err = openSealed(o, path, segmentName(number), head)
	case err == nil || errors.Is(err, io.EOF):
		err = &DamagedError{File: path, Offset: int64(n), Reason: "the segment's header is cut"}
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return s, nil
}

// openSealed checks a sealed file's header, head being the header and the zeros that pad it.
func openSealed(o *Options, path, name string, head []byte) (*atrest.File, error) {
	sealed, err := o.Ring.OpenFile(atrest.ModeJournal, o.Store, head[:atrest.HeaderSize], name)
	if errors.Is(err, atrest.ErrDamaged) {
		return nil, &DamagedError{File: path, Reason: err.Error()}
	}
	if err != nil {
		return nil, fmt.Errorf("opening %s: %w", path, err)
	}
	if sealed.ChunkBytes() != chunkBytes {
		return nil, fmt.Errorf("opening %s: chunks of %d bytes: %w", path, sealed.ChunkBytes(), ErrVersion)
	}
	if !zero(head[atrest.HeaderSize:]) {
		return nil, &DamagedError{File: path, Offset: atrest.HeaderSize, Reason: "bytes after the header are not zero"}
	}
	return sealed, nil
}

func zero(b []byte) bool {
	for _, v := range b {
		if v != 0 {
			return false
		}
	}
	return true
}

func (s *segmentFile) damaged(offset uint32, format string, args ...any) *DamagedError {
	return &DamagedError{File: s.path, Offset: int64(offset), Reason: fmt.Sprintf(format, args...)}
}

// blame makes damage of a chunk that should be there and is not, and of what an authentic chunk cannot hold. A failed
// read and a format that is not known here are something else.
func (s *segmentFile) blame(place uint32, err error) error {
	var failed *readError
	if errors.Is(err, ErrVersion) || errors.As(err, &failed) {
		return fmt.Errorf("%s at offset %d: %w", s.path, place, err)
	}
	return s.damaged(place, "%v", err)
}

// readError is a read that the file system failed.
type readError struct{ err error }

func (e *readError) Error() string { return e.err.Error() }
func (e *readError) Unwrap() error { return e.err }
