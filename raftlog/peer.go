package raftlog

import "sync"

// peer is another node: the two links that this node dials to it, and every live connection with it, whoever dialled.
type peer struct {
	node          string
	control, bulk *link

	mu      sync.Mutex
	address string
	process [16]byte           // the process at the other end of conns
	conns   map[*conn]struct{} // none of them has been silent for long: their watches see to it
}

// claim takes a connection for the process at its other end. While connections with one process of a node live,
// another process under the same node id is refused: both would vote.
func (p *peer) claim(process [16]byte, c *conn) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if process != p.process && len(p.conns) > 0 {
		return errDuplicate
	}
	p.process = process
	p.conns[c] = struct{}{}
	return nil
}

// release forgets a connection that is dead. When a control connection went silent the host behind it is gone, and the
// other connections, which would take longer to notice, go with it: they would keep a restarted process out.
func (p *peer) release(c *conn, ch channel) {
	p.mu.Lock()
	delete(p.conns, c)
	var rest []*conn
	if ch == channelControl && c.cause == errSilent {
		for other := range p.conns {
			rest = append(rest, other)
		}
	}
	p.mu.Unlock()
	for _, other := range rest {
		other.close(errSilent)
	}
}

// link returns the link for AppendEntries with or without entries.
func (p *peer) link(ch channel) *link {
	if ch == channelBulk {
		return p.bulk
	}
	return p.control
}

func (p *peer) addressNow() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.address
}

// moveTo changes the address that the next dial goes to.
func (p *peer) moveTo(address string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.address = address
}
