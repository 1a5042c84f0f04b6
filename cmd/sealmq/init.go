package main

import (
	"encoding/hex"
	"fmt"
	"net"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/sealmq/sealmq/broker"
	"github.com/sealmq/sealmq/internal/local"
	"github.com/sealmq/sealmq/internal/pki"
)

const initHelp = `Makes the files of a new cluster: three certificate authorities, and for each node a configuration,
a root key, certificates and a formatted data directory; and the identity admin, an operator, with a
context.

With --nodes N all nodes are on this machine. With --member, given once for each node, each is on a
host of its own: copy DIR/nodes/NAME there and run "sealmq server --config config.toml". A member's
address is where clients reach it; the other nodes reach it on the next port. DIR/ca holds the keys
that can make anybody: keep it off the nodes.`

func newInit(a *app) *cobra.Command {
	var o local.Options
	var members []string
	c := &cobra.Command{
		Use: "init --out DIR", Short: "Make the keys, certificates, configurations and data directories of a new cluster",
		Long: initHelp, Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) (err error) {
			if o.Dir == "" {
				return usage("say where: --out DIR")
			}
			if len(members) > 0 && (cmd.Flags().Changed("nodes") || cmd.Flags().Changed("port")) {
				return usage("--member says where each node is: leave --nodes and --port out")
			}
			if o.Groups < 1 { // to the package it would mean the default
				return usage("--groups %d: a cluster has 1 to %d", o.Groups, broker.MaxGroups)
			}
			if o.Members, err = parseMemberFlags(members); err != nil {
				return err
			}
			o.Version = buildVersion().Version
			cluster, err := provision(o, "out")
			if err != nil {
				return err
			}
			if err := makeLocalIdentity(cluster.Dir, admin.name, admin.role); err != nil {
				return err
			}
			context := local.ContextFile(cluster.Dir)
			if err := saveContext(context, filepath.Base(cluster.Dir), admin.name, cluster); err != nil {
				return err
			}
			return a.out.document(describeInit(cluster, context))
		},
	}
	c.Flags().StringVar(&o.Dir, "out", "", "`DIR` to make")
	c.Flags().IntVar(&o.Nodes, "nodes", 3, "how many nodes, all on this machine")
	c.Flags().IntVar(&o.Port, "port", local.BasePort, "client port of n1, further nodes +10; 0 picks free ports")
	c.Flags().StringArrayVar(&members, "member", nil,
		"`NAME=HOST:PORT` of a node on a host of its own; repeat it for each node")
	c.Flags().IntVar(&o.Groups, "groups", 4, fmt.Sprintf("mail groups, 1 to %d, fixed from now on", broker.MaxGroups))
	return c
}

// parseMemberFlags reads n1=host:port.
func parseMemberFlags(flags []string) ([]broker.Member, error) {
	var members []broker.Member
	for _, f := range flags {
		node, address, ok := strings.Cut(f, "=")
		host, port, err := net.SplitHostPort(address)
		n, bad := strconv.ParseUint(port, 10, 16)
		if !ok || err != nil || bad != nil || host == "" || n == 0 || n == 1<<16-1 {
			return nil, usage("--member %s: it is NAME=HOST:PORT", f)
		}
		if err := pki.CheckID(node); err != nil {
			return nil, usage("--member %s: the name %v", f, err)
		}
		peer := net.JoinHostPort(host, strconv.FormatUint(n+1, 10))
		for _, m := range members {
			switch {
			case m.Node == node || m.Client == address:
				return nil, usage("--member %s: the name or address stands there twice", f)
			case m.Peer == address || m.Client == peer:
				return nil, usage("--member %s: too near to %s of %s: the port after a member's own is for the other nodes",
					f, m.Client, m.Node)
			}
		}
		members = append(members, broker.Member{Node: node, Client: address, Peer: peer})
	}
	return members, nil
}

type initDoc struct {
	Kind    string     `json:"kind"`
	Cluster string     `json:"cluster"`
	Data    string     `json:"data"`
	Context string     `json:"context"`
	Nodes   []initNode `json:"nodes"`
}

type initNode struct {
	Node   string `json:"node"`
	Client string `json:"client"`
	Peer   string `json:"peer"`
	Config string `json:"config"`
}

func describeInit(c *local.Cluster, context string) initDoc {
	id := c.Nodes[0].Options.Cluster
	d := initDoc{Kind: "Init", Cluster: hex.EncodeToString(id[:]), Data: c.Dir, Context: context}
	for _, m := range c.Nodes[0].Options.Members {
		config := filepath.Join(local.NodeDir(c.Dir, m.Node), "config.toml")
		d.Nodes = append(d.Nodes, initNode{m.Node, m.Client, m.Peer, config})
	}
	return d
}

func (d initDoc) render(p *page) {
	p.line("cluster %s in %s", d.Cluster, d.Data)
	rows := make([][]string, len(d.Nodes))
	for i, n := range d.Nodes {
		rows[i] = []string{n.Node, n.Client, n.Peer, fmt.Sprintf("sealmq server --config %s", n.Config)}
	}
	p.table([]string{"NODE", "CLIENTS", "PEERS", "START IT WITH"}, rows)
	p.line("then:  sealmq --context %s status", d.Context)
}
