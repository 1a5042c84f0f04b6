package journal

import (
	"errors"
	"fmt"
	"sync"
	"syscall"
	"time"
)

const (
	// fillStep and fillPause pace the writing of zeros: at most about 64 MiB/s, synced piece by piece, so that the
	// flushes beside it hardly notice.
	fillStep  = 1 << 20
	fillPause = 15 * time.Millisecond
	// retrySpace is how often reserving is tried again on a full disk.
	retrySpace = 5 * time.Second
)

// spares reserves segments ahead. A reserved one holds its space, but fdatasync in it must also commit metadata, block
// by block as it is first written; so once the open segment is a quarter full, zeros are written over one spare. Not so
// where flushes are long: then the metadata is little, and the zeros nearly as much again as all else that is written.
type spares struct {
	o *Options

	mu      sync.Mutex
	ready   []spare
	number  uint64 // of the newest spare's name
	noSpace bool

	wake chan struct{} // something was taken, or the next one should be filled
	quit chan struct{}
	done chan struct{}
	fill bool
}

type spare struct {
	name   string
	filled bool
}

func newSpares(o *Options, there []uint64) *spares {
	s := &spares{o: o, wake: make(chan struct{}, 1), quit: make(chan struct{}), done: make(chan struct{})}
	for _, n := range there {
		s.ready = append(s.ready, spare{name: spareName(n)})
		s.number = max(s.number, n)
	}
	return s
}

// obtain returns a spare, a filled one if there is any; if there is none at all it reserves one now.
func (s *spares) obtain() (name string, err error) {
	defer s.signal()
	s.mu.Lock()
	at := 0
	for i, r := range s.ready {
		if r.filled {
			at = i
		}
	}
	if len(s.ready) > 0 {
		name = s.ready[at].name
		s.ready = append(s.ready[:at], s.ready[at+1:]...)
		s.mu.Unlock()
		return name, nil
	}
	s.number++
	number := s.number
	s.mu.Unlock()
	name, err = reserveSpare(s.o, number, s.o.SegmentBytes)
	s.setNoSpace(errors.Is(err, ErrNoSpace))
	return name, err
}

// reserveSpare makes a spare of that size.
func reserveSpare(o *Options, number uint64, sizeBytes int64) (string, error) {
	name := spareName(number)
	f, err := o.FS.Create(o.path(name), sizeBytes)
	if errors.Is(err, syscall.ENOSPC) {
		return "", fmt.Errorf("%w: %w", ErrNoSpace, err)
	}
	if err != nil {
		return "", fmt.Errorf("reserving a segment: %w", err)
	}
	if err := f.Close(); err != nil {
		return "", fmt.Errorf("reserving a segment: %w", err)
	}
	return name, nil
}

// wantFilled asks for a spare that has been written over, before the open segment is full.
func (s *spares) wantFilled() {
	s.mu.Lock()
	s.fill = true
	s.mu.Unlock()
	s.signal()
}

func (s *spares) signal() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

func (s *spares) stop() { close(s.quit) }

// run keeps as many spares as the options say until stop is called.
func (s *spares) run(j *Journal) {
	defer close(s.done)
	for {
		err := s.top()
		if err == nil {
			err = s.fillOne()
		}
		s.setNoSpace(errors.Is(err, ErrNoSpace))
		if err != nil && !errors.Is(err, ErrNoSpace) {
			j.fail(err)
			return
		}
		retry := time.NewTimer(retrySpace)
		if err == nil {
			retry.Stop()
		}
		select {
		case <-s.wake:
		case <-retry.C:
		case <-s.quit:
			retry.Stop()
			return
		}
		retry.Stop()
	}
}

// top reserves until there are enough.
func (s *spares) top() error {
	for {
		s.mu.Lock()
		enough := len(s.ready) >= s.o.SpareSegments
		if !enough {
			s.number++
		}
		number := s.number
		s.mu.Unlock()
		if enough || s.stopped() {
			return nil
		}
		name, err := reserveSpare(s.o, number, s.o.SegmentBytes)
		if err != nil {
			return err
		}
		s.add(spare{name: name})
	}
}

func (s *spares) add(r spare) {
	s.mu.Lock()
	s.ready = append(s.ready, r)
	s.mu.Unlock()
}

func (s *spares) stopped() bool {
	select {
	case <-s.quit:
		return true
	default:
		return false
	}
}

// fillOne writes zeros over a spare if one is wanted and none is there. Meanwhile nobody can take it.
func (s *spares) fillOne() error {
	s.mu.Lock()
	wanted := s.fill
	s.fill = false
	for _, r := range s.ready {
		wanted = wanted && !r.filled
	}
	if !wanted || len(s.ready) == 0 {
		s.mu.Unlock()
		return nil
	}
	r := s.ready[0]
	s.ready = s.ready[1:]
	s.mu.Unlock()
	err := s.writeOver(r.name)
	if err != nil && !errors.Is(err, syscall.ENOSPC) {
		return fmt.Errorf("filling a spare segment: %w", err)
	}
	// Where reserved space can run out, on a file system that never writes in place, it is still a spare.
	r.filled = err == nil
	s.add(r)
	return nil
}

func (s *spares) writeOver(name string) error {
	f, err := s.o.FS.OpenWrite(s.o.path(name))
	if err != nil {
		return err
	}
	zeros := growAligned(nil, fillStep)[:min(fillStep, s.o.SegmentBytes)]
	for off := int64(0); off < s.o.SegmentBytes && err == nil && !s.stopped(); off += int64(len(zeros)) {
		if err = writeFull(f, zeros[:min(int64(len(zeros)), s.o.SegmentBytes-off)], off); err == nil {
			err = f.SyncData()
		}
		if err == nil {
			s.pause()
		}
	}
	if closeErr := f.Close(); err == nil {
		err = closeErr
	}
	return err
}

func (s *spares) pause() {
	t := time.NewTimer(fillPause)
	defer t.Stop()
	select {
	case <-t.C:
	case <-s.quit:
	}
}

func (s *spares) setNoSpace(full bool) {
	s.mu.Lock()
	was := s.noSpace
	s.noSpace = full
	s.mu.Unlock()
	switch {
	case full && !was:
		s.o.Logger.Warn("no space for another journal segment")
	case was && !full:
		s.o.Logger.Info("there is space for journal segments again")
	}
}

// state returns how many spares are ready, and whether the disk was full when the last one was to be reserved.
func (s *spares) state() (ready int, noSpace bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.ready), s.noSpace
}
