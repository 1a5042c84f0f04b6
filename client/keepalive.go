package client

import (
	"fmt"
	"time"

	"github.com/sealmq/sealmq/wire"
)

const (
	// answerTimeout is how long a connection with requests under way may be silent, half of it until it is asked.
	answerTimeout = 10 * time.Second
	// idleTimeout is the same for a connection that nothing is expected from.
	idleTimeout = 60 * time.Second
)

// keep asks for a sign of life when the other side is silent, and ends the connection when none comes.
func (c *conn) keep() {
	tick := time.NewTicker(c.lookEvery)
	defer tick.Stop()
	var asked time.Time
	for {
		select {
		case <-c.dead:
			return
		case <-tick.C:
		}
		last := time.Unix(0, c.lastRead.Load())
		now := time.Now()
		switch {
		case asked.IsZero() || !last.Before(asked):
			asked = time.Time{}
			if now.Sub(last) >= c.patience()/2 && c.enqueue(ping{}) {
				asked = now
			}
		case time.Since(asked) >= answerTimeout/2:
			c.end(fmt.Errorf("the node was silent for %v", time.Since(last).Round(time.Second)))
		}
	}
}

// patience returns how long the node may be silent.
func (c *conn) patience() time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.calls.taken > 0 {
		return answerTimeout
	}
	if most := time.Duration(c.hello.Limits.IdleMillis) * time.Millisecond; most > 0 {
		return min(idleTimeout, most)
	}
	return idleTimeout
}

// ping asks whether the node still answers; that anything was read is all that counts.
type ping struct{}

func (ping) frame(dst []byte, _ *conn, request uint32) ([]byte, waiter, bool) {
	return wire.AppendFrame(dst, request, &wire.Ping{}), ping{}, false
}
func (ping) dropped(*conn, error)                   {}
func (ping) answer(*conn, wire.Type, []byte, error) {}
func (ping) subscribed() bool                       { return false }
func (ping) urgent()                                {}

// pong answers a node that asks whether the client still answers. The request id is the node's.
type pong uint32

func (p pong) frame(dst []byte, _ *conn, _ uint32) ([]byte, waiter, bool) {
	return wire.AppendFrame(dst, uint32(p), &wire.Pong{TimeMillis: time.Now().UnixMilli()}), nil, false
}
func (pong) dropped(*conn, error) {}
func (pong) urgent()              {}
