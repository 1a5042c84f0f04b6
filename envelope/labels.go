package envelope

// The labels of everything that this package signs, derives or authenticates. A label is used for one purpose, for
// ever.
const (
	labelIdentityFile = "sealmq/identity-file/v1"
	labelEpochFile    = "sealmq/epoch-key-file/v1"
	labelFingerprint  = "sealmq/fingerprint/v1"
	labelDedupKey     = "sealmq/dedup-key/v1"
	labelKeyedID      = "sealmq/keyed-id/v1"
	labelBodyTag      = "sealmq/body-tag/v1"

	labelStatement  = "sealmq/identity-statement/v1"
	labelEpochKeyID = "sealmq/epoch-key-id/v1"
	labelKeyRecord  = "sealmq/key-record/v1"

	labelSession    = "sealmq/session/v1"      // HPKE info
	labelInitKey    = "sealmq/init-key/v1"     // export context of k_init
	labelInit       = "sealmq/session-init/v1" // AAD of the sealed part of a session
	labelSessionSig = "sealmq/session-sig/v1"
	labelSessionID  = "sealmq/session-id/v1"
	labelMessageKey = "sealmq/msg-key/v1" // export context of k_msg

	labelMessage    = "sealmq/m/v1"   // AAD of a message
	labelMessageSig = "sealmq/msg/v1" // per-message signature
)
