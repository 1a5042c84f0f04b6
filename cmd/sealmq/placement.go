package main

import (
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/sealmq/sealmq/internal/local"
)

// placement is the processor of each process of a benchmark, by the process's name.
type placement map[string]int

// place keeps the client, which is this process, and the nodes each on one processor, where processors are so few that
// all get several processes, and as many (docs/decisions/0014). On other machines, and where the system does not let a
// process choose, they run anywhere.
func place(c *local.Cluster) (placement, error) {
	free, err := processors()
	if err != nil {
		return nil, nil
	}
	names, pids := []string{"client"}, c.PIDs()
	for _, n := range c.Nodes {
		names = append(names, n.Name)
	}
	p := shareOut(free, names)
	if p == nil || stayOn(os.Getpid(), p["client"]) != nil {
		return nil, nil
	}
	for _, node := range names[1:] {
		if err := stayOn(pids[node], p[node]); err != nil {
			return nil, fmt.Errorf("keeping %s on processor %d: %w", node, p[node], err)
		}
	}
	return p, nil
}

// shareOut gives every processor as many neighbours of the list. Where that cannot be, or is one for each, nil.
func shareOut(processors []int, names []string) placement {
	if len(processors) >= len(names) || len(names)%len(processors) != 0 {
		return nil
	}
	p := placement{}
	for i, name := range names {
		p[name] = processors[i*len(processors)/len(names)]
	}
	return p
}

// String names the processes of one processor together, as "client, n1 | n2, n3".
func (p placement) String() string {
	on := map[int][]string{}
	for name, processor := range p {
		on[processor] = append(on[processor], name)
	}
	var groups []string
	for _, names := range on {
		slices.Sort(names)
		groups = append(groups, strings.Join(names, ", "))
	}
	slices.Sort(groups)
	return strings.Join(groups, " | ")
}
