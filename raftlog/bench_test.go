package raftlog

import (
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/sealmq/sealmq/internal/atrest"
	"github.com/sealmq/sealmq/raftlog/journal"
)

// benchLog is a Log that keeps the last entries and pays for each byte what sealing costs.
type benchLog struct {
	memLog
	seal    cipher.AEAD
	scratch []byte
}

func newBenchLog(seal bool) *benchLog {
	l := &benchLog{}
	if seal {
		block, _ := aes.NewCipher(make([]byte, 32))
		l.seal, _ = cipher.NewGCM(block)
	}
	return l
}

func (l *benchLog) Append(entries []journal.Entry) error {
	const chunk, kept = 32 << 10, 64
	if l.seal != nil {
		var nonce [12]byte
		for _, e := range entries {
			for off := 0; off < len(e.Data); off += chunk {
				l.scratch = l.seal.Seal(l.scratch[:0], nonce[:], e.Data[off:min(off+chunk, len(e.Data))], nil)
			}
		}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.cut(entries[0].Index)
	l.entries = append(l.entries, entries...)
	if n := len(l.entries); n > 2*kept {
		l.entries = append(l.entries[:0:0], l.entries[n-kept:]...)
	}
	return nil
}

// benchMachine keeps nothing.
type benchMachine struct{ memMachine }

func (m *benchMachine) Apply(entries []Entry, config *Applied) []any { return nil }

// tcpCluster starts three hosts on loopback TCP. The dialling side says its name first.
func tcpCluster(tb testing.TB, groups int, perAppend int, log func(node, group int) Log, secure bool) [][]*Group {
	serverTLS, clientTLS := benchTLS(tb)
	var members []Member
	var listeners []net.Listener
	preferred := make(map[uint16]string)
	for i, name := range testNodes {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		must(tb, err)
		listeners = append(listeners, l)
		members = append(members, Member{Node: name, Address: l.Addr().String(), Voter: true})
		preferred[uint16(i)] = name
	}
	var all [][]*Group
	for i, name := range testNodes {
		logs := make([]Log, groups)
		for g := range logs {
			logs[g] = log(i, g)
		}
		h, err := NewHost(Options{
			Cluster: testCluster, Node: name, Members: members, Preferred: preferred,
			Log:      func(g uint16) Log { return logs[g] },
			Listener: benchListener{listeners[i], serverTLS, secure}, PeerName: readName,
			Dial: func(ctx context.Context, _, address string) (net.Conn, error) {
				var d net.Dialer
				c, err := d.DialContext(ctx, "tcp", address)
				if err != nil {
					return nil, err
				}
				if secure {
					c = tls.Client(c, clientTLS)
				}
				_, err = c.Write(append([]byte{byte(len(name))}, name...))
				return c, err
			},
			Timeout: 2 * time.Second,
		})
		must(tb, err)
		h.entriesPerAppend = perAppend
		tb.Cleanup(func() { h.Close() })
		var gs []*Group
		for g := range groups {
			group, err := h.Start(uint16(g), &benchMachine{}, nil)
			must(tb, err)
			gs = append(gs, group)
		}
		all = append(all, gs)
	}
	return all
}

type benchListener struct {
	net.Listener
	config *tls.Config
	secure bool
}

func (l benchListener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err == nil && l.secure {
		c = tls.Server(c, l.config)
	}
	return c, err
}

func readName(c net.Conn) (string, error) {
	var b [16]byte
	if _, err := io.ReadFull(c, b[:1]); err != nil {
		return "", err
	}
	if b[0] > 15 {
		return "", errors.New("name too long")
	}
	_, err := io.ReadFull(c, b[1:1+b[0]])
	return string(b[1 : 1+b[0]]), err
}

func benchTLS(tb testing.TB) (server, client *tls.Config) {
	_, key, err := ed25519.GenerateKey(rand.Reader)
	must(tb, err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), DNSNames: []string{"n"}, NotAfter: time.Now().Add(time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	must(tb, err)
	cert, err := x509.ParseCertificate(der)
	must(tb, err)
	roots := x509.NewCertPool()
	roots.AddCert(cert)
	own := tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
	server = &tls.Config{Certificates: []tls.Certificate{own}, MinVersion: tls.VersionTLS13}
	return server, &tls.Config{RootCAs: roots, ServerName: "n", MinVersion: tls.VersionTLS13}
}

// leaderOf waits for a group's leader.
func leaderOf(all [][]*Group, g int) *Group {
	for {
		for _, gs := range all {
			if gs[g].State().Leading {
				return gs[g]
			}
		}
		time.Sleep(time.Millisecond)
	}
}

// BenchmarkPropose commits entries on three nodes in one process, over loopback TCP, with logs in memory. One
// iteration is one entry.
func BenchmarkPropose(b *testing.B) {
	for _, bb := range []struct {
		kib, groups, perAppend int
		seal, secure           bool
	}{
		{64, 1, 8, false, false}, {256, 1, 8, false, false}, {512, 1, 8, false, false},
		{256, 1, 16, false, false}, {256, 1, 32, false, false}, {256, 1, 64, false, false},
		{64, 1, 16, false, false}, {64, 1, 32, false, false}, {64, 1, 64, false, false},
		{64, 1, 8, true, true}, {256, 1, 8, true, true}, {512, 1, 8, true, true},
		{256, 3, 8, false, false}, {256, 3, 8, true, true}, {1, 1, 8, false, false}, {1, 1, 64, false, false},
	} {
		name := fmt.Sprintf("entry=%dKiB/groups=%d/append=%d/seal=%v/tls=%v",
			bb.kib, bb.groups, bb.perAppend, bb.seal, bb.secure)
		b.Run(name, func(b *testing.B) {
			all := tcpCluster(b, bb.groups, bb.perAppend, func(int, int) Log { return newBenchLog(bb.seal) }, bb.secure)
			benchPropose(b, all, bb.groups, bb.kib)
		})
	}
}

// benchPropose spreads b.N entries over the groups.
func benchPropose(b *testing.B, all [][]*Group, groups, kib int) {
	var leaders []*Group
	for g := range groups {
		leaders = append(leaders, leaderOf(all, g))
	}
	b.SetBytes(int64(kib) << 10)
	b.ReportAllocs()
	b.ResetTimer()
	start := time.Now()
	var wg sync.WaitGroup
	for g, lead := range leaders {
		n := b.N / groups
		if g == 0 {
			n += b.N % groups
		}
		wg.Go(func() { proposeAll(b, lead, n, kib<<10) })
	}
	wg.Wait()
	b.ReportMetric(float64(b.N)*float64(kib)/time.Since(start).Seconds(), "KiB-messages/s")
}

// proposeAll keeps 16 entries in flight.
func proposeAll(tb testing.TB, g *Group, n, size int) {
	var flight []*Proposal
	wait := func() {
		if _, _, _, err := flight[0].Wait(context.Background()); err != nil {
			tb.Error(err)
		}
		flight = flight[1:]
	}
	for range n {
		if len(flight) == 16 {
			wait()
		}
		data := make([]byte, size) // as the broker does: an entry belongs to the cache afterwards
		flight = append(flight, g.Propose(data))
	}
	for len(flight) > 0 {
		wait()
	}
}

// BenchmarkProposeJournal is the same on the real journal: three of them on one disk, with its fsyncs, and TLS.
func BenchmarkProposeJournal(b *testing.B) {
	for _, kib := range []int{64, 256, 512} {
		for _, groups := range []int{1, 3} {
			b.Run(fmt.Sprintf("entry=%dKiB/groups=%d", kib, groups), func(b *testing.B) {
				rings, err := atrest.NewRings(plainRoot{})
				must(b, err)
				var journals []*journal.Journal
				for range testNodes {
					o := journal.Options{Dir: b.TempDir(), Ring: rings.Ring(atrest.RingJournal), Store: atrest.StoreID{1}}
					must(b, journal.Create(o))
					j, err := journal.Open(o)
					must(b, err)
					b.Cleanup(func() { j.Close() })
					journals = append(journals, j)
				}
				log := func(node, group int) Log { return journals[node].Group(uint16(group)) }
				benchPropose(b, tcpCluster(b, groups, maxEntriesPerAppend, log, true), groups, kib)
			})
		}
	}
}
