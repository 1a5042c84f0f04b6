package main

import (
	"crypto/sha256"
	"slices"
	"sync"
)

// ledger is what the demo's sender and receiver wrote down, each for itself, and what comes out when they are compared.
// It counts what must not happen.
type ledger struct {
	mu       sync.Mutex
	sender   string // the only one who may have sent anything
	sent     []sentNote
	received []receivedNote
	settled  map[uint64]bool // numbers whose acknowledgement was confirmed
}

// sentNote is one acknowledged send. They are written down in the order of sending.
type sentNote struct {
	id     string
	seq    uint64
	digest [sha256.Size]byte
	size   int64
}

// receivedNote is one delivery.
type receivedNote struct {
	id     string
	seq    uint64
	sender string
	digest [sha256.Size]byte
	again  bool // of a message whose acknowledgement had been confirmed
}

func newLedger(sender string) *ledger { return &ledger{sender: sender, settled: map[uint64]bool{}} }

func (l *ledger) noteSent(n sentNote) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.sent = append(l.sent, n)
}

// noteReceived writes a delivery down, before it is acknowledged.
func (l *ledger) noteReceived(n receivedNote) {
	l.mu.Lock()
	defer l.mu.Unlock()
	n.again = l.settled[n.seq]
	l.received = append(l.received, n)
}

// noteAcked writes down that the receiver's acknowledgement was confirmed.
func (l *ledger) noteAcked(seqs ...uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, seq := range seqs {
		l.settled[seq] = true
	}
}

// settledAll reports whether everything that was sent has been received and acknowledged.
func (l *ledger) settledAll() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, s := range l.sent {
		if !l.settled[s.seq] {
			return false
		}
	}
	return true
}

// progress is how much was sent and how much of it is done with.
func (l *ledger) progress() (sent, settled int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.sent), len(l.settled)
}

// compare fills in what is wrong:
//
//	lost          acknowledged to the sender and never delivered
//	duplicates    delivered again after the receiver's acknowledgement was confirmed, or stored under two numbers
//	out of order  delivered for the first time after a higher number, or stored under a lower number than one that was
//	              sent before it
func (l *ledger) compare(d *demoDoc) {
	l.mu.Lock()
	defer l.mu.Unlock()
	byID := map[string][]receivedNote{}
	seen := map[uint64]bool{}
	var highest uint64
	for _, r := range l.received {
		if r.again {
			d.Duplicates++
		}
		if r.sender != l.sender {
			d.WrongSender++
		}
		if !seen[r.seq] {
			seen[r.seq] = true
			if r.seq < highest {
				d.OutOfOrder++
			}
			highest = max(highest, r.seq)
		}
		others := byID[r.id]
		if !slices.ContainsFunc(others, func(o receivedNote) bool { return o.seq == r.seq }) {
			d.Duplicates += min(1, len(others))
			byID[r.id] = append(others, r)
		}
	}
	highest = 0
	for _, s := range l.sent {
		d.Messages++
		d.Bytes += s.size
		if s.seq <= highest {
			d.OutOfOrder++
		}
		highest = max(highest, s.seq)
		copies := byID[s.id]
		if len(copies) == 0 {
			d.Lost++
			continue
		}
		for _, c := range copies {
			if c.digest != s.digest || c.seq != s.seq {
				d.WrongHash++
			}
		}
	}
}
