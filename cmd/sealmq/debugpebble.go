package main

import (
	"path/filepath"
	"slices"
	"strings"

	"github.com/cockroachdb/pebble/v2/tool"
	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/spf13/cobra"

	"github.com/sealmq/sealmq/internal/atrest"
	"github.com/sealmq/sealmq/storage/sealedfs"
)

const debugPebbleHelp = `Runs one of Pebble's own tools on a store of a node that is stopped. The word STORE
stands for the store's directory. Tools that write are refused.`

// readingTools are Pebble's tools that change nothing.
var readingTools = []string{
	"db check", "db lsm", "db properties", "db scan", "db space", "db get",
	"manifest dump", "manifest summarize", "manifest check",
	"sstable check", "sstable layout", "sstable properties", "sstable scan", "sstable space",
	"lsm", "find",
}

func newDebugPebble(a *app) *cobra.Command {
	var file, store string
	c := &cobra.Command{
		Use: "pebble --config FILE [--store NAME] TOOL...", Short: "Run a tool of Pebble's on a store", Long: debugPebbleHelp,
		Example: "  sealmq debug pebble --config config.toml --store state db properties STORE",
		Args:    cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			kind, known := map[string]atrest.RingKind{
				"state": atrest.RingMessages, "bodies": atrest.RingMessages, "keys": atrest.RingKeys,
			}[store]
			if !known {
				return usage("--store %s: the stores are state, bodies and keys", store)
			}
			line := strings.Join(args, " ") + " "
			if !slices.ContainsFunc(readingTools, func(t string) bool { return strings.HasPrefix(line, t+" ") }) {
				return usage("the tools that only read are: %s", strings.Join(readingTools, ", "))
			}
			n, err := openNodeFiles(file)
			if err != nil {
				return err
			}
			dir := filepath.Join(n.data, store)
			id, err := storeOf(dir)
			if err != nil {
				return err
			}
			t := tool.New(tool.FS(sealedfs.New(vfs.Default, n.rings.Ring(kind), id, sealedfs.Options{})))
			root := &cobra.Command{Use: "sealmq debug pebble", SilenceUsage: true, SilenceErrors: true}
			root.AddCommand(t.Commands...)
			for i := range args {
				if args[i] == "STORE" {
					args[i] = dir
				}
			}
			root.SetArgs(args)
			root.SetOut(a.out.stdout)
			root.SetErr(a.out.stderr)
			return root.ExecuteContext(cmd.Context())
		},
	}
	c.Flags().StringVar(&file, "config", "", "the node's configuration `FILE`")
	c.Flags().SetInterspersed(false) // flags behind the tool are its own
	c.Flags().StringVar(&store, "store", "state", "`NAME` of the store: state, bodies or keys")
	return c
}
