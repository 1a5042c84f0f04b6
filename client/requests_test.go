package client

import (
	"math/rand/v2"
	"testing"
)

// Requests wait for as long as they like beside others that come and go, over the end of the numbers, too.
func TestRequests(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	r := requests{last: ^uint32(0) - 500}
	if r.find(7) != nil || len(r.all()) != 0 {
		t.Fatal("something waits")
	}
	waiting := map[uint32]waiter{}
	for i := range 20_000 {
		if len(waiting) == 0 || random.IntN(len(waiting)+200) < 150 {
			n, w := r.next(), &batch{}
			if n == 0 || waiting[n] != nil {
				t.Fatalf("number %d is not free", n)
			}
			r.put(n, w, i)
			waiting[n] = w
		}
		for n, w := range waiting { // one at random
			u := r.find(n)
			if u == nil || u.waiter != w {
				t.Fatalf("request %d: %v", n, u)
			}
			if n%97 != 0 && random.IntN(2) == 0 {
				r.remove(u)
				delete(waiting, n)
				if r.find(n) != nil {
					t.Fatalf("request %d waits again", n)
				}
			}
			break
		}
		if r.taken != len(waiting) || 2*r.taken > len(r.slots)+1 {
			t.Fatalf("%d of %d slots for %d requests", r.taken, len(r.slots), len(waiting))
		}
		if i%1000 == 0 && len(r.all()) != len(waiting) {
			t.Fatalf("%d wait, not %d", len(r.all()), len(waiting))
		}
	}
	if len(waiting) < 20 {
		t.Errorf("only %d requests waited at the end", len(waiting))
	}
	for n := range uint32(2000) {
		if u := r.find(n); (u != nil) != (waiting[n] != nil) {
			t.Errorf("request %d: %v", n, u)
		}
	}
}
