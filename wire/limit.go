package wire

// Limits of protocol version 1. A node may announce lower ones in its hello, never higher ones.
const (
	// BodyBytes is the largest body, as the application gave it: before padding and sealing.
	BodyBytes = 1 << 20
	// SealedBytes is the largest nonce, ciphertext and tag of one message: a body of BodyBytes with the options that
	// travel inside the seal, and padding.
	SealedBytes = BodyBytes + 96<<10
	// SealedMinBytes is the smallest: a nonce and a tag.
	SealedMinBytes = 12 + 16
	// FrameBytes is the largest value of a frame's length field: a message of SealedBytes and room for its header,
	// its session's header and the fields of the batch.
	FrameBytes = BodyBytes + 128<<10
	// PreAuthFrameBytes is the same until the connection has proved an identity.
	PreAuthFrameBytes = 8 << 10
	// PreAuthMillis is how long a connection may take until it has proved an identity.
	PreAuthMillis = 5_000

	// WaitMillis is the longest long poll.
	WaitMillis = 60_000
	// LeaseMinMillis and LeaseMaxMillis bound the lease that a receiver may ask for; 0 asks for the mailbox's own.
	LeaseMinMillis = 1_000
	LeaseMaxMillis = 12 * 3_600_000
	// NackDelayMillis is the longest delay that a nack may ask for.
	NackDelayMillis = 12 * 3_600_000

	// BatchItems is the most messages in a send, a delivery or a lease, and the most sequence numbers in an ack.
	BatchItems = 1024
	// CreditMessages and CreditBytes are the most credit that a subscription may hold.
	CreditMessages = 1 << 20
	CreditBytes    = 1 << 30
	// BatchSessions is the most sessions that one send, delivery, session put or session get refers to.
	BatchSessions = 64
	// BatchProducers is the most producers that one delivery lists; ids of others stand whole.
	BatchProducers = 255
	// SessionInitMinBytes and SessionInitBytes bound the header of an end-to-end session.
	SessionInitMinBytes = 32
	SessionInitBytes    = 8 << 10
	// SessionWindow is how many sessions a connection remembers to have brought the header of.
	SessionWindow = 1024

	// NameBytes is the longest mailbox name, principal, subject or resource pattern, and node address.
	NameBytes = 255
	// NodeBytes is the longest node name.
	NodeBytes = 64
	// TextBytes is the longest text for people: a failure's detail, a client's or node's version.
	TextBytes = 512
	// NackDetailBytes is the longest sealed detail of a nack.
	NackDetailBytes = 1 << 10
	// KeyRecordBytes is the longest signed key record.
	KeyRecordBytes = 64 << 10

	// CounterMax is the highest counter of a message id: what comes after it is a counter too.
	CounterMax = 1<<63 - 1
	// PageItems is the most items that a page of a listing holds.
	PageItems = 1024
	// CreateItems is the most mailboxes that one request creates.
	CreateItems = 1024
	// EpochCounts is the most key epochs that a mailbox's information counts messages for.
	EpochCounts = 256
	// Slots is the number of slots that mailbox names hash to.
	Slots = 1 << 12
	// Groups is the most groups of a cluster, the control group included.
	Groups = 1 << 12
	// Nodes is the most nodes of a cluster.
	Nodes = 1 << 10

	// OptionCount is the most options in one options area.
	OptionCount = 32
	// OptionBytes is the longest value of an option outside the clear header.
	OptionBytes = 4 << 10
	// HeaderOptionCount and HeaderOptionBytes bound the options of a clear header: their number, and their bytes in
	// all with tags and lengths.
	HeaderOptionCount = 16
	HeaderOptionBytes = 256
)
