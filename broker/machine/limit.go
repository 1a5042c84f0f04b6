package machine

import "errors"

// What a mailbox does when nothing else is set, and the bounds of what a command may ask for.
const (
	DefaultLeaseMillis = 30_000
	MinLeaseMillis     = 1_000
	MaxLeaseMillis     = 12 * 3_600_000
	MaxDelayMillis     = 12 * 3_600_000
	// MaxFailures is how often a message may fail before it is parked as dead.
	MaxFailures = 20
	// MaxInFlight is how many messages of one mailbox may be leased at a time.
	MaxInFlight = 10_000

	MaxSendItems          = 65_536
	MaxSendSessions       = 255
	MaxSessionHeaderBytes = 16 << 10
	MaxKeyRecordBytes     = 64 << 10
	MaxCreateItems        = 4_096
	MaxPatternBytes       = 255
	// MaxCounter is the highest counter of a message id.
	MaxCounter = 1<<63 - 1
	// MaxRangeMessages bounds how many sequence numbers one ack, nack, extend or expire may name.
	MaxRangeMessages = 65_536
	// MaxGrants bounds the grants of a cluster.
	MaxGrants = 65_536

	// MaxSessionMinutes is what the live sessions of a sender on a mailbox may have left together, none of them counted
	// for more than MaxCountedMinutes: 64 sessions of an hour, or a program a second that uses one for a minute.
	MaxSessionMinutes = 64 * MaxCountedMinutes
	MaxCountedMinutes = 60
	// MaxSessionMillis is how far in the future a session's not-after may lie: a day and the clocks' tolerance.
	MaxSessionMillis = dayMillis + clockSlackMillis
	// MaxTimeToLiveMillis is how long any message may live. Session headers are kept so much longer.
	MaxTimeToLiveMillis = 14 * dayMillis
	// MaxWaitingEpochs bounds the different key epochs whose messages wait in one mailbox.
	MaxWaitingEpochs = 64
	// MaxProducerRuns bounds the separate runs of unanswered counters of one producer on one mailbox.
	MaxProducerRuns = 4_096
	// TickMessages is how many messages one tick expires before it says More.
	TickMessages = 4_096

	minuteMillis     = 60_000
	dayMillis        = 24 * 3_600_000
	clockSlackMillis = 5 * minuteMillis
)

var (
	errRange       = errors.New("value is outside of what the format allows")
	errUnsupported = errors.New("unknown kind, version or critical option")
)
