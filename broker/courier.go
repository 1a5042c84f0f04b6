package broker

import "sync"

// courier fetches the messages of one connection's leases, one lease after another: bodies are read only while the
// client takes what was sent before, and session headers travel in the order in which they are noted as brought. What
// waits for it is addresses, not bodies. It is a goroutine only while there is something to bring.
type courier struct {
	mu      sync.Mutex
	waiting []parcel
	running bool
	closed  bool
	work    sync.WaitGroup
}

type parcel struct {
	to   *receiver
	what *catch
}

// carry takes what a lease brought for a receiver. It never blocks. It is false once the connection has ended.
func (k *courier) carry(to *receiver, what *catch) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.closed {
		return false
	}
	k.waiting = append(k.waiting, parcel{to, what})
	if !k.running {
		k.running = true
		k.work.Go(k.run)
	}
	return true
}

func (k *courier) run() {
	for {
		p, ok := k.next()
		if !ok {
			return
		}
		p.to.deliver(p.what)
	}
}

func (k *courier) next() (parcel, bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if len(k.waiting) == 0 {
		k.running, k.waiting = false, nil
		return parcel{}, false
	}
	p := k.waiting[0]
	k.waiting[0] = parcel{}
	k.waiting = k.waiting[1:]
	return p, true
}

// close waits until nothing is carried any more. The outbox is closed by then: what still waits is given back.
func (k *courier) close() {
	k.mu.Lock()
	k.closed = true
	k.mu.Unlock()
	k.work.Wait()
}
