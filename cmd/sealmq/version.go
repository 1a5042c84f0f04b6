package main

import (
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"

	"github.com/sealmq/sealmq/wire"
)

func newVersion(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "Print the version of this program",
		Args:  cobra.NoArgs,
		RunE:  func(*cobra.Command, []string) error { return a.out.document(buildVersion()) },
	}
}

// buildVersion is what the build knows of itself: a tagged version when installed as one, else the commit.
func buildVersion() versionDoc {
	d := versionDoc{Kind: "Version", Version: "devel", Commit: "unknown", Go: runtime.Version(), Protocol: wire.Version}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return d
	}
	if v := info.Main.Version; v != "" && v != "(devel)" {
		d.Version = v
	}
	for _, s := range info.Settings {
		switch {
		case s.Key == "vcs.revision":
			d.Commit = s.Value
		case s.Key == "vcs.modified" && s.Value == "true":
			defer func() { d.Commit += "+changes" }()
		}
	}
	return d
}
