package main

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/sealmq/sealmq/client"
)

const statusHelp = `Shows whether the cluster can store messages and how many more nodes it can lose, then its nodes and
groups. Any node can answer. The exit code is 5 if a group has no leader.`

var errNoQuorum = &failure{
	exit: exitUnreachable, code: "no_quorum", again: true,
	message: "a group has no leader: it stores nothing until a majority of nodes is back",
	hint:    "look at the nodes that are not ok, and at their logs",
}

func newStatus(a *app) *cobra.Command {
	return &cobra.Command{
		Use: "status", Short: "Show the health of the cluster", Args: cobra.NoArgs, Long: statusHelp,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.with(cmd.Context(), func(ctx context.Context, c *client.Client) error {
				s, err := c.Status(ctx)
				if err != nil {
					return err
				}
				d := statusOf(s)
				if err := a.out.document(d); err != nil {
					return err
				}
				if d.Health == "no_quorum" {
					return errNoQuorum
				}
				return nil
			})
		},
	}
}

func statusOf(s *client.Status) statusDoc {
	d := statusDoc{
		Kind: "Status", Cluster: s.Cluster, Health: s.Health, CanLose: s.CanLose,
		Nodes: []statusNode{}, Groups: []statusGroup{},
	}
	for _, n := range s.Nodes {
		d.Nodes = append(d.Nodes, statusNode{Node: n.Node, Address: n.Address, State: n.State, Version: n.Version})
	}
	for _, g := range s.Groups {
		applied := map[string]index64{}
		for node, index := range g.Applied {
			applied[node] = index64(index)
		}
		d.Groups = append(d.Groups, statusGroup{int(g.Group), g.Leader, g.Term, g.Commit, applied})
	}
	return d
}
