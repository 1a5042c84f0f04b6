package local

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"strconv"
)

// Ports of nodes on one machine: a base for n1, further nodes in steps, and three listeners each.
const (
	BasePort   = 7420
	portStep   = 10
	peerOffset = 1
)

// PortError says which port is taken, and what it was wanted for.
type PortError struct {
	Port int
	What string // client, peer, operator
	Node string
}

func (e *PortError) Error() string {
	return fmt.Sprintf("port %d, the %s port of %s, is taken by another program", e.Port, e.What, e.Node)
}

// choosePorts returns the client port of each node; the peer's follows it.
func choosePorts(base, nodes int) ([]int, error) {
	if base == 0 {
		return freePorts(nodes)
	}
	if most := 1<<16 - 1 - portStep*(nodes-1) - peerOffset; base < 1 || base > most {
		return nil, &OptionError{"port", base, fmt.Sprintf("the first of %d nodes has one from 1 to %d; 0 picks free ports",
			nodes, most)}
	}
	ports := make([]int, nodes)
	for i := range ports {
		ports[i] = base + portStep*i
		node := "n" + strconv.Itoa(i+1)
		if err := errors.Join(
			checkFree(loopback(ports[i]), "client", node),
			checkFree(loopback(ports[i]+peerOffset), "peer", node),
		); err != nil {
			return nil, err
		}
	}
	return ports, nil
}

// freePorts picks ports that are free now. They come from below the range that systems take outgoing ports from:
// while a node is down, no connection may sit on the port that it comes back to.
func freePorts(nodes int) ([]int, error) {
	const lowest, highest, tries = 12000, 32000, 200
	var ports []int
	for range tries {
		if len(ports) == nodes {
			return ports, nil
		}
		port := lowest + rand.IntN((highest-lowest)/portStep)*portStep
		taken := false
		for _, p := range ports {
			taken = taken || p == port
		}
		if !taken && checkFree(loopback(port), "", "") == nil && checkFree(loopback(port+peerOffset), "", "") == nil {
			ports = append(ports, port)
		}
	}
	return nil, fmt.Errorf("found no %d free ports between %d and %d", nodes, lowest, highest)
}

func loopback(port int) string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(port)) }

// checkFree reports with a PortError whether an address cannot be listened on.
func checkFree(address, what, node string) error {
	l, err := net.Listen("tcp", address)
	if err == nil {
		return l.Close()
	}
	if _, text, split := net.SplitHostPort(address); split == nil && addressInUse(err) {
		port, _ := strconv.Atoi(text)
		return &PortError{Port: port, What: what, Node: node}
	}
	return fmt.Errorf("%s port of %s: %w", what, node, err)
}
