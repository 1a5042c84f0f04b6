package journal

import (
	"sync"
	"time"
)

// Stats is what a journal has done since it was opened, and what it holds.
type Stats struct {
	Segments      int
	SpareSegments int
	Bytes         int64 // of all segments up to where each ends; spares do not count

	Flushes      uint64 // writes with one fdatasync each
	FlushedBytes uint64 // sealed, as written
	Records      uint64
	Marks        uint64    // writes of the mark
	Rolls        uint64    // segments ended
	Fsync        Histogram // of the flushes' fdatasync

	NoSpace bool // the last attempt to reserve a segment found the disk full
	Failed  bool
}

// Histogram counts durations in fixed buckets: Counts[i] those of at most FsyncBounds()[i], the last one the rest.
type Histogram struct {
	Counts [len(fsyncBounds) + 1]uint64
	Sum    time.Duration
}

var fsyncBounds = [...]time.Duration{
	50 * time.Microsecond, 100 * time.Microsecond, 200 * time.Microsecond, 400 * time.Microsecond,
	800 * time.Microsecond, 1600 * time.Microsecond, 3200 * time.Microsecond, 6400 * time.Microsecond,
	12800 * time.Microsecond, 25600 * time.Microsecond, 51200 * time.Microsecond, 102400 * time.Microsecond,
	204800 * time.Microsecond, 409600 * time.Microsecond, 819200 * time.Microsecond, 1638400 * time.Microsecond,
}

// FsyncBounds returns the upper bounds of a Histogram's buckets.
func FsyncBounds() []time.Duration { return append([]time.Duration(nil), fsyncBounds[:]...) }

type stats struct {
	mu sync.Mutex
	s  Stats
	// end is that of the open segment.
	end int64
}

func (s *stats) flushed(bytes, records int, end uint32, took time.Duration) {
	bucket := len(fsyncBounds)
	for i, bound := range fsyncBounds {
		if took <= bound {
			bucket = i
			break
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.s.Flushes++
	s.s.FlushedBytes += uint64(bytes)
	s.s.Records += uint64(records)
	s.s.Fsync.Counts[bucket]++
	s.s.Fsync.Sum += took
	s.end = int64(end)
}

func (s *stats) marked() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.s.Marks++
}

// began says that a new segment is open, after another one was ended if rolled.
func (s *stats) began(end uint32, rolled bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.end = int64(end)
	if rolled {
		s.s.Rolls++
	}
}

// Stats returns the journal's counters.
func (j *Journal) Stats() Stats {
	j.stats.mu.Lock()
	s := j.stats.s
	s.Bytes = j.stats.end
	j.stats.mu.Unlock()

	j.mu.RLock()
	s.Segments = len(j.closed) + 1
	for _, c := range j.closed {
		s.Bytes += int64(c.end)
	}
	j.mu.RUnlock()

	s.SpareSegments, s.NoSpace = j.spares.state()
	s.Failed = j.failure.err() != nil
	return s
}
