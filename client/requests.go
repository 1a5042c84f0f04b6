package client

// requests are the requests of a connection that wait for their answers. Each has a slot, by the low bits of its number:
// numbers are given out in turn, so that the next free one is nearly always the next one.
type requests struct {
	slots []underWay // a power of two of them, at most half taken
	taken int
	last  uint32 // the number that was given out last
}

type underWay struct {
	request uint32
	bytes   int
	waiter  waiter // nil: the slot is free
}

const leastSlots = 16

// next gives out a number whose slot is free. It is for one goroutine, which calls put before it calls next again, unless
// nobody waits for that request.
func (r *requests) next() uint32 {
	if 2*r.taken >= len(r.slots) {
		r.grow()
	}
	for r.last++; r.last == 0 || r.slot(r.last).waiter != nil; r.last++ {
	}
	return r.last
}

// grow doubles the slots. What does not meet in few slots does not meet in many.
func (r *requests) grow() {
	before := r.slots
	r.slots = make([]underWay, max(leastSlots, 2*len(before)))
	for _, u := range before {
		if u.waiter != nil {
			*r.slot(u.request) = u
		}
	}
}

func (r *requests) slot(request uint32) *underWay { return &r.slots[int(request)&(len(r.slots)-1)] }

// put notes who waits for the answer to a request.
func (r *requests) put(request uint32, w waiter, bytes int) {
	*r.slot(request) = underWay{request, bytes, w}
	r.taken++
}

// find returns the slot of a request that waits, nil if it does not.
func (r *requests) find(request uint32) *underWay {
	if r.taken == 0 {
		return nil
	}
	if u := r.slot(request); u.waiter != nil && u.request == request {
		return u
	}
	return nil
}

func (r *requests) remove(u *underWay) {
	*u = underWay{}
	r.taken--
}

// all returns who waits.
func (r *requests) all() []waiter {
	waiting := make([]waiter, 0, r.taken)
	for i := range r.slots {
		if w := r.slots[i].waiter; w != nil {
			waiting = append(waiting, w)
		}
	}
	return waiting
}
