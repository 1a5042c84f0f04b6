package journal

import (
	"cmp"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"path/filepath"
	"slices"
	"sync"

	"github.com/sealmq/sealmq/internal/atrest"
)

// Options says where a journal lies and how it is kept. Dir, Ring and Store have no defaults.
type Options struct {
	Dir   string
	FS    FS // the operating system's if nil
	Ring  *atrest.Ring
	Store atrest.StoreID

	// SegmentBytes is about how long a segment becomes: 32 MiB if 0. A flush that does not fit makes one longer.
	SegmentBytes int64
	// SpareSegments is how many segments are reserved ahead: 4 if 0, none if negative.
	SpareSegments int
	// VerifyBytes is how much of the closed segments Open reads whole, newest first: 256 MiB if 0, which is what a
	// restart replays; nothing if negative. Damage in the rest shows when it is read.
	VerifyBytes int64

	// Applied is up to where the stores have durably applied groups. A log that does not reach that, or that lacks the
	// entry after it and holds a later one, is damaged.
	Applied map[uint16]uint64

	// Fatal is called once, with the first failed write or sync, before any waiting call is answered. It must not call
	// the journal. The process should end: nothing will be written any more.
	Fatal  func(error)
	Logger *slog.Logger
}

const (
	defaultSegmentBytes  = 32 << 20
	minSegmentBytes      = 64 << 10
	maxSegmentBytes      = 1 << 30
	defaultSpareSegments = 4
	defaultVerifyBytes   = 256 << 20
)

func (o *Options) fill() error {
	if o.Dir == "" || o.Ring == nil {
		return errors.New("journal: no directory or no key ring")
	}
	if o.FS == nil {
		o.FS = OSFS()
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	o.SegmentBytes = cmp.Or(o.SegmentBytes, defaultSegmentBytes)
	o.SpareSegments = max(cmp.Or(o.SpareSegments, defaultSpareSegments), 0)
	o.VerifyBytes = cmp.Or(o.VerifyBytes, defaultVerifyBytes)
	if o.SegmentBytes < minSegmentBytes || o.SegmentBytes > maxSegmentBytes {
		return fmt.Errorf("journal: segments of %d bytes; from %d to %d are possible", o.SegmentBytes, minSegmentBytes,
			maxSegmentBytes)
	}
	return nil
}

// Journal is the log of all groups of a node. It is safe for concurrent use.
type Journal struct {
	o       Options
	queue   queue
	writer  *writer
	spares  *spares
	handles handles
	stats   stats
	failure failure

	// mu guards what readers look up and the writer publishes, only ever after it is durable.
	mu     sync.RWMutex
	state  *logState
	closed []closedSegment // rising
	active uint64          // the open segment's number

	groupsMu sync.Mutex
	groups   map[uint16]*Group
}

func newJournal(o Options) *Journal {
	return &Journal{
		o:       o,
		queue:   queue{wake: make(chan struct{}, 1)},
		handles: handles{open: make(map[uint64]*handle)},
		groups:  make(map[uint16]*Group),
	}
}

// start begins taking calls.
func (j *Journal) start() {
	go j.writer.run()
	go j.spares.run(j)
}

// Group returns one group's part of the journal.
func (j *Journal) Group(id uint16) *Group {
	j.groupsMu.Lock()
	defer j.groupsMu.Unlock()
	g := j.groups[id]
	if g == nil {
		g = &Group{j: j, id: id}
		j.groups[id] = g
	}
	return g
}

// spareForBegin is how many spare segments Begin wants to see: the flush that is under way may take one, that of what is
// begun another, and one may be away to be filled.
const spareForBegin = 3

// begin queues a request if it is certain to find room: with whatever is not answered it fills at most half a segment.
func (j *Journal) begin(r *request) bool {
	if spares, _ := j.spares.state(); spares < spareForBegin {
		return false
	}
	return j.queue.addWithin(j.o.SegmentBytes/2, r)
}

// Close writes what is queued, ends the open segment in good order and closes the files. Calls that come later fail
// with ErrClosed. It returns ErrFailed if the journal has failed.
func (j *Journal) Close() error {
	if !j.queue.close() {
		<-j.writer.done
		return nil
	}
	j.spares.stop()
	<-j.writer.done
	<-j.spares.done
	j.handles.closeAll()
	return j.failure.err()
}

// failure is the poison: once set, nothing is acknowledged any more.
type failure struct {
	once sync.Once
	mu   sync.Mutex
	set  error
}

func (f *failure) err() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.set
}

// fail poisons the journal with the first failure of a write or sync.
func (j *Journal) fail(cause error) {
	j.failure.once.Do(func() {
		j.failure.mu.Lock()
		j.failure.set = fmt.Errorf("%w: %w", ErrFailed, cause)
		j.failure.mu.Unlock()
		j.o.Logger.Error("journal has failed; this node must be restarted", "error", cause)
		if j.o.Fatal != nil {
			j.o.Fatal(cause)
		}
	})
}

func sortedKeys[V any](m map[uint16]V) []uint16 { return slices.Sorted(maps.Keys(m)) }

func parent(dir string) string { return filepath.Dir(filepath.Clean(dir)) }
