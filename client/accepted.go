package client

import (
	"sync"

	"github.com/sealmq/sealmq/envelope"
)

// maxAccepted bounds the sessions whose keys a client keeps for opening messages, and the headers that it keeps for
// sessions not opened yet. A node brings a header once per connection's window; what falls out is asked for again.
const maxAccepted = 4096

// acceptedSessions holds the sessions of messages that were received.
type acceptedSessions struct {
	mu      sync.Mutex
	young   map[sessionKey]*acceptedSession
	old     map[sessionKey]*acceptedSession // what was used before young filled up
	maxEach int
}

type sessionKey struct {
	mailbox, id [16]byte
}

// acceptedSession is one session: its header, and what it opened to.
type acceptedSession struct {
	init []byte

	mu     sync.Mutex // held while the session is being accepted, which takes long enough to share
	opened *envelope.ReceiveSession
}

func newAcceptedSessions() *acceptedSessions {
	return &acceptedSessions{young: map[sessionKey]*acceptedSession{}, maxEach: maxAccepted / 2}
}

// get returns a session, nil if its header is not known.
func (a *acceptedSessions) get(key sessionKey) *acceptedSession {
	a.mu.Lock()
	defer a.mu.Unlock()
	s := a.young[key]
	if s == nil {
		if s = a.old[key]; s != nil {
			a.putLocked(key, s)
		}
	}
	return s
}

// learn keeps the header of a session. It is copied; one whose id is not that of its bytes is not taken.
func (a *acceptedSessions) learn(key sessionKey, init []byte) {
	if a.get(key) != nil || envelope.SessionID(key.mailbox, init) != key.id {
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.putLocked(key, &acceptedSession{init: append([]byte(nil), init...)})
}

func (a *acceptedSessions) putLocked(key sessionKey, s *acceptedSession) {
	if len(a.young) >= a.maxEach {
		a.young, a.old = map[sessionKey]*acceptedSession{}, a.young
	}
	a.young[key] = s
}

// open accepts the session, once.
func (s *acceptedSession) open(mailbox [16]byte, name string, owner [32]byte, keys *keyring,
) (*envelope.ReceiveSession, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.opened != nil {
		return s.opened, nil
	}
	opened, err := envelope.AcceptSession(s.init, mailbox, name, owner, keys.find)
	if err == nil {
		s.opened = opened
	}
	return opened, err
}
