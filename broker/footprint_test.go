package broker_test

import (
	"fmt"
	"os"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sealmq/sealmq/internal/testkit"
	"github.com/sealmq/sealmq/wire"
)

// TestMailboxFootprint: an idle mailbox is rows. It costs no goroutine, and little memory, on the node that leads its
// group and on the others. Three nodes share this process, so what it holds is divided by three.
//
//	go test ./broker -run MailboxFootprint -v -long
func TestMailboxFootprint(t *testing.T) {
	counts := []int{3_000}
	if testkit.Long(t) {
		counts = []int{10_000, 100_000}
	}
	for _, count := range counts {
		c := startCluster(t, 3, 4, nil)
		c.grant(t, "maker", wire.ActionManage, "many.>")
		conns := map[uint16]*testConn{}
		for i := 0; len(conns) < 4; i++ {
			name := fmt.Sprint("many.", i)
			if g := c.groupOf(name); conns[g] == nil {
				conns[g] = c.leading(t, "maker", name)
			}
		}
		before := measure()
		began := time.Now()
		batches := map[uint16][]wire.MailboxNew{}
		for i := range count {
			name := fmt.Sprint("many.", i)
			g := c.groupOf(name)
			batches[g] = append(batches[g], wire.MailboxNew{Name: name, ID: random16()})
		}
		for g, items := range batches {
			for part := range slices.Chunk(items, wire.CreateItems) {
				reply := expect[*wire.MailboxCreateReply](t, conns[g].call(&wire.MailboxCreate{Items: part}))
				for i, item := range reply.Items {
					if item.Code != wire.CodeOK {
						t.Fatalf("%s: %v", part[i].Name, item.Code)
					}
				}
			}
		}
		took := time.Since(began)
		clear(batches)
		after := measure()
		heap := (after.heap - before.heap) / 3 / int64(count)
		t.Logf("%d mailboxes made in %v; each takes on a node: heap %d bytes, resident %d bytes", count,
			took.Round(time.Millisecond), heap, (after.resident-before.resident)/3/int64(count))
		if heap > 4<<10 {
			t.Errorf("an idle mailbox takes %d bytes of heap", heap)
		}
		if n := after.goroutines - before.goroutines; n > 50 {
			t.Errorf("%d mailboxes have brought %d goroutines", count, n)
		}
		if err := c.stop(); err != nil {
			t.Error(err)
		}
	}
}

type footprint struct {
	heap, resident int64
	goroutines     int
}

func measure() (f footprint) {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	f.heap, f.goroutines = int64(m.HeapInuse), runtime.NumGoroutine()
	if b, err := os.ReadFile("/proc/self/statm"); err == nil {
		var size, pages int64
		fmt.Sscan(strings.TrimSpace(string(b)), &size, &pages)
		f.resident = pages * int64(os.Getpagesize())
	}
	return f
}
