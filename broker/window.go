package broker

import (
	"sync"

	"github.com/sealmq/sealmq/wire"
)

// sessionWindow remembers which session headers a connection has brought to its client: the last wire.SessionWindow
// of them, in the order in which they were brought. The client keeps the same window, so a header travels once.
type sessionWindow struct {
	mu    sync.Mutex
	known map[[16]byte]struct{}
	order [][16]byte // a ring once it is full
	next  int
}

// knows reports whether the client was brought the header of the session.
func (w *sessionWindow) knows(session [16]byte) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	_, known := w.known[session]
	return known
}

// broughtWith notes the headers that a delivery brings, once it is on its way.
func (w *sessionWindow) broughtWith(m *wire.Deliver) {
	for i := range m.Sessions {
		if len(m.Sessions[i].Init) > 0 {
			w.brought(m.Sessions[i].ID)
		}
	}
}

// brought notes that the client gets the header of the session now.
func (w *sessionWindow) brought(session [16]byte) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if _, known := w.known[session]; known {
		return
	}
	if w.known == nil {
		w.known = make(map[[16]byte]struct{})
	}
	if len(w.order) < wire.SessionWindow {
		w.order = append(w.order, session)
	} else {
		delete(w.known, w.order[w.next])
		w.order[w.next] = session
		w.next = (w.next + 1) % wire.SessionWindow
	}
	w.known[session] = struct{}{}
}

// clear lets every header be brought again: the client says that one is missing.
func (w *sessionWindow) clear() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.known, w.order, w.next = nil, nil, 0
}
