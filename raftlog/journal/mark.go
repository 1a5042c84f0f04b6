package journal

import (
	"errors"
	"fmt"
	"io"
	"syscall"

	"github.com/sealmq/sealmq/internal/atrest"
	"github.com/sealmq/sealmq/internal/codec"
)

// The mark proves that a journal has not lost its end: a journal that ends before its mark is damaged. The file is a
// sealed file's header padded to 4 KiB and two slots of 4 KiB that are written in turn, so that a torn write leaves the
// other one; of the valid ones that of the higher generation counts. A slot is sealed, 4,068 bytes under
// PAE("sealmq/journal-mark/v1", u8 slot number):
//
//	u8 version = 1 | u64 generation | u64 segment | u32 durable point in it
//	u8 names, each: bytes8 candidate, in the order that the groups name them first
//	uvarint groups, rising, each: u16 group | u64 term | u64 vote's term | u8 candidate: 0 none, else its number from 1
//	zeros to the end
type mark struct {
	generation uint64
	segment    uint64
	durable    uint32
	votes      map[uint16]ballot
}

// ballot is a group's term and vote.
type ballot struct {
	term, voteTerm uint64
	candidate      string
}

const (
	markName     = "mark"
	markTempName = "mark.new"
	markVersion  = 1
	markLabel    = "sealmq/journal-mark/v1"

	markSlotBytes  = 4096
	markPlainBytes = markSlotBytes - atrest.Overhead
	markFileBytes  = 3 * markSlotBytes
)

var errMark = errors.New("bad mark")

// encode returns the plaintext of a slot, or ErrTooLarge if the votes do not fit.
func (m *mark) encode() ([]byte, error) {
	dst := make([]byte, 0, markPlainBytes)
	dst = append(dst, markVersion)
	dst = codec.AppendU64(dst, m.generation)
	dst = codec.AppendU64(dst, m.segment)
	dst = codec.AppendU32(dst, m.durable)
	ids := sortedKeys(m.votes)
	names := make(map[string]byte, len(ids))
	var order []string
	for _, id := range ids {
		c := m.votes[id].candidate
		if _, ok := names[c]; !ok && c != "" {
			order = append(order, c)
			names[c] = byte(len(order))
		}
	}
	dst = append(dst, byte(len(order)))
	for _, c := range order {
		dst = codec.AppendBytes8(dst, []byte(c))
	}
	dst = codec.AppendUvarint(dst, uint64(len(ids)))
	for _, id := range ids {
		b := m.votes[id]
		dst = codec.AppendU16(dst, id)
		dst = codec.AppendU64(dst, b.term)
		dst = codec.AppendU64(dst, b.voteTerm)
		dst = append(dst, names[b.candidate])
	}
	if len(dst) > markPlainBytes || len(ids) > MaxGroups {
		return nil, fmt.Errorf("terms and votes of all groups: %w", ErrTooLarge)
	}
	return append(dst, make([]byte, markPlainBytes-len(dst))...), nil
}

func parseMark(b []byte) (*mark, error) {
	r := codec.NewReader(b)
	if v := r.U8(); r.Err() == nil && v != markVersion {
		return nil, fmt.Errorf("mark: %w %d", ErrVersion, v)
	}
	m := &mark{generation: r.U64(), segment: r.U64(), durable: r.U32(), votes: make(map[uint16]ballot)}
	names := make([]string, r.U8())
	for i := range names {
		names[i] = string(r.Bytes8())
	}
	lastID, named := -1, 0
	for range r.Count(MaxGroups, 19) {
		id := r.U16()
		v := ballot{term: r.U64(), voteTerm: r.U64()}
		n := int(r.U8())
		if int(id) <= lastID || n > len(names) || n > named+1 {
			r.Fail(fmt.Errorf("%w: groups or names", errMark))
			break
		}
		if n > 0 {
			named = max(named, n)
			v.candidate = names[n-1]
		}
		lastID = int(id)
		m.votes[id] = v
	}
	if named != len(names) || !unique(names) || !zero(r.Rest()) || len(b) != markPlainBytes {
		r.Fail(fmt.Errorf("%w: names or padding", errMark))
	}
	if err := r.Done(); err != nil {
		return nil, fmt.Errorf("mark: %w", err)
	}
	return m, nil
}

func unique(names []string) bool {
	seen := map[string]bool{"": true}
	for _, n := range names {
		if seen[n] {
			return false
		}
		seen[n] = true
	}
	return true
}

func markAAD(slot int) []byte { return codec.PAE(markLabel, []byte{byte(slot)}) }

// markFile is the open mark.
type markFile struct {
	file       File
	sealed     *atrest.File
	generation uint64
	closed     bool
}

// close closes the file unless that was done before.
func (f *markFile) close() error {
	if f == nil || f.closed {
		return nil
	}
	f.closed = true
	return f.file.Close()
}

// createMark replaces the mark file by one under a fresh key that says m in both slots, and returns it open. The old
// one, nil if there is none, is closed just before its name is taken. Until then a failure leaves it in use.
func createMark(o *Options, m mark, old *markFile) (*markFile, error) {
	sealed, header, err := o.Ring.NewFile(atrest.ModeJournal, o.Store, chunkLog2, markName)
	if err != nil {
		return nil, fmt.Errorf("the journal mark: %w", err)
	}
	buf := append(header, make([]byte, markFileBytes-len(header))...)
	for slot := range 2 {
		m.generation = uint64(2 + slot)
		plain, err := m.encode()
		if err != nil {
			return nil, err
		}
		at := (1 + slot) * markSlotBytes
		sealed.Seal(buf[at:at:at+markSlotBytes], plain, markAAD(slot))
	}
	if err := writeNew(o, markTempName, buf); err != nil {
		return nil, fmt.Errorf("the journal mark: %w", err)
	}
	if err := old.close(); err != nil {
		return nil, fmt.Errorf("closing the old journal mark: %w", err)
	}
	if err := rename(o, markTempName, markName); err != nil {
		return nil, fmt.Errorf("the journal mark: %w", err)
	}
	f, err := o.FS.OpenWrite(o.path(markName))
	if err != nil {
		return nil, fmt.Errorf("the journal mark: %w", err)
	}
	return &markFile{file: f, sealed: sealed, generation: m.generation}, nil
}

// renew writes m to a new mark file under a fresh key. Where there is no space for another file, m goes to the old one.
func (f *markFile) renew(o *Options, m mark) (*markFile, error) {
	fresh, err := createMark(o, m, f)
	if errors.Is(err, syscall.ENOSPC) && !f.closed {
		return f, f.write(m)
	}
	if err != nil {
		return f, err
	}
	return fresh, nil
}

// write seals m into the slot that does not hold the newest mark, and syncs it.
func (f *markFile) write(m mark) error {
	m.generation = f.generation + 1
	plain, err := m.encode()
	if err != nil {
		return err
	}
	slot := int(m.generation % 2)
	buf := f.sealed.Seal(make([]byte, 0, markSlotBytes), plain, markAAD(slot))
	if err := writeFull(f.file, buf, int64(1+slot)*markSlotBytes); err != nil {
		return fmt.Errorf("writing the journal mark: %w", err)
	}
	if err := f.file.SyncData(); err != nil {
		return fmt.Errorf("syncing the journal mark: %w", err)
	}
	f.generation = m.generation
	return nil
}

// openMark opens the mark for writing and returns what it says.
func openMark(o *Options) (*markFile, *mark, error) {
	path := o.path(markName)
	f, err := o.FS.OpenWrite(path)
	if err != nil {
		return nil, nil, fmt.Errorf("the journal mark: %w", err)
	}
	m, sealed, err := readMark(o, path, f)
	if err != nil {
		f.Close()
		return nil, nil, err
	}
	return &markFile{file: f, sealed: sealed, generation: m.generation}, m, nil
}

// readMark returns the newest valid mark. A file without any is damaged: one slot always survives a torn write.
func readMark(o *Options, path string, f File) (*mark, *atrest.File, error) {
	buf := make([]byte, markFileBytes)
	if n, err := f.ReadAt(buf, 0); n < len(buf) {
		if err != nil && !errors.Is(err, io.EOF) {
			return nil, nil, fmt.Errorf("reading the journal mark: %w", err)
		}
		return nil, nil, &DamagedError{File: path, Offset: int64(n), Reason: "the mark file is cut"}
	}
	sealed, err := openSealed(o, path, markName, buf[:markSlotBytes])
	if err != nil {
		return nil, nil, err
	}
	var newest *mark
	for slot := range 2 {
		at := (1 + slot) * markSlotBytes
		plain, err := sealed.Open(nil, buf[at:at+markSlotBytes], markAAD(slot))
		if err != nil {
			continue
		}
		m, err := parseMark(plain)
		if errors.Is(err, ErrVersion) {
			return nil, nil, err
		}
		if err != nil || m.generation%2 != uint64(slot) {
			return nil, nil, &DamagedError{File: path, Offset: int64(at), Reason: "a mark that authenticates does not parse"}
		}
		if newest == nil || m.generation > newest.generation {
			newest = m
		}
	}
	if newest == nil {
		return nil, nil, &DamagedError{File: path, Offset: markSlotBytes, Reason: "neither slot of the mark is valid"}
	}
	return newest, sealed, nil
}
