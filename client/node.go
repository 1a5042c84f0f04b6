package client

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"
)

// redialAfter keeps callers that all want one node from dialling it more often than this.
const redialAfter = 50 * time.Millisecond

// maxAddresses bounds the addresses that are remembered for a node, hints of others included.
const maxAddresses = 4

// node is one node of the cluster and the connection to it, if there is one.
type node struct {
	c  *Client
	id string

	dialling flight[*conn]

	mu        sync.Mutex
	addresses []string // the one that worked last comes first
	conn      *conn
	failed    error
	failedAt  time.Time
	refusedAt time.Time // since when nothing has listened at any address, zero if something did at the last look
}

// suggest adds an address. It counts for nothing until a certificate that names the node was shown there.
func (n *node) suggest(address string) {
	if address == "" {
		return
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if !slices.Contains(n.addresses, address) {
		n.addresses = append(n.addresses[:min(len(n.addresses), maxAddresses-1)], address)
	}
}

// live returns the connection if it takes requests, else nil.
func (n *node) live() *conn {
	n.mu.Lock()
	c := n.conn
	n.mu.Unlock()
	if c != nil && c.usable() {
		return c
	}
	return nil
}

// connect returns the connection, making it if need be. An attempt goes on when the caller has stopped waiting.
func (n *node) connect(ctx context.Context) (*conn, error) {
	if c := n.live(); c != nil {
		return c, nil
	}
	n.mu.Lock()
	failed := n.failed
	recent := time.Since(n.failedAt) < redialAfter
	n.mu.Unlock()
	if failed != nil && recent {
		return nil, failed
	}
	return n.dialling.do(ctx, n.c, n.dial)
}

// dial tries the addresses one after the other.
func (n *node) dial(ctx context.Context) (*conn, error) {
	if c := n.live(); c != nil {
		return c, nil
	}
	n.mu.Lock()
	addresses := slices.Clone(n.addresses)
	n.mu.Unlock()
	var c *conn
	var errs []error
	refused := 0
	for _, address := range addresses {
		var err error
		if c, err = n.c.transport.openConn(ctx, n.id, address, n.c.opts.Name); err == nil {
			n.works(address)
			break
		}
		errs = append(errs, fmt.Errorf("%s: %w", address, err))
		if errors.As(err, new(*refusedError)) {
			refused++
		}
	}
	var err error
	if c == nil {
		err = dialError(n.id, errors.Join(errs...))
	} else {
		n.c.connected(c)
	}
	n.mu.Lock()
	again := n.failed != nil
	n.conn, n.failed, n.failedAt = c, err, time.Now()
	if refused == 0 || refused < len(addresses) {
		n.refusedAt = time.Time{}
	} else if n.refusedAt.IsZero() {
		n.refusedAt = n.failedAt
	}
	n.mu.Unlock()
	switch {
	case err == nil:
		n.c.log.Info("connected", "node", n.id)
	case !again: // once, however often it is tried
		n.c.log.Warn("cannot connect", "node", n.id, "error", err)
	}
	return c, err
}

// refuses returns since when nothing has listened at any of the node's addresses, as far as anybody has looked; zero if
// something does. why is what the last attempt ended with.
func (n *node) refuses() (since time.Time, why error) {
	if n.live() != nil {
		return time.Time{}, nil
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.refusedAt, n.failed
}

func (n *node) works(address string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	i := slices.Index(n.addresses, address)
	if i > 0 {
		n.addresses = slices.Insert(slices.Delete(n.addresses, i, i+1), 0, address)
	}
}

// dialError says whether trying again can help: it cannot where one of the two sides refuses the other.
func dialError(node string, err error) *Error {
	var refused *Error
	var certificate *certificateError
	switch {
	case errors.As(err, &refused):
		return refused
	case errors.As(err, &certificate):
		e := definite(CodeUnauthenticated, err, "node %s is not trusted", node)
		e.Hint = "Check that the address belongs to the node and that the context has the cluster's authority"
		return e
	}
	switch alert, ok := alertOf(err); {
	case ok && alert == alertNoProtocol:
		e := definite(CodeConfig, err, "what listens at the address of node %s is not the client port of a node", node)
		e.Hint = "Check the address in the context: a node's peer and operator ports are others"
		return e
	case ok && slices.Contains(certificateAlerts, alert):
		e := definite(CodeUnauthenticated, err, "node %s refused the client's certificate", node)
		e.Hint = "Check that it is in date and from the cluster's client authority"
		return e
	}
	return unreachable(err, "no connection to node %s", node)
}

// Alerts of TLS by their numbers, in RFC 8446 section 6.
const alertNoProtocol = 120

// certificateAlerts are about the certificate that was shown: from bad_certificate to certificate_unknown, unknown_ca,
// access_denied and certificate_required.
var certificateAlerts = []uint64{42, 43, 44, 45, 46, 48, 49, 116}
