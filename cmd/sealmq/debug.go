package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/sealmq/sealmq/internal/atrest"
	"github.com/sealmq/sealmq/raftlog/journal"
	"github.com/sealmq/sealmq/wire"
)

const debugHelp = `Tools that look into a node's files without changing them. They need the node's configuration,
because its root key opens them. What they show are structures, numbers and lengths; bodies are
sealed by their senders and stay so.`

func newDebug(a *app) *cobra.Command {
	c := group("debug", "Look into files, offline and read-only", newDebugJournal(a), newDebugPebble(a), newDebugFrame(a))
	c.Long = debugHelp
	return c
}

// nodeFiles is a data directory opened to be looked at.
type nodeFiles struct {
	data  string
	rings *atrest.Rings
}

// openNodeFiles reads the key ring of the node that a configuration describes.
func openNodeFiles(file string) (*nodeFiles, error) {
	if file == "" {
		return nil, usage("say which node: --config FILE")
	}
	c, err := loadConfig(file, os.Environ(), nil)
	if err != nil {
		return nil, err
	}
	data := c.path("data")
	root, err := atrest.KeyFileRoot(c.path("root_key"))
	if err != nil {
		return nil, &failure{exit: exitLocked, code: "no_key", message: err.Error(), err: err}
	}
	sealed, err := os.ReadFile(filepath.Join(data, "RINGS"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, notThere("`sealmq init` makes data directories", "%s is no data directory", data)
	}
	if err != nil {
		return nil, err
	}
	rings, err := atrest.OpenRings(sealed, root)
	if errors.Is(err, atrest.ErrWrongKey) {
		return nil, &failure{exit: exitLocked, code: "no_key", message: err.Error(), err: err}
	}
	if err != nil {
		return nil, &failure{exit: exitIntegrity, code: "data", message: err.Error(), err: err}
	}
	return &nodeFiles{data, rings}, nil
}

// storeOf is the id of the store that a directory's files belong to, which every sealed file says in clear. Whether it
// is true shows when one is opened.
func storeOf(dir string) (id atrest.StoreID, err error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return id, err
	}
	for _, e := range entries {
		f, err := os.Open(filepath.Join(dir, e.Name()))
		if err != nil {
			return id, err
		}
		front := make([]byte, atrest.HeaderSize)
		_, err = io.ReadFull(f, front)
		f.Close()
		if err != nil {
			continue
		}
		if h, err := atrest.ParseHeader(front); err == nil {
			return h.Store, nil
		}
	}
	return id, notThere("", "no sealed file in %s", dir)
}

func newDebugJournal(a *app) *cobra.Command {
	var file string
	c := &cobra.Command{
		Use: "journal --config FILE", Short: "List what a node's journal holds, record by record", Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			n, err := openNodeFiles(file)
			if err != nil {
				return err
			}
			dir := filepath.Join(n.data, "journal")
			store, err := storeOf(dir)
			if err != nil {
				return err
			}
			o := journal.Options{Dir: dir, Ring: n.rings.Ring(atrest.RingJournal), Store: store}
			return journal.Walk(o, func(i journal.Item) error { return a.out.document(journalItemDoc{"JournalItem", i}) })
		},
	}
	c.Flags().StringVar(&file, "config", "", "the node's configuration `FILE`")
	return c
}

type journalItemDoc struct {
	Kind string `json:"kind"`
	item journal.Item
}

// MarshalJSON writes identifiers as strings, as every document does.
func (d journalItemDoc) MarshalJSON() ([]byte, error) {
	i := d.item
	return marshal(struct {
		Kind   string `json:"kind"`
		File   string `json:"file"`
		Offset int64  `json:"offset"`
		What   string `json:"what"`
		Group  uint16 `json:"group"`
		Index  uint64 `json:"index,string"`
		Term   uint64 `json:"term,string"`
		Bytes  int    `json:"bytes"`
		Note   string `json:"note,omitempty"`
	}{d.Kind, i.File, i.Offset, i.What, i.Group, i.Index, i.Term, i.Bytes, i.Note}), nil
}

func (d journalItemDoc) render(p *page) {
	i := d.item
	line := fmt.Sprintf("%s %9d %-9s", i.File, i.Offset, i.What)
	if i.Index != 0 || i.Term != 0 {
		line += fmt.Sprintf(" group %d index %d term %d", i.Group, i.Index, i.Term)
	}
	if i.Candidate != "" {
		line += fmt.Sprintf(" vote %d for %s", i.VoteTerm, i.Candidate)
	}
	if i.Bytes != 0 {
		line += " " + strconv.Itoa(i.Bytes) + " B"
	}
	if i.Note != "" {
		line += "  " + i.Note
	}
	p.line("%s", line)
}

func newDebugFrame(a *app) *cobra.Command {
	return &cobra.Command{
		Use: "frame [FILE]", Short: "List the protocol frames in a file, or on stdin, as one side of a connection sent them",
		Args: cobra.MaximumNArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			in := a.stdin
			if len(args) == 1 {
				f, err := os.Open(args[0])
				if err != nil {
					return err
				}
				defer f.Close()
				in = f
			}
			r := wire.NewFrameReader(in)
			r.SetLimit(wire.FrameBytes)
			for {
				t, request, payload, err := r.Next()
				if errors.Is(err, io.EOF) {
					return nil
				}
				if err != nil {
					return &failure{exit: exitIntegrity, code: "bad_frame", message: err.Error(), err: err}
				}
				if err := a.out.document(frameDoc{"Frame", t.String(), request, len(payload)}); err != nil {
					return err
				}
			}
		},
	}
}

type frameDoc struct {
	Kind    string `json:"kind"`
	Type    string `json:"type"`
	Request uint32 `json:"request"`
	Bytes   int    `json:"bytes"`
}

func (d frameDoc) render(p *page) { p.line("%-22s request %-8d %d B", d.Type, d.Request, d.Bytes) }
