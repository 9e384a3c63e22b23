package partition

import "errors"

// Errors of a replica; compare with errors.Is.
var (
	// ErrNotLeader: this replica does not lead, or for a read that a follower
	// may answer, does not follow either.
	ErrNotLeader = errors.New("not the leader of this partition")
	// ErrNotHosted: this broker has no such replica.
	ErrNotHosted = errors.New("partition is not hosted here")
	// ErrUnknownPartition: the metadata has no such partition.
	ErrUnknownPartition = errors.New("unknown topic or partition")
	// ErrUnknownTopicID: the metadata has no topic of that id.
	ErrUnknownTopicID = errors.New("unknown topic id")
	// ErrInconsistentTopicID: the replica belongs to a topic of another id.
	ErrInconsistentTopicID = errors.New("topic id differs from that of the replica")
	// ErrFencedEpoch: the request carries an older leader epoch than ours.
	ErrFencedEpoch = errors.New("leader epoch of the request is older")
	// ErrUnknownEpoch: the request carries a newer leader epoch than ours.
	ErrUnknownEpoch = errors.New("leader epoch of the request is newer")
	// ErrNotEnoughReplicas: acks=all with the committed ISR below min.insync.replicas.
	ErrNotEnoughReplicas = errors.New("in-sync replicas are fewer than min.insync.replicas")
	// ErrOffsetOutOfRange: the offset is outside what may be read, or deleted.
	ErrOffsetOutOfRange = errors.New("offset out of range")
	// ErrOffsetNotAvailable: right after an election the committed end is not known yet (KIP-207).
	ErrOffsetNotAvailable = errors.New("high watermark has not reached the start of the leader epoch")
	// ErrNegativeSize: a fetch asks for fewer than no bytes.
	ErrNegativeSize = errors.New("negative size")
	// ErrStorage: the log directory failed.
	ErrStorage = errors.New("log directory is offline")
	// ErrNoSpace: what is left on the disk is kept for the broker's own files.
	// Reads go on; appends do again when there is space.
	ErrNoSpace = errors.New("no space left for records")
	// ErrSegmentTooSmall: the batch is larger than segment.bytes.
	ErrSegmentTooSmall = errors.New("batch is larger than a segment")
	// ErrPolicy: DeleteRecords on a topic whose cleanup.policy lacks delete.
	ErrPolicy = errors.New("cleanup.policy does not contain delete")
	// ErrBadReplication: what the leader sent does not fit this log.
	ErrBadReplication = errors.New("replicated records do not fit the log")
)
