package machine

import (
	"errors"
	"slices"
	"sort"

	"github.com/sealmq/sealmq/storage"
)

// dedupWindowMillis is the length of a window of remembered ids. Two are alive: an id is remembered for at least one
// and less than two of them after it was last sent.
const dedupWindowMillis = 10 * minuteMillis

func dedupWindow(now int64) uint32 { return uint32(now / dedupWindowMillis) }

type producerID struct {
	sender   [16]byte
	producer [8]byte
}

const (
	// maxInlineProducers is how many producers stand in the state row of their mailbox, each with at most
	// maxInlineRuns runs of counters.
	maxInlineProducers = 4
	maxInlineRuns      = 8
)

// producer is a producer in memory, under the window in which it last sent.
type producer struct {
	id      producerID
	mailbox uint64
	window  uint32
	own     bool // has a row of its own, and keeps having it until it was silent for too long
	dirty   bool // and that differs
	storage.Producer
}

// producer returns what is remembered of a producer, nothing if it was silent for too long.
func (m *Mail) producer(mb *mailbox, id producerID) *producer {
	if i := mb.inlineIndex(id); i >= 0 {
		p := &mb.inline[i]
		m.refresh(p)
		return p
	}
	p := mb.producers[id]
	if p != nil {
		m.refresh(p)
		return p
	}
	p = &producer{id: id, mailbox: mb.row.Number, window: m.window}
	for window := m.window; ; window-- {
		err := m.reader.Producer(window, mb.row.Number, id.sender, id.producer, &p.Producer)
		if err == nil {
			p.window, p.own = window, true
			break
		}
		if !errors.Is(err, storage.ErrNotFound) {
			m.failed(err)
			break
		}
		if window != m.window || window == 0 {
			break
		}
	}
	return p
}

// refresh forgets a producer that was silent for too long.
func (m *Mail) refresh(p *producer) {
	if p.window+1 < m.window {
		p.Floor, p.Runs, p.own = 0, p.Runs[:0], false
	}
}

// inlineIndex returns where a producer stands among those of the state row, -1 if it does not.
func (mb *mailbox) inlineIndex(id producerID) int {
	for i := range mb.inline {
		if mb.inline[i].id == id {
			return i
		}
	}
	return -1
}

// sent notes that a producer sent now, and decides where it stands: in the state row if there is room and it does not
// have a row of its own already, which would then say something older. p must not be used any more.
func (m *Mail) sent(mb *mailbox, p *producer) {
	p.window = m.window
	at := mb.inlineIndex(p.id)
	if mb.anySilent(m.window) {
		if at >= 0 {
			p = p.clone()
		}
		mb.inline = slices.DeleteFunc(mb.inline, func(q producer) bool { return q.window+1 < m.window })
		mb.stateDirty = true
		at = mb.inlineIndex(p.id)
	}
	if !p.own && len(p.Runs) <= maxInlineRuns && (at >= 0 || len(mb.inline) < maxInlineProducers) {
		if at < 0 {
			mb.inline = append(mb.inline, *p)
			delete(mb.producers, p.id)
		}
		mb.stateDirty = true
		return
	}
	if at >= 0 {
		p = p.clone()
		mb.inline = slices.Delete(mb.inline, at, at+1)
		mb.stateDirty = true
	}
	if mb.producers == nil {
		mb.producers = map[producerID]*producer{}
	}
	mb.producers[p.id] = p
	p.own = true
	if !p.dirty {
		p.dirty = true
		m.producers = append(m.producers, p)
	}
}

// anySilent reports whether a producer of the state row was silent for too long.
func (mb *mailbox) anySilent(window uint32) bool {
	for i := range mb.inline {
		if mb.inline[i].window+1 < window {
			return true
		}
	}
	return false
}

func (p *producer) clone() *producer { c := *p; return &c }

func (m *Mail) writeProducers() {
	for i, p := range m.producers {
		m.batch.PutProducer(p.window, p.mailbox, p.id.sender, p.id.producer, &p.Producer)
		p.dirty = false
		m.producers[i] = nil
	}
	m.producers = m.producers[:0]
}

// raise moves the floor to the lowest counter that the producer still waits for; it never goes back.
func (p *producer) raise(lowest uint64) {
	if lowest <= p.Floor {
		return
	}
	p.Floor = lowest
	n := 0
	for n < len(p.Runs) && p.Runs[n].Counter+p.Runs[n].Count <= lowest {
		n++
	}
	p.Runs = slices.Delete(p.Runs, 0, n)
	if len(p.Runs) > 0 && p.Runs[0].Counter < lowest {
		cut := lowest - p.Runs[0].Counter
		p.Runs[0] = storage.ProducerRun{
			Counter: lowest, Count: p.Runs[0].Count - cut, Seq: p.Runs[0].Seq + cut,
		}
	}
}

// find returns the number that a counter was stored under.
func (p *producer) find(counter uint64) (seq uint64, ok bool) {
	n := len(p.Runs)
	if n == 0 || p.Runs[n-1].Counter+p.Runs[n-1].Count <= counter {
		return 0, false
	}
	i := sort.Search(n, func(i int) bool { return p.Runs[i].Counter > counter }) - 1
	if i < 0 || counter-p.Runs[i].Counter >= p.Runs[i].Count {
		return 0, false
	}
	return p.Runs[i].Seq + (counter - p.Runs[i].Counter), true
}

// add remembers that a counter, which find does not find, was stored.
func (p *producer) add(counter, seq uint64) {
	i := len(p.Runs)
	if i > 0 && p.Runs[i-1].Counter > counter {
		i = sort.Search(i, func(i int) bool { return p.Runs[i].Counter > counter })
	}
	left := i > 0 && follows(p.Runs[i-1], counter, seq)
	right := i < len(p.Runs) && follows(storage.ProducerRun{Counter: counter, Count: 1, Seq: seq},
		p.Runs[i].Counter, p.Runs[i].Seq)
	switch {
	case left && right:
		p.Runs[i-1].Count += 1 + p.Runs[i].Count
		p.Runs = slices.Delete(p.Runs, i, i+1)
	case left:
		p.Runs[i-1].Count++
	case right:
		p.Runs[i] = storage.ProducerRun{Counter: counter, Count: p.Runs[i].Count + 1, Seq: seq}
	case i == len(p.Runs):
		p.Runs = append(p.Runs, storage.ProducerRun{Counter: counter, Count: 1, Seq: seq})
	default:
		p.Runs = slices.Insert(p.Runs, i, storage.ProducerRun{Counter: counter, Count: 1, Seq: seq})
	}
}

// full reports whether one more run might be too many.
func (p *producer) full() bool { return len(p.Runs) >= MaxProducerRuns }

func follows(r storage.ProducerRun, counter, seq uint64) bool {
	return r.Counter+r.Count == counter && r.Seq+r.Count == seq
}

// beginWindow moves on to a window. The one before stays, if it is the one before.
func (m *Mail) beginWindow(window uint32) {
	if window == m.window+1 {
		m.filters[1] = m.filters[0]
	} else {
		m.filters[1].begin(window-1, true) // nothing was stored in it
	}
	m.filters[0].begin(window, true)
	m.window = window
}
