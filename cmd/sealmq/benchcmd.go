package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/sealmq/sealmq/bench"
	"github.com/sealmq/sealmq/client"
	"github.com/sealmq/sealmq/internal/local"
)

const benchHelp = `Without --context it starts nodes of its own as processes in a temporary directory and ends them
afterwards; with it, it drives that cluster, and leaves its mailboxes there.

Where client and nodes outnumber the processors and share out evenly over them, each is kept on one
processor, and the result says which.

Everything is on: TLS, at-rest encryption, sealed bodies, fsync by a quorum before the
acknowledgement. Latency runs from handing a message to the client to its acknowledgement. Beside
the figures stands how long fdatasync took on this disk in the same minute, and how long the
processor waited for memory.`

func newBench(a *app) *cobra.Command {
	c := group("bench", "Measure a cluster", newBenchSend(a))
	c.Long = benchHelp
	return c
}

func newBenchSend(a *app) *cobra.Command {
	b := &benchRun{app: a}
	c := &cobra.Command{
		Use: "send", Short: "Durable sends", Args: cobra.NoArgs,
		Long: "Every sender keeps its number of messages in flight, to mailboxes chosen uniformly.\n\n" + benchHelp,
		RunE: func(cmd *cobra.Command, _ []string) error { return b.run(cmd.Context(), bench.Send) },
	}
	f := c.Flags()
	f.IntVar(&b.o.Size, "size", 1024, "bytes of a body")
	f.IntVar(&b.o.Senders, "senders", 4, "senders, each with a connection of its own")
	f.IntVar(&b.o.InFlight, "inflight", 500, "unanswered messages of each sender")
	f.IntVar(&b.o.Mailboxes, "mailboxes", 0, "mailboxes (as many as senders unless set)")
	f.BoolVar(&b.o.Keyed, "keyed", false, "ids from application keys instead of counters")
	f.DurationVar(&b.o.Duration, "duration", 10*time.Second, "of one run")
	f.DurationVar(&b.o.Warmup, "warmup", 3*time.Second, "load before the first run")
	f.IntVar(&b.o.Runs, "runs", 3, "runs, without a pause between them")
	f.Uint64Var(&b.o.Seed, "seed", 1, "of bodies and choices")
	f.IntVar(&b.nodes, "nodes", 3, "nodes to start, without --context")
	f.StringVar(&b.dir, "dir", "", "`DIR` for the temporary directory of the nodes (else the system's)")
	return c
}

// benchRun is one benchmark with its cluster.
type benchRun struct {
	*app
	o     bench.Options
	nodes int
	dir   string
}

type workload func(context.Context, bench.Target, bench.Options) (*bench.Report, error)

func (b *benchRun) run(ctx context.Context, w workload) (err error) {
	ctx, stop := untilSignal(ctx)
	defer stop()
	b.o.Progress = b.out.step
	if err := b.o.Check(); err != nil {
		return usage("%v", err)
	}
	if err := scheduleAsBatch(); err != nil { // with everything that it starts, so that all are treated alike
		b.out.say("the system does not let this be scheduled as a batch process: %v", err)
	}
	keys, err := memoryDir()
	if err != nil {
		return err
	}
	defer os.RemoveAll(keys)
	target := &bench.SealMQ{Keys: keys}
	name, disk, nodes := "own", "", b.nodes
	var placed placement
	if b.context != "" {
		file, err := b.loadContext()
		if err != nil {
			return err
		}
		name, disk, nodes = file.Name, os.TempDir(), len(file.Nodes)
		target.Connect = client.FromContext(b.context).As(b.as)
		b.out.say("driving the cluster of %s; its mailboxes bench.* stay there", b.context)
	} else {
		tree, err := os.MkdirTemp(b.dir, "sealmq-bench-*")
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, os.RemoveAll(tree)) }()
		home, err := b.start(ctx, filepath.Join(tree, "cluster"))
		if err != nil {
			return err
		}
		defer home.Close()
		disk = tree
		target.Connect = client.FromContext(home.context)
		if placed, err = place(home.Cluster); err != nil {
			return err
		}
		b.o.Usage = func() (bench.Usage, error) { return usageOf(home.Cluster) }
		if _, err := b.o.Usage(); errors.Is(err, errors.ErrUnsupported) {
			b.o.Usage = nil
		}
	}
	report, err := w(ctx, target, b.o)
	if err != nil {
		return err
	}
	fdatasync, err := bench.FdatasyncP50(disk)
	if err != nil {
		return err
	}
	report.Target, report.Version = "sealmq", buildVersion().Version
	report.Settings.Cluster, report.Settings.Nodes, report.Settings.Placement = name, nodes, placed
	report.Machine.FdatasyncP50US = float64(fdatasync.Nanoseconds()) / 1000
	report.Machine.MemoryReadNS = float64(bench.MemoryRead().Nanoseconds())
	return b.out.document(benchDoc{report})
}

// memoryDir makes a temporary directory, in memory where the system has a place for that.
func memoryDir() (string, error) {
	dir, err := os.MkdirTemp("/dev/shm", "sealmq-bench-*")
	if err != nil {
		dir, err = os.MkdirTemp("", "sealmq-bench-*")
	}
	return dir, err
}

// start runs a cluster of processes with one service that owns what it sends to.
func (b *benchRun) start(ctx context.Context, tree string) (*inhabited, error) {
	binary, err := os.Executable()
	if err != nil {
		return nil, err
	}
	b.out.step("starting %d nodes", b.nodes)
	cluster, err := provision(local.Options{Dir: tree, Nodes: b.nodes}, "dir")
	if err != nil {
		return nil, err
	}
	cluster.Binary = binary
	home, err := inhabit(ctx, cluster, "bench", []service{
		{name: "bench", role: local.Service, grants: []right{{"manage", "bench"}, {"manage", "bench.>"}}},
	})
	if err != nil {
		cluster.Close()
	}
	return home, err
}

func usageOf(c *local.Cluster) (bench.Usage, error) {
	var pids []int
	for _, pid := range c.PIDs() {
		pids = append(pids, pid)
	}
	var dirs []string
	for _, n := range c.Nodes {
		dirs = append(dirs, n.Options.DataDir)
	}
	return bench.UsageOf(pids, dirs)
}

// benchDoc shows a report to people.
type benchDoc struct{ *bench.Report }

func (d benchDoc) render(p *page) {
	s, m := d.Settings, d.Machine
	p.line("%s, %s: %d B bodies, %d senders with %d in flight each, %s mailboxes, %s ids", d.Workload, d.Target, s.Size,
		s.Senders, s.InFlight, humanCount(int64(s.Mailboxes)), s.IDs)
	cluster := fmt.Sprintf("%d nodes as processes of their own", s.Nodes)
	if s.Cluster != "own" {
		cluster = "the cluster of context " + s.Cluster
	}
	if s.Placement != nil {
		cluster += ", each kept on one processor (" + placement(s.Placement).String() + "),"
	}
	p.line("%s on %s", cluster, strings.TrimSpace(fmt.Sprintf("%d cores  %s", m.Cores, m.CPU)))
	rows := make([][]string, len(d.Runs))
	for i, r := range d.Runs {
		us := func(v int64) string { return fmt.Sprintf("%.1f", float64(v)/1000) }
		rows[i] = []string{
			fmt.Sprint(i + 1), humanCount(int64(r.PerSec)), us(r.LatencyUS.P50), us(r.LatencyUS.P99), us(r.LatencyUS.P999),
			us(r.LatencyUS.Max), fmt.Sprint(r.Errors),
			measured("%.1f", r.ClientCPUPerMillion), measured("%.1f", r.NodesCPUPerMillion),
			measured("%.2f", r.DiskBytesPerPayloadByte), humanBytes(r.RSSBytes), fmt.Sprintf("%.1f", r.AllocsPerMessage),
			measured("%.0f %%", 100*r.OthersCPUShare),
		}
	}
	p.table([]string{"RUN", "MSG/S", "P50 MS", "P99", "P99.9", "MAX", "ERRORS",
		"CLIENT CPU S/M", "NODES CPU S/M", "DISK B/B", "RSS", "ALLOCS", "OTHERS' CPU"}, rows)
	p.line("median %s msg/s (%s to %s); fdatasync p50 %.0f us in the same minute, a read of far memory %.0f ns",
		humanCount(int64(d.PerSecMedian)), humanCount(int64(d.PerSecMin)), humanCount(int64(d.PerSecMax)), m.FdatasyncP50US,
		m.MemoryReadNS)
}

// measured is a figure, or a dash for one that nobody measured.
func measured(format string, v float64) string {
	if v == 0 {
		return "-"
	}
	return fmt.Sprintf(format, v)
}
