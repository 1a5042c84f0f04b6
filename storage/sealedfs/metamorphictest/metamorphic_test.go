// Package metamorphictest runs Pebble's own metamorphic test over sealed files: the same random operations under
// several random configurations, with power cuts in between, must give the same answers. One run of each round stays on
// plain files, so sealed and plain stores are compared as well.
package metamorphictest

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/metamorphic"

	"github.com/sealmq/sealmq/internal/atrest"
	"github.com/sealmq/sealmq/internal/testkit"
	"github.com/sealmq/sealmq/storage/sealedfs"
)

var firstSeed = flag.Uint64("metamorphic-seed", 0, "seed of the first round, 0 for a random one")

const (
	runsPerRound = 6
	maxOps       = 5000
)

func TestMetamorphic(t *testing.T) {
	if testing.Short() {
		t.Skip("takes a minute")
	}
	deadline := time.Now().Add(45 * time.Second)
	if testkit.Long(t) {
		deadline = time.Now().Add(time.Hour)
	}
	seed := *firstSeed
	if seed == 0 {
		seed = rand.Uint64()
	}
	rounds := 0
	for ; rounds == 0 || time.Now().Before(deadline) && !t.Failed(); rounds++ {
		t.Run(fmt.Sprintf("seed %d", seed), func(t *testing.T) { round(t, seed) })
		seed++
	}
	t.Logf("%d rounds of %d runs", rounds, runsPerRound)
}

func round(t *testing.T, seed uint64) {
	rng := rand.New(rand.NewPCG(0, seed))
	keys := metamorphic.TestkeysKeyFormat
	ops := metamorphic.GenerateOps(rng, 1+rng.Uint64N(maxOps), keys, metamorphic.DefaultOpConfig())
	var histories []string
	for run := range runsPerRound {
		opts := metamorphic.RandomOptions(rng, keys, metamorphic.RandomOptionsCfg{
			AlwaysStrictFS:  run%2 == 1, // half of the runs lose power
			NoRemoteStorage: true,       // its cache opens files for reading and writing, which sealed ones refuse
		})
		if run > 0 {
			opts.CustomOpts = append(opts.CustomOpts, newSealed(t, uint8(9+rng.IntN(8))))
		}
		path := filepath.Join(t.TempDir(), fmt.Sprintf("history-%d", run))
		execute(t, ops, opts, path)
		histories = append(histories, path)
		if t.Failed() {
			return
		}
	}
	if run, diff := metamorphic.CompareHistories(t, histories); run != 0 {
		t.Errorf("seed %d: run %d answers other than the plain one:\n%s", seed, run, diff)
	}
}

func execute(t *testing.T, ops metamorphic.Ops, opts *metamorphic.TestOptions, historyPath string) {
	history, err := os.Create(historyPath)
	if err != nil {
		t.Fatal(err)
	}
	defer history.Close()
	if cache := opts.Opts.Cache; cache != nil {
		defer cache.Unref()
	}
	test, err := metamorphic.New(ops, opts, filepath.Join(t.TempDir(), "data"), history)
	if err == nil {
		err = metamorphic.Execute(test)
	}
	if err != nil {
		t.Errorf("%s: %v", filepath.Base(historyPath), err)
	}
}

// sealed is the option of a run that puts a sealed file system over the one that the run was given. Pebble's test asks
// for it again after each power cut, when it has a new one.
type sealed struct {
	ring      *atrest.Ring
	store     atrest.StoreID
	chunkLog2 uint8
}

func newSealed(t *testing.T, chunkLog2 uint8) sealed {
	path := filepath.Join(t.TempDir(), "root.key")
	if err := atrest.NewKeyFile(path); err != nil {
		t.Fatal(err)
	}
	root, err := atrest.KeyFileRoot(path)
	if err != nil {
		t.Fatal(err)
	}
	rings, err := atrest.NewRings(root)
	if err != nil {
		t.Fatal(err)
	}
	return sealed{rings.Ring(atrest.RingMessages), atrest.NewStoreID(atrest.StoreState), chunkLog2}
}

func (sealed) Name() string { return "sealed" }

func (s sealed) Value() string { return fmt.Sprint(s.chunkLog2) }

func (s sealed) Open(opts *pebble.Options) error {
	opts.FS = sealedfs.New(opts.FS, s.ring, s.store, sealedfs.Options{ChunkLog2: s.chunkLog2})
	if opts.WALFailover != nil {
		opts.WALFailover.Secondary.FS = opts.FS
	}
	return nil
}

func (sealed) Close(*pebble.Options) error { return nil }
