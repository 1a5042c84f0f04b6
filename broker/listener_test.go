package broker

import (
	"crypto/tls"
	"errors"
	"net"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"
)

// TestStrangersMakeRoom: who has taken its time makes room for who comes, and who comes too early is refused.
func TestStrangersMakeRoom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := &Broker{o: Options{Connections: 1}, outboxes: &budget{}}
		l := newListener(b, nil, nil)
		var conns []*conn
		come := func() error {
			ours, _ := net.Pipe()
			c := newConn(b, ours, &tls.Config{})
			conns = append(conns, c)
			_, err := l.enter(c)
			return err
		}
		for i := range strangers {
			if err := come(); err != nil {
				t.Fatalf("the %dth: %v", i, err)
			}
		}
		if err := come(); !errors.Is(err, errCrowded) {
			t.Errorf("one too many: %v", err)
		}
		time.Sleep(patienceTime + 1)
		if err := come(); err != nil {
			t.Errorf("later: %v", err)
		}
		select {
		case <-conns[0].gone:
		default:
			t.Error("the first was not cut")
		}
		select {
		case <-conns[1].gone:
			t.Error("the second was cut as well")
		default:
		}
		place := l.strangers.Front().Next()
		if err := l.admit(conns[2], place); err != nil || l.count() != 1 || l.strangers.Len() != strangers-1 {
			t.Errorf("admitted: %v; %d clients, %d strangers", err, l.count(), l.strangers.Len())
		}
		if err := l.admit(conns[3], l.strangers.Back()); !errors.Is(err, errOccupied) {
			t.Errorf("above the number of clients: %v", err)
		}
		l.remove(conns[2], place)
		l.remove(conns[0], place) // twice does nothing
		if l.count() != 0 || l.strangers.Len() != strangers-1 {
			t.Errorf("%d clients, %d strangers", l.count(), l.strangers.Len())
		}
	})
}

func TestWithin(t *testing.T) {
	dir := t.TempDir()
	t.Chdir(dir)
	for _, x := range []struct {
		file, dir string
		want      bool
	}{
		{"data/root.key", "data", true}, {filepath.Join(dir, "data/root.key"), "data", true},
		{"data/root.key", filepath.Join(dir, "data"), true}, {"data/../data/x/root.key", "./data/", true}, {"data",
			"data", true},
		{"root.key", "data", false}, {"data2/root.key", "data", false}, {"data/../root.key", "data", false},
		{"/root.key", "data", false},
	} {
		if got := within(x.file, x.dir); got != x.want {
			t.Errorf("%s in %s: %v", x.file, x.dir, got)
		}
	}
}
