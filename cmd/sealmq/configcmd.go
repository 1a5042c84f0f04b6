package main

import (
	"os"

	"github.com/spf13/cobra"
)

func newConfig(a *app) *cobra.Command {
	return group("config", "Check and show a node's configuration", newConfigCheck(a), newConfigShow(a))
}

func newConfigCheck(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "check FILE",
		Short: "Say whether a node would start with this file; all that is wrong, by line",
		Args:  cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			c, err := loadConfig(args[0], os.Environ(), nil)
			if err == nil {
				err = c.check()
			}
			if err != nil {
				return wouldNotStart(err)
			}
			return a.out.document(configDoc{Kind: "Config", File: args[0], Notes: c.notes()})
		},
	}
}

func newConfigShow(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "show FILE",
		Short: "Show every setting and where its value comes from",
		Args:  cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			c, err := loadConfig(args[0], os.Environ(), nil)
			if err != nil {
				return wouldNotStart(err)
			}
			d := configDoc{Kind: "Config", File: args[0]}
			for _, k := range keys {
				s := c.settings[k.name]
				d.Items = append(d.Items, configItem{Key: k.name, Value: s.text, Origin: s.origin, Line: s.line})
			}
			return a.out.document(d)
		},
	}
}

// wouldNotStart says what to do about a configuration that was only looked at.
func wouldNotStart(err error) error {
	return advise(err, "a node would not start with this; mend what is named, and check again")
}
