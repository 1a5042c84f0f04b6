package broker

import (
	"container/heap"
	"sync"
)

// holds is the leader's memory of when mailboxes of one group may give something back: a lease whose time runs out, a
// message that was put off. It has at most one deadline for each mailbox, the earliest; whoever takes it looks at the
// mailbox's rows for what is really due and pushes the next one. So a deadline that was given up early costs one look,
// and memory goes with the mailboxes that hold something and not with their messages.
type holds struct {
	mu      sync.Mutex
	heap    holdHeap
	nearest map[[16]byte]int64
}

// hold is a place in the heap. It counts only while nearest agrees.
type hold struct {
	dueMillis int64
	mailbox   [16]byte
}

func newHolds() *holds { return &holds{nearest: map[[16]byte]int64{}} }

// push notes that something of the mailbox comes free at dueMillis.
func (h *holds) push(mailbox [16]byte, dueMillis int64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if known, held := h.nearest[mailbox]; held && known <= dueMillis {
		return
	}
	h.nearest[mailbox] = dueMillis
	heap.Push(&h.heap, hold{dueMillis, mailbox})
}

// due takes at most limit mailboxes whose deadline is at or before nowMillis.
func (h *holds) due(nowMillis int64, limit int) (mailboxes [][16]byte) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for len(h.heap) > 0 && h.heap[0].dueMillis <= nowMillis && len(mailboxes) < limit {
		x := heap.Pop(&h.heap).(hold)
		if h.nearest[x.mailbox] == x.dueMillis {
			delete(h.nearest, x.mailbox)
			mailboxes = append(mailboxes, x.mailbox)
		}
	}
	return mailboxes
}

// clear forgets everything, at the end of a leadership.
func (h *holds) clear() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.heap = nil
	clear(h.nearest)
}

// holdHeap orders holds by deadline, for container/heap.
type holdHeap []hold

func (h holdHeap) Len() int           { return len(h) }
func (h holdHeap) Less(i, j int) bool { return h[i].dueMillis < h[j].dueMillis }
func (h holdHeap) Swap(i, j int)      { h[i], h[j] = h[j], h[i] }
func (h *holdHeap) Push(x any)        { *h = append(*h, x.(hold)) }
func (h *holdHeap) Pop() any {
	old := *h
	x := old[len(old)-1]
	*h = old[:len(old)-1]
	return x
}
