package storage

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/sealmq/sealmq/internal/codec"
)

var (
	// ErrNotFound means that there is no such row.
	ErrNotFound = errors.New("no such row")
	// ErrDamaged means that a row does not parse.
	ErrDamaged = errors.New("a row does not parse")
	// ErrMissing means that there is no store where one should be.
	ErrMissing = errors.New("no store here")
	// ErrFormat means that a store is not one of ours, or of another kind or a newer format than expected.
	ErrFormat = errors.New("store has an unknown format")
)

// Format is the version of the keyspace and of all rows together. A store of another is refused.
const Format = 3

// Stores are the open stores of a node.
type Stores struct {
	dbs    [kinds]*pebble.DB
	shared shared
	seed   *keyedSeed

	// keysBehind is where keys/ stands for groups whose applied row in it is behind, because nothing was written with it.
	keysMu     sync.Mutex
	keysBehind map[uint16]Applied
}

// Create makes the three stores, empty. It refuses a directory that holds one already.
func Create(o Options) error {
	for _, k := range Kinds() {
		if err := create(o, k); err != nil {
			return fmt.Errorf("creating store %s: %w", k, err)
		}
	}
	return nil
}

func create(o Options, k Kind) (err error) {
	fs := o.FS(k)
	if err := fs.MkdirAll(o.path(k), 0o700); err != nil {
		return err
	}
	if err := errors.Join(syncDir(fs, o.Dir), syncDir(fs, fs.PathDir(o.Dir))); err != nil {
		return err
	}
	p := o.pebble(k, shared{log: newLogger(o)})
	p.ErrorIfExists = true
	db, err := pebble.Open(o.path(k), p)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	if err := db.Set(formatKey(), []byte{Format, byte(k)}, pebble.NoSync); err != nil {
		return err
	}
	if k == State {
		if err := db.Set(seedKey(), newKeyedSeed(), pebble.NoSync); err != nil {
			return err
		}
	}
	return db.Flush()
}

// syncDir makes the names in a directory durable.
func syncDir(fs vfs.FS, path string) error {
	dir, err := fs.OpenDir(path)
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}

func formatKey() []byte { return newKey(nil, formatGroup, tableFormat) }
func seedKey() []byte   { return newKey(nil, formatGroup, tableSeed) }

// Open opens the three stores. It makes nothing: a missing one is an error, found before any is touched.
func Open(o Options) (_ *Stores, err error) {
	for _, k := range Kinds() {
		if err := peek(o, k); err != nil {
			return nil, fmt.Errorf("opening store %s: %w", k, err)
		}
	}
	s := &Stores{shared: shared{log: newLogger(o)}, keysBehind: map[uint16]Applied{}}
	s.shared.cache = pebble.NewCache(o.cacheBytes())
	s.shared.files = pebble.NewFileCache(1, fileCacheFiles)
	defer func() {
		if err != nil {
			err = errors.Join(err, s.Close())
		}
	}()
	for _, k := range Kinds() {
		p := o.pebble(k, s.shared)
		p.ErrorIfNotExists = true
		if s.dbs[k], err = pebble.Open(o.path(k), p); err != nil {
			return nil, fmt.Errorf("opening store %s: %w", k, err)
		}
		if err := checkFormat(s.dbs[k], k); err != nil {
			return nil, fmt.Errorf("opening store %s: %w", k, err)
		}
	}
	if err := s.readSeed(); err != nil {
		return nil, err
	}
	return s, nil
}

func (s *Stores) readSeed() error {
	s.seed = new(keyedSeed)
	err := get(s.dbs[State], seedKey(), s.seed.decode)
	if errors.Is(err, ErrNotFound) {
		err = damaged("seed of keyed ids", err)
	}
	if err != nil {
		return fmt.Errorf("opening store %s: %w", State, err)
	}
	return nil
}

// Inspect reads up to where the stores have applied the first groups, the lower of state/ and keys/ for each, and
// checks on the way that all three can be opened. It changes nothing: what it refuses is as it was.
func Inspect(o Options, groups int) (applied []Applied, err error) {
	o.Fatal = func(error) {} // what it finds it returns
	s := &Stores{shared: shared{log: newLogger(o)}}
	s.shared.cache, s.shared.files = pebble.NewCache(o.cacheBytes()), pebble.NewFileCache(1, fileCacheFiles)
	defer func() { err = errors.Join(err, s.Close()) }()
	for _, k := range Kinds() {
		if err := peek(o, k); err != nil {
			return nil, fmt.Errorf("opening store %s: %w", k, err)
		}
		p := o.pebble(k, s.shared)
		p.ErrorIfNotExists, p.ReadOnly = true, true
		if s.dbs[k], err = pebble.Open(o.path(k), p); err != nil {
			return nil, fmt.Errorf("opening store %s: %w", k, err)
		}
		if err := checkFormat(s.dbs[k], k); err != nil {
			return nil, fmt.Errorf("opening store %s: %w", k, err)
		}
	}
	if err := s.readSeed(); err != nil {
		return nil, err
	}
	for group := range groups {
		a, err := s.DurableApplied(uint16(group))
		if err != nil {
			return nil, err
		}
		applied = append(applied, a)
	}
	return applied, nil
}

// peek reads as much of a store as tells that it is one, and changes nothing.
func peek(o Options, k Kind) error {
	found, err := pebble.Peek(o.path(k), o.FS(k))
	if err != nil {
		return err
	}
	if !found.Exists {
		return ErrMissing
	}
	return nil
}

func checkFormat(db *pebble.DB, k Kind) error {
	row, closer, err := db.Get(formatKey())
	if errors.Is(err, pebble.ErrNotFound) {
		return ErrFormat
	}
	if err != nil {
		return err
	}
	err = formatError(row, k)
	return errors.Join(err, closer.Close())
}

// formatError says what is wrong with a format row, if anything is.
func formatError(row []byte, k Kind) error {
	switch {
	case len(row) == 2 && row[0] == Format && row[1] == byte(k):
		return nil
	case len(row) > 0 && row[0] != Format:
		return fmt.Errorf("%w: version %d, and this program reads version %d", ErrFormat, row[0], Format)
	default:
		return ErrFormat
	}
}

// Close closes the stores. What was not flushed comes back from the journal.
func (s *Stores) Close() error {
	var errs []error
	for i, db := range s.dbs {
		if db != nil {
			errs = append(errs, db.Close())
			s.dbs[i] = nil
		}
	}
	if s.shared.files != nil {
		s.shared.files.Unref()
		s.shared.cache.Unref()
		s.shared.files = nil
	}
	return errors.Join(errs...)
}

// Flush makes everything that was committed before the call durable, in all stores together. After a failure it returns
// that failure, whatever is on the disk by then.
func (s *Stores) Flush(ctx context.Context) error {
	if err := s.catchUpKeys(); err != nil {
		return err
	}
	var done [kinds]<-chan struct{}
	for i, db := range s.dbs {
		c, err := db.AsyncFlush()
		if err != nil {
			return fmt.Errorf("flushing store %s: %w", Kind(i), err)
		}
		done[i] = c
	}
	for _, c := range done {
		select {
		case <-c:
		case <-s.shared.log.failed:
			return s.shared.log.err
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	select {
	case <-s.shared.log.failed:
		return s.shared.log.err
	default:
		return nil
	}
}

// FlushOne makes what was committed to one store durable, as a store that is full does by itself.
func (s *Stores) FlushOne(k Kind) error { return s.dbs[k].Flush() }

// catchUpKeys writes the applied rows of keys/ that are behind. They cannot be taken from state/: after a crash that
// may be ahead, with commands still to come that keys/ lacks.
func (s *Stores) catchUpKeys() error {
	s.keysMu.Lock()
	defer s.keysMu.Unlock()
	for group, a := range s.keysBehind {
		batch := s.dbs[Keys].NewBatch()
		err := putApplied(batch, group, a, 0, true)
		if err == nil {
			err = batch.Commit(pebble.NoSync)
		}
		if err := errors.Join(err, batch.Close()); err != nil {
			return fmt.Errorf("writing what store keys has applied: %w", err)
		}
	}
	clear(s.keysBehind)
	return nil
}

// Metrics is what a node reports about one store.
type Metrics struct {
	Kind                Kind
	DiskBytes           uint64
	MemTableBytes       uint64
	L0Files             int64
	CompactionDebtBytes uint64
	FlushedBytes        uint64
	CompactedBytes      uint64
}

// Metrics returns the figures of each store.
func (s *Stores) Metrics() []Metrics {
	out := make([]Metrics, 0, kinds)
	for i, db := range s.dbs {
		m := db.Metrics()
		total := m.Total()
		out = append(out, Metrics{
			Kind:                Kind(i),
			DiskBytes:           m.DiskSpaceUsage(),
			MemTableBytes:       m.MemTable.Size,
			L0Files:             m.Levels[0].TablesCount,
			CompactionDebtBytes: m.Compact.EstimatedDebt,
			FlushedBytes:        total.TableBytesFlushed,
			CompactedBytes:      total.TableBytesCompacted,
		})
	}
	return out
}

// damaged wraps what a row's decoder found.
func damaged(row string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%w: %s: %w", ErrDamaged, row, err)
}

// version reads a row's first byte.
func version(r *codec.Reader) { versionIs(r, rowVersion) }

func versionIs(r *codec.Reader, want uint8) {
	if r.U8() != want {
		r.Fail(errRowVersion)
	}
}

const (
	// rowVersion is the first byte of every row but those that hold addresses or keyed ids.
	rowVersion = 1
	// addressVersion is theirs. In version 1 a row had the addresses that one command stored.
	addressVersion = 2
)

var errRowVersion = errors.New("unknown row version")
