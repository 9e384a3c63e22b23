package replica

import "time"

// Report is what a follower tells its leader of itself with a fetch, in a tagged
// field that other implementations neither send nor mind. The zero value: it
// told nothing.
type Report struct {
	// Told: the rest is from the follower, zeroes included.
	Told bool
	// Append is how long the answer before this fetch took to be applied: all its
	// partitions, writes and syncs, until this fetch was made.
	Append time.Duration
	// AppendP99 is the 99th percentile of Append over the last answers with records.
	AppendP99 time.Duration
	// Throttled is the share of the last seconds, 0 to 100, in which the follower's
	// own replication quota held this loop's partitions back.
	Throttled int
	// Partitions is how many partitions the loop that fetched serves, Behind how many
	// of them got records with the answer before.
	Partitions, Behind int
}

// TroubleCode classes why a follower gets nowhere with a partition. The numbers
// go over the wire.
type TroubleCode uint8

// The classes of trouble.
const (
	TroubleNone TroubleCode = iota
	// TroubleAppend: its log refused the records.
	TroubleAppend
	// TroubleNoSpace: its disk is full.
	TroubleNoSpace
	// TroubleBadRecords: the records that arrive are damaged.
	TroubleBadRecords
	// TroubleOversized: an answer is larger than it accepts.
	TroubleOversized
	// TroubleRefused: the leader answers with an error.
	TroubleRefused
	// TroubleRange: its position is outside the leader's log.
	TroubleRange
)

// Trouble is what a follower says of one partition with which it gets nowhere.
type Trouble struct {
	Code TroubleCode
	Text string // an error text
}
