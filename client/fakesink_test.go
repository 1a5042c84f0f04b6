package client

import "github.com/sealmq/sealmq/wire"

// serveSink answers sends as fast as it can, without keeping anything: what is measured is the client, with TLS on both
// sides.
func (f *fakeCluster) serveSink(c *fakeConn, frames *wire.FrameReader) {
	var m wire.Send
	var reply wire.SendReply
	var out []byte
	seq := uint64(1)
	for {
		t, request, payload, err := frames.Next()
		if err != nil {
			return
		}
		if t != wire.TypeSend {
			decoded, err := wire.Decode(t, append([]byte(nil), payload...))
			if err != nil || !c.handle(request, decoded) {
				return
			}
			continue
		}
		if m.Decode(payload) != nil {
			return
		}
		reply.Runs = append(reply.Runs[:0], wire.SendRun{Count: uint32(len(m.Items)), Seq: seq})
		seq += uint64(len(m.Items))
		out = wire.AppendFrame(out[:0], request, &reply)
		c.mu.Lock()
		c.out = append(c.out, out...)
		c.mu.Unlock()
		select {
		case c.wake <- struct{}{}:
		default:
		}
	}
}
