package broker

import (
	"slices"
	"testing"
)

// fakeTaker asks for want messages when it is offered some.
type fakeTaker struct {
	name  string
	want  uint64
	round uint64
	asked *[]string
}

func (f *fakeTaker) offer(round uint64) uint64 {
	if f.round == round {
		return 0
	}
	f.round = round
	*f.asked = append(*f.asked, f.name)
	return f.want
}

func TestWakeTakesTurns(t *testing.T) {
	w := newWaitList[*fakeTaker]()
	box := [16]byte{1}
	var asked []string
	takers := map[string]*fakeTaker{}
	for _, name := range []string{"a", "b", "c"} {
		takers[name] = &fakeTaker{name: name, want: 1, asked: &asked}
		if !w.join(box, takers[name]) {
			t.Fatal("the list is closed")
		}
	}
	expect := func(what string, want ...string) {
		t.Helper()
		if !slices.Equal(asked, want) {
			t.Errorf("%s: asked were %v, not %v", what, asked, want)
		}
		asked = nil
	}
	w.wake(box, 1)
	expect("one message", "a")
	w.wake(box, 2)
	expect("two messages", "b", "c")
	w.wake(box, 10)
	expect("many messages", "c", "a", "b")
	takers["a"].want = 0 // no credit
	w.wake(box, 1)
	expect("the first has no credit", "a", "b")
	// What b could not take goes to those who were not asked, each once.
	w.pass(box, 1)
	expect("b could not take it", "c")
	w.pass(box, 1)
	expect("nobody is left")
	w.wake([16]byte{2}, 5)
	expect("another mailbox")
	w.leave(box, takers["b"])
	w.leave(box, takers["b"])
	w.wake(box, 10)
	expect("without b", "c", "a")
	w.on(box, func(f *fakeTaker) { asked = append(asked, f.name) })
	expect("all on the mailbox", "a", "c")
}

func TestWaitListClosed(t *testing.T) {
	w := newWaitList[*fakeTaker]()
	box := [16]byte{1}
	var asked []string
	f := &fakeTaker{name: "a", want: 1, asked: &asked}
	w.join(box, f)
	var ended []string
	w.close(func(f *fakeTaker) {
		ended = append(ended, f.name)
		w.leave(box, f) // as receivers do
	})
	if !slices.Equal(ended, []string{"a"}) || w.join(box, f) {
		t.Errorf("ended were %v; a closed list takes more", ended)
	}
	w.wake(box, 1)
	w.open()
	if !w.join(box, f) {
		t.Error("an open list takes nobody")
	}
	w.wake(box, 1)
	if !slices.Equal(asked, []string{"a"}) {
		t.Errorf("asked were %v", asked)
	}
	w.leave(box, f)
	if len(w.by) != 0 {
		t.Error("a mailbox that nobody waits on costs something")
	}
}
