package broker

import (
	"io"
	"time"

	"github.com/sealmq/sealmq/wire"
)

const (
	// frameTimeout is how long one frame may take from its first byte to its last.
	frameTimeout = 30 * time.Second
	// largeFrom is the size from which an unfinished frame takes one of the node's places for large frames.
	largeFrom = 64 << 10
)

// source is a connection as its frame reader sees it. It bounds what an unfinished frame costs: by a deadline, and by a
// place among the large frames of the node. Between frames a connection may be silent for as long as it likes, and
// costs next to nothing.
type source struct {
	from     io.Reader
	deadline func(time.Time) // sets or, with the zero time, lifts the deadline for reading
	large    places
	gone     <-chan struct{} // closed when the connection is cut

	unread int // bytes that the frame reader was given and has not returned as a frame
	timed  bool
	until  time.Time
	placed bool
}

// errNoPlace ends a connection whose large frame found no place in time.
var errNoPlace = refusal(wire.CodeOverloaded, "too many large frames are being read")

// next is called before each frame is asked for. took is the payload of the one before, -1 if there was none.
func (s *source) next(took int) {
	if took >= 0 {
		s.unread -= wire.FrameHeaderBytes + took
	}
	if s.timed {
		s.timed = false
		s.deadline(time.Time{})
	}
	s.leave()
}

func (s *source) Read(p []byte) (int, error) {
	if s.unread > 0 && !s.timed {
		s.timed, s.until = true, time.Now().Add(frameTimeout)
		s.deadline(s.until)
	}
	if s.unread > largeFrom && !s.placed {
		if err := s.enter(); err != nil {
			return 0, err
		}
	}
	n, err := s.from.Read(p)
	s.unread += n
	return n, err
}

// enter waits for a place.
func (s *source) enter() error {
	select {
	case s.large <- struct{}{}:
		s.placed = true
		return nil
	default:
	}
	late := time.NewTimer(time.Until(s.until))
	defer late.Stop()
	select {
	case s.large <- struct{}{}:
		s.placed = true
		return nil
	case <-s.gone:
		return io.ErrClosedPipe
	case <-late.C:
		return errNoPlace
	}
}

// leave gives the place back, if there is one.
func (s *source) leave() {
	if s.placed {
		s.placed = false
		s.large.leave()
	}
}
