package main

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"github.com/sealmq/sealmq/internal/local"
)

const demoHelp = `Starts three nodes as processes in a temporary directory. One service sends every file in DIR,
sealed, to another; in the middle of it the node that leads is killed and comes back. The receiver
checks the sender, the order and the SHA-256 of every file. Then everything that the nodes have on
disk is searched for what was sent: the contents of files, the names of mailboxes and services; raw,
in hexadecimal and in base64.`

func newDemo(a *app) *cobra.Command {
	d := &demo{app: a, kill: true}
	c := &cobra.Command{
		Use: "demo DIR", Short: "Watch the main job: every file in DIR through three nodes, one of them killed",
		Long: demoHelp, Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error { return d.run(cmd.Context(), args[0]) },
	}
	c.Flags().BoolVar(&d.keep, "keep", false, "leave the temporary directory, and say where it is")
	return c
}

// demo is one showing.
type demo struct {
	*app
	keep bool
	kill bool // whether the leader is killed on the way

	home     *inhabited
	sender   string
	receiver string
	mailbox  string // of the receiver
	parcels  []parcel
	ledger   *ledger
	scanner  *scanner
	doc      demoDoc
}

// demoDoc is what comes out. Every count below Bytes must be zero.
type demoDoc struct {
	Kind          string  `json:"kind"`
	OK            bool    `json:"ok"`
	Files         int     `json:"files"`
	Messages      int     `json:"messages"`
	Bytes         int64   `json:"bytes"`
	FailoverMS    float64 `json:"failover_ms"`
	Lost          int     `json:"lost"`
	Duplicates    int     `json:"duplicates"`
	OutOfOrder    int     `json:"out_of_order"`
	WrongSender   int     `json:"wrong_sender"`
	WrongHash     int     `json:"wrong_hash"`
	PlaintextHits int     `json:"plaintext_hits"`
	BytesScanned  int64   `json:"bytes_scanned"`

	killed   string
	tooLarge int
	took     time.Duration
}

func (d demoDoc) render(p *page) {
	killed := "no node"
	if d.killed != "" {
		killed = fmt.Sprintf("%s, the leader, while messages were under way; back before the last fifth", d.killed)
	}
	files := fmt.Sprintf("%s, and 4 generated bodies of 0, 1, limit-1 and limit bytes", humanCount(int64(d.Files)))
	if d.tooLarge > 0 {
		files += fmt.Sprintf("; %d above the limit left out", d.tooLarge)
	}
	verdict := "every message arrived once, unchanged, in order and from its sender; nothing readable on disk"
	if !d.OK {
		verdict = "NOT OK"
	}
	count := func(n int) string { return humanCount(int64(n)) }
	p.table(nil, [][]string{
		{"files", files},
		{"messages", count(d.Messages) + " sealed, " + humanBytes(d.Bytes)},
		{"killed", killed},
		{"failover", fmt.Sprintf("%.0f ms from the kill to the next acknowledged message", d.FailoverMS)},
		{"lost", count(d.Lost)},
		{"duplicates", count(d.Duplicates)},
		{"out of order", count(d.OutOfOrder)},
		{"wrong sender", count(d.WrongSender)},
		{"wrong SHA-256", count(d.WrongHash)},
		{"plaintext found", fmt.Sprintf("%d times in %s on the nodes' disks", d.PlaintextHits, humanBytes(d.BytesScanned))},
		{"verdict", fmt.Sprintf("%s (%.1f s)", verdict, d.took.Seconds())},
	})
}

func (d *demo) run(ctx context.Context, dir string) (err error) {
	ctx, stop := untilSignal(ctx)
	defer stop()
	began := time.Now()
	d.doc.Kind = "Demo"
	if d.parcels, d.doc.tooLarge, err = parcels(dir); err != nil {
		return fmt.Errorf("looking into %s: %w", dir, err)
	}
	tree, err := os.MkdirTemp("", "sealmq-demo-*")
	if err != nil {
		return err
	}
	if d.keep {
		defer d.out.say("kept in %s", tree)
	} else {
		defer func() { err = errors.Join(err, os.RemoveAll(tree)) }()
	}
	cluster, err := d.provision(filepath.Join(tree, "cluster"))
	if err != nil {
		return err
	}
	defer cluster.Close()
	if err := d.show(ctx, cluster); err != nil {
		return err
	}
	d.doc.took = time.Since(began)
	if err := d.out.document(d.doc); err != nil {
		return err
	}
	if !d.doc.OK {
		exit := exitFailure
		if d.doc.WrongHash+d.doc.WrongSender+d.doc.PlaintextHits > 0 {
			exit = exitIntegrity
		}
		return &failure{exit: exit, code: "demo_failed", message: "the demo found what must not be; the table says what",
			hint: "run it again with --keep and look at the nodes' logs"}
	}
	return nil
}

func (d *demo) provision(tree string) (*local.Cluster, error) {
	binary, err := os.Executable()
	if err != nil {
		return nil, err
	}
	d.out.step("making three nodes")
	cluster, err := local.Provision(local.Options{Dir: tree, Nodes: 3})
	if err != nil {
		return nil, err
	}
	cluster.Binary = binary
	return cluster, nil
}

// show is the demo itself, on a cluster that is not started yet.
func (d *demo) show(ctx context.Context, cluster *local.Cluster) error {
	// Names that no disk holds by chance: they are searched for, too.
	d.sender, d.receiver = "quartz-"+randomHex(8), "basalt-"+randomHex(8)
	d.mailbox = d.receiver
	d.ledger, d.scanner = newLedger(d.sender), newScanner()
	d.scanner.plant("name of the sending service", []byte(d.sender))
	d.scanner.plant("name of the receiving service and its mailbox", []byte(d.receiver))
	d.out.step("starting three nodes")
	var err error
	d.home, err = inhabit(ctx, cluster, "demo", []service{
		{name: d.receiver, role: local.Service, mailbox: true, grants: []right{{"manage", d.mailbox}}},
		{name: d.sender, role: local.Service, grants: []right{{"send,stat", d.mailbox}}},
	})
	if err != nil {
		return err
	}
	if err := d.traffic(ctx); err != nil {
		return err
	}
	d.out.step("stopping the nodes")
	limited, cancel := context.WithTimeout(ctx, stopWithin+time.Second)
	defer cancel()
	if err := cluster.Stop(limited); err != nil {
		return err
	}
	if err := d.scan(); err != nil {
		return err
	}
	d.ledger.compare(&d.doc)
	c := &d.doc
	c.Files = len(d.parcels) - 4
	c.OK = c.Messages > 0 && c.Lost+c.Duplicates+c.OutOfOrder+c.WrongSender+c.WrongHash+c.PlaintextHits == 0
	return nil
}

// scan searches everything that the nodes keep and say.
func (d *demo) scan() error {
	var roots []string
	for _, n := range d.home.Nodes {
		roots = append(roots, n.Options.DataDir, n.LogFile())
	}
	d.out.step("searching the nodes' disks")
	hits, scanned, err := d.scanner.trees(roots...)
	for i, h := range hits {
		if i == 10 {
			d.out.say("and %d more", len(hits)-i)
			break
		}
		d.out.say("found %s in %s at byte %d", h.what, h.file, h.offset)
	}
	d.doc.PlaintextHits, d.doc.BytesScanned = len(hits), scanned
	return err
}

func randomHex(n int) string {
	b := make([]byte, n)
	rand.Read(b)
	return hex.EncodeToString(b)
}
