package storage

import (
	"context"
	"fmt"
	"log/slog"
	"path/filepath"
	"runtime"
	"sync"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/bloom"
	"github.com/cockroachdb/pebble/v2/vfs"
)

// Kind tells the three stores of a node apart.
type Kind uint8

const (
	State Kind = iota
	Bodies
	Keys
	kinds
)

// String is the name of the store's directory.
func (k Kind) String() string { return [...]string{"state", "bodies", "keys"}[k] }

// Kinds returns every kind of store.
func Kinds() []Kind { return []Kind{State, Bodies, Keys} }

// Options is what a node's stores are opened with.
type Options struct {
	// Dir holds a directory for each store.
	Dir string
	// FS returns the file system of a store.
	FS func(Kind) vfs.FS
	// CacheBytes bounds the blocks that all stores together keep in memory, beside their memtables; 32 MiB unless set.
	CacheBytes int64
	Logger     *slog.Logger
	// Fatal is told, once, of the first error that a store met behind its callers' backs. After it nothing may be trusted
	// and the process must end.
	Fatal func(error)
}

const (
	// formatMajorVersion is the newest format that Pebble 2.1.7 knows. It is raised only together with the format
	// version of our own rows.
	formatMajorVersion = pebble.FormatMajorVersion(24)

	defaultCacheBytes = 32 << 20
	fileCacheFiles    = 1_000
	memTablesInUse    = 2 // one being filled and one being flushed
	bloomBitsPerKey   = 10

	// bodyFileBytes is the size of a file of bodies/ on every level, so that a dead span of addresses frees whole files.
	bodyFileBytes = 16 << 20
)

// sizes are where the stores differ.
type sizes struct {
	memTable    uint64
	memTables   int
	base        int64 // first level below L0
	compactions int
	l0, l0Stop  int // files of L0, on top of each other, at which it is compacted and at which writes stop
}

func (k Kind) sizes() sizes {
	switch k {
	case State:
		// Rows of different mailboxes come in no order, and finding their place in a memtable costs a cache miss a level: so
		// memtables are small.
		// Small tables make many files of L0. Compacting them four at a time, into a base that is full of session headers,
		// was a quarter of a node's work with 10,000 busy mailboxes; nearly all reads end in a memtable, a cache or a filter.
		return sizes{memTable: 8 << 20, memTables: 8, base: 64 << 20, compactions: 2, l0: 16, l0Stop: 48}
	case Bodies:
		return sizes{memTable: 16 << 20, memTables: 4, base: 256 << 20, compactions: 1, l0: 4, l0Stop: 20}
	default:
		return sizes{memTable: 2 << 20, memTables: 4, base: 16 << 20, compactions: 1, l0: 4, l0Stop: 20}
	}
}

// shared is what the stores of a node have in common.
type shared struct {
	cache *pebble.Cache
	files *pebble.FileCache
	log   *logger
}

func (o Options) pebble(k Kind, s shared) *pebble.Options {
	size := k.sizes()
	p := &pebble.Options{
		FS:                          o.FS(k),
		Cache:                       s.cache,
		FileCache:                   s.files,
		FormatMajorVersion:          formatMajorVersion,
		DisableWAL:                  true,
		Merger:                      bundles,
		MemTableSize:                size.memTable,
		MemTableStopWritesThreshold: size.memTables,
		L0CompactionThreshold:       size.l0,
		L0StopWritesThreshold:       size.l0Stop,
		LBaseMaxBytes:               size.base,
		CompactionConcurrencyRange:  func() (int, int) { return 1, size.compactions },
		FlushDelayDeleteRange:       10 * time.Second,
		FreeSpaceThresholdBytes:     1 << 30,
		MaxOpenFiles:                fileCacheFiles,
		Logger:                      s.log,
		EventListener: &pebble.EventListener{
			BackgroundError: func(err error) { s.log.fail(fmt.Errorf("store %s: %w", k, err)) },
			DataCorruption: func(info pebble.DataCorruptionInfo) {
				s.log.fail(fmt.Errorf("store %s: %s is damaged: %w", k, info.Path, info.Details))
			},
		},
	}
	// An ingest that waits in a queue is lost at a power cut when there is no write-ahead log to hold it.
	p.Experimental.DisableIngestAsFlushable = func() bool { return true }
	p.Experimental.ValueSeparationPolicy = func() pebble.ValueSeparationPolicy { return pebble.ValueSeparationPolicy{} }
	p.ApplyCompressionSettings(func() pebble.DBCompressionSettings { return pebble.DBCompressionNone })
	for i := range p.Levels {
		p.Levels[i].FilterPolicy = bloom.FilterPolicy(bloomBitsPerKey)
	}
	if k == State {
		p.Experimental.SpanPolicyFunc = spanPolicy
	}
	if k == Bodies {
		for i := range p.TargetFileSizes {
			p.TargetFileSizes[i] = bodyFileBytes
		}
	}
	return p
}

// cacheBytes is the size of the shared block cache. Pebble counts memtables against it, so that a cache no larger than
// those would hold no block and every lookup would read its filter again.
func (o Options) cacheBytes() int64 {
	total := o.CacheBytes
	if total == 0 {
		total = defaultCacheBytes
	}
	for _, k := range Kinds() {
		total += memTablesInUse * int64(k.sizes().memTable)
	}
	return total
}

func (o Options) path(k Kind) string { return filepath.Join(o.Dir, k.String()) }

// logger passes Pebble's own log on. Its text names files and sizes, never keys. It is also where Pebble says that it
// cannot go on.
type logger struct {
	out   *slog.Logger
	fatal func(error)

	once   sync.Once
	failed chan struct{} // closed with the first failure
	err    error         // which it was
}

func newLogger(o Options) *logger {
	l := &logger{out: o.Logger, fatal: o.Fatal, failed: make(chan struct{})}
	if l.out == nil {
		l.out = slog.New(slog.DiscardHandler)
	}
	if l.fatal == nil {
		l.fatal = func(err error) { panic(err) }
	}
	return l
}

func (l *logger) Infof(format string, args ...any) {
	if l.out.Enabled(context.Background(), slog.LevelDebug) {
		l.out.Debug(fmt.Sprintf(format, args...))
	}
}

func (l *logger) Errorf(format string, args ...any) { l.out.Error(fmt.Sprintf(format, args...)) }

// Fatalf is called where Pebble cannot go on, and must not return. Ending only the goroutine releases what it holds
// and leaves it to Options.Fatal to end the process.
func (l *logger) Fatalf(format string, args ...any) {
	l.fail(fmt.Errorf(format, args...))
	runtime.Goexit()
}

func (l *logger) fail(err error) {
	l.once.Do(func() {
		l.err = err
		close(l.failed)
		l.fatal(err)
	})
}
