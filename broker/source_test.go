package broker

import (
	"encoding/binary"
	"errors"
	"net"
	"os"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sealmq/sealmq/wire"
)

// reading is a frame reader over a source over a pipe.
type reading struct {
	*source
	frames *wire.FrameReader
	peer   net.Conn
	gone   chan struct{}
	took   int
}

func newReading(large places) *reading {
	ours, theirs := net.Pipe()
	gone := make(chan struct{})
	s := &source{from: ours, deadline: func(at time.Time) { ours.SetReadDeadline(at) }, large: large, gone: gone}
	frames := wire.NewFrameReader(s)
	frames.SetLimit(wire.FrameBytes)
	return &reading{source: s, frames: frames, peer: theirs, gone: gone, took: -1}
}

func (r *reading) next() error {
	r.source.next(r.took)
	_, _, payload, err := r.frames.Next()
	r.took = len(payload)
	return err
}

// bytesOf is a frame with a payload of n bytes.
func bytesOf(n int) []byte {
	b := make([]byte, wire.FrameHeaderBytes+n)
	binary.BigEndian.PutUint32(b, uint32(5+n))
	return b
}

func TestFrameMustEndInTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newReading(make(places, 1))
		go func() {
			time.Sleep(time.Hour) // between frames there is no limit
			r.peer.Write(bytesOf(10))
			time.Sleep(time.Hour)
			for _, b := range bytesOf(20) {
				r.peer.Write([]byte{b})
				time.Sleep(time.Second) // 29 bytes in 29 s
			}
			b := append(bytesOf(10), bytesOf(10)[:3]...)
			r.peer.Write(b) // the next one has begun with this one
		}()
		for i := range 3 {
			if err := r.next(); err != nil {
				t.Fatalf("frame %d: %v", i, err)
			}
		}
		began := time.Now()
		if err := r.next(); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("a frame that does not end: %v", err)
		}
		if took := time.Since(began); took != frameTimeout {
			t.Errorf("it was waited for for %v", took)
		}
	})
}

func TestLargeFramesTakeTurns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		large := make(places, 1)
		first, second, third := newReading(large), newReading(large), newReading(large)
		send := func(r *reading, b []byte) { go r.peer.Write(b) }
		whole := bytesOf(200_000)
		send(first, whole[:100_000])
		firstDone, secondDone, thirdDone := make(chan error, 1), make(chan error, 1), make(chan error, 1)
		go func() { firstDone <- first.next() }()
		synctest.Wait()
		send(second, whole)
		go func() { secondDone <- second.next() }()
		synctest.Wait()
		// Small frames go past.
		send(third, bytesOf(1000))
		if err := third.next(); err != nil {
			t.Fatal(err)
		}
		select {
		case err := <-secondDone:
			t.Fatal("two large frames were read at once", err)
		default:
		}
		send(first, whole[100_000:])
		if err := <-firstDone; err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		select {
		case err := <-secondDone:
			t.Fatal("the place was free while the first frame was still in use", err)
		default:
		}
		first.source.leave() // its connection ends, or asks for the next frame
		if err := <-secondDone; err != nil {
			t.Fatal(err)
		}
		// One that gets no place in time is told so; one whose connection is cut just ends.
		send(third, whole)
		go func() { thirdDone <- third.next() }()
		if err := <-thirdDone; !errors.Is(err, errNoPlace) {
			t.Errorf("without a place: %v", err)
		}
		third.peer.Close()
		third = newReading(large)
		send(third, whole)
		go func() { thirdDone <- third.next() }()
		synctest.Wait()
		close(third.gone)
		if err := <-thirdDone; err == nil || errors.Is(err, errNoPlace) {
			t.Errorf("cut: %v", err)
		}
		second.source.leave()
		if len(large) != 0 {
			t.Error("a place is still taken")
		}
		for _, r := range []*reading{first, second, third} {
			r.peer.Close()
		}
	})
}
