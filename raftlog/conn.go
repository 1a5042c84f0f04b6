package raftlog

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/raft"
)

const (
	connBufferBytes = 32 << 10
	// writeChunkBytes bounds one write, so that a slow connection that still moves is told from a dead one.
	writeChunkBytes = 128 << 10
)

// conn is a connection between two nodes: whole frames in and out, and a watch that closes it when nothing moves.
type conn struct {
	net net.Conn
	r   *bufio.Reader
	w   *bufio.Writer
	// writing holds a token while a frame is written. It is a channel so that waiting for it can be given up.
	writing  chan struct{}
	born     time.Time
	progress atomic.Int64 // since born, when a byte last moved in either direction

	closing sync.Once
	dead    chan struct{} // closed when the connection is of no more use
	cause   error         // why; set before dead is closed
}

func newConn(n net.Conn) *conn {
	c := &conn{net: n, writing: make(chan struct{}, 1), born: time.Now(), dead: make(chan struct{})}
	c.r = bufio.NewReaderSize(connReader{c}, connBufferBytes)
	c.w = bufio.NewWriterSize(connWriter{c}, connBufferBytes)
	return c
}

type connReader struct{ c *conn }

func (r connReader) Read(b []byte) (int, error) {
	n, err := r.c.net.Read(b)
	if n > 0 {
		r.c.moved()
	}
	return n, err
}

type connWriter struct{ c *conn }

func (w connWriter) Write(b []byte) (int, error) {
	written := 0
	for written < len(b) {
		n, err := w.c.net.Write(b[written:min(len(b), written+writeChunkBytes)])
		written += n
		if err != nil {
			return written, err
		}
		w.c.moved()
	}
	return written, nil
}

func (c *conn) moved() { c.progress.Store(int64(time.Since(c.born))) }

// quiet returns for how long no byte has moved.
func (c *conn) quiet() time.Duration { return time.Since(c.born) - time.Duration(c.progress.Load()) }

// close ends the connection; the first cause stays.
func (c *conn) close(cause error) {
	c.closing.Do(func() {
		c.cause = cause
		close(c.dead)
		c.net.Close()
	})
}

// send writes one frame: its head and payload in front, then the data of entries. Data is written from where it lies;
// at most connBufferBytes of a frame are copied. It gives up waiting for its turn when stop or expired says so, but
// never in the middle of a frame.
func (c *conn) send(stop <-chan struct{}, expired <-chan time.Time, front []byte, entries []*raft.Log) error {
	select {
	case c.writing <- struct{}{}:
	case <-c.dead:
		return c.cause
	case <-stop:
		return errStopped
	case <-expired:
		return errTimeout
	}
	defer func() { <-c.writing }()
	return c.write(front, entries)
}

// trySend writes a frame without a payload unless another frame is being written, which serves as well to show that
// this side is alive.
func (c *conn) trySend(h head) error {
	select {
	case c.writing <- struct{}{}:
	default:
		return nil
	}
	defer func() { <-c.writing }()
	return c.write(appendHead(nil, h), nil)
}

func (c *conn) write(front []byte, entries []*raft.Log) error {
	_, err := c.w.Write(front)
	for i := 0; i < len(entries) && err == nil; i++ {
		_, err = c.w.Write(entries[i].Data)
	}
	if err == nil {
		err = c.w.Flush()
	}
	if err != nil {
		c.close(fmt.Errorf("write to peer: %w", err))
		return c.cause
	}
	return nil
}

// readSmall reads a frame that carries no entries. The payload is valid until the next call.
func (c *conn) readSmall(buf *[smallFrameBytes]byte) (head, []byte, error) {
	h, err := readHead(c.r, smallFrameBytes)
	if err != nil {
		return head{}, nil, err
	}
	payload := buf[:h.size]
	_, err = io.ReadFull(c.r, payload)
	return h, payload, err
}

// watch closes the connection when no byte has moved for silence. It returns when the connection is dead. With ping
// it also sends pings, whose answers are what moves on an idle connection; one side of each connection pings.
func (c *conn) watch(silence time.Duration, ping bool) {
	tick := time.NewTicker(silence / 4)
	defer tick.Stop()
	for {
		select {
		case <-c.dead:
			return
		case <-tick.C:
		}
		if c.quiet() >= silence {
			c.close(errSilent)
			return
		}
		if ping {
			// Not in this goroutine: a write that blocks would stop the watch, which is what unblocks it.
			go c.trySend(head{typ: framePing})
		}
	}
}
