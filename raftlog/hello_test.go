package raftlog

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sealmq/sealmq/internal/codec"
)

func TestHelloIsJudged(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		c := newTestNet(t, 0)
		c.start("n1")
		defer c.stop("n1")
		tests := []struct {
			name   string
			change func(h *hello)
			want   error
		}{
			{"newer version", func(h *hello) { h.minVersion, h.maxVersion = 2, 3 }, errVersion},
			{"older version", func(h *hello) { h.minVersion, h.maxVersion = 0, 0 }, errVersion},
			{"wrong cluster", func(h *hello) { h.cluster[5]++ }, errCluster},
			{"wrong node", func(h *hello) { h.to = "n3" }, errWrongNode},
			{"another node's name", func(h *hello) { h.from = "n3" }, errIdentity},
			{"versions to come", func(h *hello) { h.maxVersion = 9 }, nil},
		}
		for _, tt := range tests {
			r := c.dialRaw("n2", "n1")
			h := helloOf("n2", "n1", channelControl)
			tt.change(&h)
			w, err := r.greet(h)
			must(t, err)
			if got := w.refusal.err(); !errors.Is(got, tt.want) {
				t.Errorf("%s: %v, want %v", tt.name, got, tt.want)
			}
			if w.refusal != accepted && (w.cluster != [16]byte{} || w.node != "") {
				t.Errorf("%s: a refusal tells %+v", tt.name, w)
			}
			r.close(errClosed)
		}
		stranger := c.dialRaw("n9", "n1")
		w, err := stranger.greet(helloOf("n9", "n1", channelControl))
		must(t, err)
		if w.refusal != refusedNotMember {
			t.Errorf("stranger: %v", w.refusal.err())
		}
		stranger.close(errClosed)
		self := c.dialRaw("n1", "n1")
		w, err = self.greet(helloOf("n1", "n1", channelControl))
		must(t, err)
		if w.refusal != refusedDuplicate {
			t.Errorf("own name: %v", w.refusal.err())
		}
		self.close(errClosed)
	})
}

// A dialler does not talk to whoever answers at an address.
func TestWelcomeIsJudged(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		c := newTestNet(t, 0)
		h, n1 := c.bareHost("n1")
		defer h.Close()
		answers := map[string]struct {
			change func(w *welcome)
			want   error
		}{
			"wrong cluster":   {func(w *welcome) { w.cluster[0]++ }, errCluster},
			"wrong node":      {func(w *welcome) { w.node = "n3" }, errWrongNode},
			"unknown version": {func(w *welcome) { w.version = 2 }, errVersion},
			"refused":         {func(w *welcome) { w.refusal = refusedDuplicate }, errDuplicate},
		}
		l := c.net.listen("n2", "elsewhere") // where the host's own links do not dial
		defer l.Close()
		for name, tt := range answers {
			go func() {
				n, err := l.Accept()
				if err != nil {
					return
				}
				defer n.Close()
				var buf [smallFrameBytes]byte
				newConn(n).readSmall(&buf)
				w := welcome{version: protocolVersion, cluster: testCluster, node: "n2"}
				tt.change(&w)
				b := appendWelcome(nil, w)
				n.Write(append(appendHead(nil, head{typ: frameWelcome, size: len(b)}), b...))
			}()
			p := &peer{node: "n2", address: "elsewhere", conns: make(map[*conn]struct{})}
			p.control = newLink(n1.host, p, channelControl, time.Second)
			if _, err := p.control.dial(context.Background()); !errors.Is(err, tt.want) {
				t.Errorf("%s: %v", name, err)
			}
		}
	})
}

func TestTwoProcessesWithOneNodeID(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		c := newTestNet(t, 0)
		c.start("n1", "n2")
		defer c.stop("n1", "n2")
		c.until("connection", func() bool { return c.nodes["n1"].host.Reachable("n2") })

		// A second n2, started from a copy of its directory, elsewhere.
		twin := c.options(c.nodes["n2"])
		twin.Listener = c.net.listen("n2", "n2:2")
		c.net.listeners["n2:1"] = c.nodes["n2"].host.o.Listener.(*memListener)
		h, err := NewHost(twin)
		must(t, err)
		time.Sleep(20 * testTimeout)
		if h.Reachable("n1") {
			t.Error("the second process of n2 was let in beside the first")
		}
		// When the first is gone the second may come: that is a restart.
		c.stop("n2")
		c.until("the second", func() bool { return h.Reachable("n1") })
		h.Close()
		c.start("n2")
	})
}

func TestMalformedFramesEndTheConnection(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		c := newTestNet(t, 0)
		c.start(testNodes...)
		defer c.stop(testNodes...)
		c.propose(0, "before")
		c.stop("n2") // its name is free for us
		synctest.Wait()
		vote3 := appendVote(nil, vote{term: 3})
		frames := map[string]struct {
			ch      channel
			h       head
			payload []byte
		}{
			"unknown type":      {channelControl, head{typ: 99}, nil},
			"a reply":           {channelControl, head{typ: frameVoteReply, size: 9}, make([]byte, 9)},
			"second hello":      {channelControl, head{typ: frameHello}, nil},
			"short vote":        {channelControl, head{typ: frameVote, size: 24}, vote3[:24]},
			"long vote":         {channelControl, head{typ: frameVote, size: 26}, append(vote3, 0)},
			"ping with payload": {channelControl, head{typ: framePing, size: 1}, []byte{1}},
			"oversized control": {channelControl, head{typ: frameAppend, size: smallFrameBytes}, nil},
			"oversized bulk":    {channelBulk, head{typ: frameAppend, size: bulkFrameBytes}, nil},
			"oversized vote":    {channelBulk, head{typ: frameVote, size: 1 << 20}, nil},
			"no entries at all": {channelBulk, head{typ: frameAppend, size: 3}, []byte{1, 2, 3}},
			"too many entries": {channelBulk, head{typ: frameAppend, size: appendFixedBytes + 100},
				append(codec.AppendU16(make([]byte, 32), 0xffff), make([]byte, 100)...)},
		}
		for _, f := range frames {
			c.rawConn("n2", "n1", f.ch).expectClosed(t, f.h, f.payload)
		}
		for name, text := range map[string]string{
			"HTTP":         "GET / HTTP/1.1\r\nHost: n1\r\n\r\n",
			"short hello":  string(appendHead(nil, head{typ: frameHello, size: 3})) + "abc",
			"not a hello":  string(appendHead(nil, head{typ: framePing})),
			"wrong magic":  string(appendHead(nil, head{typ: frameHello, size: 4})) + "SMTP",
			"a huge frame": "\xff\xff\xff\xff" + strings.Repeat("x", 64),
		} {
			r := c.dialRaw("n2", "n1")
			go r.net.Write([]byte(text)) // a pipe takes nothing that is not read
			if _, _, err := r.readSmall(&r.buf); err == nil {
				t.Errorf("%s was answered", name)
			}
			r.close(errClosed)
		}
		c.start("n2")
		c.propose(0, "after")
		c.agree(0)
	})
}

// What does not belong among replies ends the connection of whoever asks.
func TestMalformedRepliesEndTheConnection(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		c := newTestNet(t, 0)
		h, _ := c.bareHost("n1")
		defer h.Close()
		l := newLink(h, &peer{node: "n2", conns: make(map[*conn]struct{})}, channelControl, time.Second)
		for name, f := range map[string]head{
			"pong with a payload": {typ: framePong, size: 1},
			"a request":           {typ: frameVote, size: 1},
			"unknown type":        {typ: 99, size: 1},
		} {
			near, far := net.Pipe()
			go far.Write(append(appendHead(nil, f), 0))
			if err := l.readReplies(newConn(near)); !errors.Is(err, errFrame) {
				t.Errorf("%s: %v", name, err)
			}
			near.Close()
			far.Close()
		}
	})
}

// A connection that never says hello must not stay.
func TestSilentConnectionsAreDropped(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		c := newTestNet(t, 0)
		c.start("n1")
		defer c.stop("n1")
		r := c.dialRaw("n2", "n1")
		start := time.Now()
		if _, _, err := r.readSmall(&r.buf); err == nil || time.Since(start) != handshakeTimeout {
			t.Errorf("%v after %v", err, time.Since(start))
		}
		r.close(errClosed)
		// One that said hello and then nothing more goes too.
		r = c.rawConn("n2", "n1", channelControl)
		start = time.Now()
		if _, _, err := r.readSmall(&r.buf); err == nil || time.Since(start) > 2*testTimeout {
			t.Errorf("%v after %v", err, time.Since(start))
		}
		r.close(errClosed)
	})
}

// Too many connections that have not said hello are turned away, the others not.
func TestUnfinishedHandshakesAreBounded(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		c := newTestNet(t, 0)
		c.start("n1")
		defer c.stop("n1")
		var open []*rawConn
		for range greetingConns {
			open = append(open, c.dialRaw("n2", "n1"))
		}
		synctest.Wait()
		r := c.dialRaw("n2", "n1")
		if _, _, err := r.readSmall(&r.buf); err == nil {
			t.Error("one connection too many is served")
		}
		r.close(errClosed)
		for _, r := range open {
			r.close(errClosed)
		}
		synctest.Wait()
		c.rawConn("n2", "n1", channelControl).close(errClosed)
	})
}

// plainConn hides PeerNode.
type plainConn struct{ net.Conn }

func TestConnectionsMustBeAuthenticated(t *testing.T) {
	if _, err := peerNode(plainConn{}); err == nil {
		t.Error("a connection without an identity was accepted")
	}
	inBubble(t, func(t *testing.T) {
		c := newTestNet(t, 0)
		c.tune = func(o *Options) {
			o.PeerName = func(net.Conn) (string, error) { return "", fmt.Errorf("bad certificate") }
		}
		c.start("n1")
		defer c.stop("n1")
		r := c.dialRaw("n2", "n1")
		if _, err := r.greet(helloOf("n2", "n1", channelControl)); err == nil {
			t.Error("a connection that failed to authenticate was welcomed")
		}
		r.close(errClosed)
	})
}
