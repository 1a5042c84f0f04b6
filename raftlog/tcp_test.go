package raftlog

import (
	"context"
	"fmt"
	"testing"
	"time"
)

// The same over real sockets and TLS, in real time: the preferred leader needs no timeout to pass.
func TestClusterOverTLS(t *testing.T) {
	logs := make(map[[2]int]*memLog)
	all := tcpCluster(t, 2, maxEntriesPerAppend, func(node, group int) Log {
		l := &memLog{}
		logs[[2]int{node, group}] = l
		return l
	}, true)
	for g := range 2 {
		lead := leaderOf(all, g)
		var ps []*Proposal
		for i := range 20 {
			ps = append(ps, lead.Propose(append(make([]byte, 200<<10), fmt.Sprint(i)...)))
		}
		for _, p := range ps {
			if _, _, _, err := p.Wait(context.Background()); err != nil {
				t.Fatal(err)
			}
		}
		last := lead.Status().Last
		for node, gs := range all {
			for gs[g].Status().Last != last {
				time.Sleep(time.Millisecond)
			}
			e, err := logs[[2]int{node, g}].Entry(last)
			if err != nil || len(e.Data) != 200<<10+2 || string(e.Data[200<<10:]) != "19" {
				t.Errorf("node %d, group %d: entry %d has %d bytes, %v", node, g, last, len(e.Data), err)
			}
		}
	}
}
