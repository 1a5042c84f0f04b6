package client

import (
	"context"
	"fmt"
	"slices"
	"sync/atomic"
	"testing"

	"github.com/sealmq/sealmq/wire"
)

func TestMailboxesInBulk(t *testing.T) {
	f := newFake(t, 3)
	bob := f.client(t, "bob")
	ctx := context.Background()
	const n = 3000
	var names []string
	for i := range n {
		names = append(names, fmt.Sprintf("bulk.%05d", i))
	}
	names = append(names, "NOT A NAME")
	results, err := bob.CreateMailboxes(ctx, names)
	if err != nil || len(results) != len(names) {
		t.Fatalf("%d results, %v", len(results), err)
	}
	for i, r := range results {
		if bad := i == n; r.Name != names[i] || (r.Err != nil) != bad || bad && !isCode(r.Err, CodeBadRequest) {
			t.Fatalf("%s: %v", r.Name, r.Err)
		}
	}
	if again, err := bob.CreateMailboxes(ctx, names[:2]); err != nil || !isCode(again[0].Err, CodeExists) {
		t.Errorf("%v, %v", again, err)
	}
	mustCreate(t, bob, "another")
	var listed []string
	after := ""
	for {
		page, next, err := bob.ListMailboxes(ctx, "bulk.", after, 700)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range page {
			listed = append(listed, m.Name)
		}
		if after = next; next == "" {
			break
		}
	}
	if !slices.Equal(listed, names[:n]) {
		t.Errorf("%d of %d are listed, or not in order", len(listed), n)
	}
}

// Creating is tried again with the same ids: what an attempt made whose answer was lost is not a conflict.
func TestRepeatedAdministration(t *testing.T) {
	for _, what := range []fault{{before: true}, {after: true}} {
		f := newFake(t, 3)
		bob := f.client(t, "bob")
		ctx := context.Background()
		first := func(t wire.Type) { f.onRequest(nth(t, 1, what)) }
		first(wire.TypeMailboxCreate)
		m := mustCreate(t, bob, "box")
		if m.Owner != "bob" || m.RecordVersion != 1 || m.ID == [16]byte{} {
			t.Errorf("%+v", m)
		}
		first(wire.TypeKeyRecordPublish)
		if m := mustCreate(t, bob, "box2"); m.RecordVersion != 1 {
			t.Errorf("%+v", m)
		}
		if own, err := bob.OwnMailboxes(ctx); err != nil || !slices.Equal(own, []string{"box", "box2"}) {
			t.Errorf("%v, %v", own, err)
		}
		first(wire.TypeMailboxDelete)
		if err := bob.DeleteMailbox(ctx, "box"); err != nil {
			t.Error(err)
		}
		if err := bob.DeleteMailbox(ctx, "box"); !isCode(err, CodeNotFound) {
			t.Errorf("%v", err)
		}
		first(wire.TypeGrantAdd)
		g, late, err := bob.AddGrant(ctx, "alice", "send,stat", "team.>")
		if err != nil || len(late) != 0 || g.Subject != "alice" || !slices.Equal(g.Actions, []string{"send", "stat"}) {
			t.Errorf("%+v, %v", g, err)
		}
		if again, _, err := bob.AddGrant(ctx, "alice", "stat,send", "team.>"); err != nil || again.ID != g.ID {
			t.Errorf("%+v, %v", again, err)
		}
		if all, err := bob.ListGrants(ctx, ""); err != nil || len(all) != 1 {
			t.Errorf("%v, %v", all, err)
		}
		first(wire.TypeGrantRemove)
		id, err := ParseGrantID(g.ID.String())
		if err != nil {
			t.Fatal(err)
		}
		if _, err := bob.RemoveGrant(ctx, id); err != nil {
			t.Error(err)
		}
		if _, err := bob.RemoveGrant(ctx, id); !isCode(err, CodeNotFound) {
			t.Errorf("%v", err)
		}
	}
	for _, bad := range []string{"", "00", "zz00000000000000", "000000000000000000"} {
		if _, err := ParseGrantID(bad); err == nil {
			t.Errorf("%q is a grant id", bad)
		}
	}
}

func TestBadGrants(t *testing.T) {
	f := newFake(t, 1)
	bob := f.client(t, "bob")
	for _, g := range [][3]string{
		{"", "send", "box"}, {"a b", "send", "box"}, {"a", "fly", "box"}, {"a", "", "box"}, {"a", "send", "b*x"},
	} {
		if _, _, err := bob.AddGrant(context.Background(), g[0], g[1], g[2]); !isCode(err, CodeBadRequest) {
			t.Errorf("%q: %v", g, err)
		}
	}
}

func TestStatus(t *testing.T) {
	f := newFake(t, 3)
	bob := f.client(t, "bob")
	ctx := context.Background()
	s, err := bob.Status(ctx)
	if err != nil || s.Health != "ok" || s.CanLose != 1 || len(s.Nodes) != 3 || len(s.Groups) != 3 ||
		s.Cluster != bob.Cluster() {
		t.Fatalf("%+v, %v", s, err)
	}
	if g := s.Groups[1]; g.Leader != "n2" || g.Term != 3 || g.Commit != 12 || len(g.Applied) != 3 {
		t.Errorf("%+v", g)
	}
	f.setDown("n3", true)
	s, err = bob.Status(ctx)
	if err != nil || s.Health != "degraded" || s.CanLose != 0 || s.Nodes[2].State != "unreachable" ||
		s.Nodes[0].State != "ok" {
		t.Errorf("%+v, %v", s, err)
	}
}

func TestConcurrentUse(t *testing.T) {
	f := newFake(t, 3)
	alice, bob := pair(t, f)
	ctx := context.Background()
	var received atomic.Int32
	stop := subscribe(t, bob, func(context.Context, *Message) error { received.Add(1); return nil }, Concurrency(4))
	done := make(chan error, 8)
	for g := range cap(done) {
		go func() {
			done <- func() error {
				for i := range 30 {
					switch g % 4 {
					case 0:
						if _, err := alice.Send(ctx, "box", []byte("x")); err != nil {
							return err
						}
					case 1:
						if _, err := alice.ShowMailbox(ctx, "box"); err != nil {
							return err
						}
					case 2:
						if _, err := bob.CreateMailbox(ctx, fmt.Sprintf("m%d.%d", g, i), NoKeys()); err != nil {
							return err
						}
					case 3:
						if _, err := bob.Status(ctx); err != nil {
							return err
						}
					}
				}
				return nil
			}()
		}()
	}
	for range cap(done) {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
	waitFor(t, func() bool { return received.Load() == 60 })
	if err := stop(); err != nil {
		t.Error(err)
	}
}
