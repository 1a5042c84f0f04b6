package machine

import "sync/atomic"

// What commands do to messages is pending in memory for some runs, and then written at once: a mailbox whose messages
// come one by one costs a state row for all of them, and not for each. It changes no row that is ever written, because
// it is as if the runs were one, and how entries are cut into runs makes no difference. A crash loses nothing: the log
// has what the stores lack, and the applied index is written with what it stands for. Only who reads the stores would
// read what is older; [Mail.WriteOut] comes before.

const (
	// maxPendingMailboxes and maxPendingRows bound how long writing what is pending takes: a state row for each mailbox,
	// and rows that wait already. maxPendingMessages bounds what it takes in memory.
	maxPendingMailboxes = 4 << 10
	maxPendingRows      = 32 << 10
	maxPendingMessages  = 64 << 10

	// A machine with little memory has fewer rows wait: all of them, at so many bytes each, are as much as its cache.
	leastPendingRows = 1 << 10
	pendingRowBytes  = 256
)

func pendingRows(cacheBytes int) int {
	return max(leastPendingRows, min(maxPendingRows, cacheBytes/pendingRowBytes))
}

// pending is what there is to write.
type pending struct {
	any      atomic.Bool
	seen     bool // rows among it are read without asking: they are written at once
	messages int  // roughly
}

// note is told of every command before it is applied.
func (p *pending) note(kind Kind) {
	switch kind {
	case KindSend, KindLease, KindAck, KindNack, KindExtend, KindRelease, KindExpire, KindTick:
		p.messages++
	default:
		p.seen = true
	}
}

func (p *pending) reset() { p.any.Store(false); p.seen, p.messages = false, 0 }

func (m *Mail) mayHold() bool {
	may := !m.pending.seen && m.pending.messages < maxPendingMessages && len(m.touched) < maxPendingMailboxes &&
		m.batch.Len()+len(m.keyed.rows) < pendingRows(m.cache.limit)
	m.pending.any.Store(may)
	return may
}

// WriteOut writes what is pending: after it, readers of the stores see all that was applied before. It may be called
// from any goroutine. An error is one of Apply.
func (m *Mail) WriteOut() error {
	if !m.pending.any.Load() {
		return nil
	}
	m.turn.Lock()
	defer m.turn.Unlock()
	return m.writeOut(m)
}
