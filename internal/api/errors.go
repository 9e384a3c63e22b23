package api

import (
	"context"
	"errors"

	"tidemark/internal/active"
	"tidemark/internal/commitlog"
	"tidemark/internal/controller"
	"tidemark/internal/partition"
	"tidemark/internal/producer"
	"tidemark/internal/purgatory"
	"tidemark/internal/quorum"
	"tidemark/internal/record"
	"tidemark/internal/replica"
	"tidemark/internal/session"
	"tidemark/internal/wire"

	"github.com/twmb/franz-go/pkg/kerr"
)

// errorCodes is the one place where an error becomes one of Kafka's codes. The
// first row that matches counts, so what wraps stands above what is wrapped.
var errorCodes = []struct {
	err  error
	code *kerr.Error
}{
	{partition.ErrNotLeader, kerr.NotLeaderForPartition},
	{partition.ErrNotHosted, kerr.NotLeaderForPartition},
	{partition.ErrUnknownPartition, kerr.UnknownTopicOrPartition},
	{partition.ErrUnknownTopicID, kerr.UnknownTopicID},
	{partition.ErrInconsistentTopicID, kerr.InconsistentTopicID},
	{partition.ErrFencedEpoch, kerr.FencedLeaderEpoch},
	{partition.ErrUnknownEpoch, kerr.UnknownLeaderEpoch},
	{partition.ErrNotEnoughReplicas, kerr.NotEnoughReplicas},
	{partition.ErrOffsetNotAvailable, kerr.OffsetNotAvailable},
	{partition.ErrOffsetOutOfRange, kerr.OffsetOutOfRange},
	{partition.ErrNegativeSize, kerr.InvalidRequest},
	{partition.ErrStorage, kerr.KafkaStorageError},
	{partition.ErrSegmentTooSmall, kerr.RecordListTooLarge},
	{partition.ErrPolicy, kerr.PolicyViolation},

	{producer.ErrOutOfOrderSequence, kerr.OutOfOrderSequenceNumber},
	{producer.ErrInvalidProducerEpoch, kerr.InvalidProducerEpoch},
	{producer.ErrInvalidTxnState, kerr.InvalidTxnState},
	{producer.ErrCoordinatorFenced, kerr.TransactionCoordinatorFenced},

	{record.ErrUnsupportedCodec, kerr.UnsupportedCompressionType},
	{record.ErrInvalidTimestamp, kerr.InvalidTimestamp},
	{record.ErrTooLarge, kerr.MessageTooLarge},
	{record.ErrInvalid, kerr.InvalidRecord},
	{record.ErrCorrupt, kerr.CorruptMessage},
	{record.ErrShort, kerr.CorruptMessage},

	{replica.ErrNotAssigned, kerr.NotLeaderForPartition},
	{replica.ErrStaleBrokerEpoch, kerr.NotLeaderForPartition},
	{replica.ErrBeyondEnd, kerr.OffsetOutOfRange},

	{session.ErrNotFound, kerr.FetchSessionIDNotFound},
	{session.ErrEpoch, kerr.InvalidFetchSessionEpoch},
	{session.ErrTopicID, kerr.FetchSessionTopicIDError},
	{purgatory.ErrFull, kerr.ThrottlingQuotaExceeded},

	{quorum.ErrNotLeader, kerr.NotLeaderForPartition},
	{quorum.ErrFencedEpoch, kerr.FencedLeaderEpoch},
	{quorum.ErrUnknownEpoch, kerr.UnknownLeaderEpoch},
	{quorum.ErrClosed, kerr.BrokerNotAvailable},
	{quorum.ErrWrongCluster, kerr.InconsistentClusterID},
	{quorum.ErrInvalidRequest, kerr.InvalidRequest},
	{quorum.ErrSnapshotNotFound, kerr.SnapshotNotFound},
	{quorum.ErrPositionOutOfRange, kerr.PositionOutOfRange},
	{active.ErrNotController, kerr.NotController},
	{active.ErrBusy, kerr.RequestTimedOut}, // retriable, and nothing was done

	{commitlog.ErrOffsetOutOfRange, kerr.OffsetOutOfRange},
	{partition.ErrNoSpace, kerr.KafkaStorageError},
	{commitlog.ErrIO, kerr.KafkaStorageError},
	{commitlog.ErrCorrupt, kerr.KafkaStorageError},
	{commitlog.ErrClosed, kerr.KafkaStorageError},

	{wire.ErrUnsupportedVersion, kerr.UnsupportedVersion},
	{wire.ErrMalformed, kerr.InvalidRequest},
	{context.DeadlineExceeded, kerr.RequestTimedOut},
}

// ErrorCode returns Kafka's code for err: 0 for nil, the code of a kerr.Error
// that err wraps, the code of a sentinel, or else UNKNOWN_SERVER_ERROR.
func ErrorCode(err error) int16 {
	if err == nil {
		return 0
	}
	var own *kerr.Error
	if errors.As(err, &own) {
		return own.Code
	}
	for _, row := range errorCodes {
		if errors.Is(err, row.err) {
			return row.code.Code
		}
	}
	return kerr.UnknownServerError.Code
}

// controllerCodes gives the active controller's verdicts their codes.
var controllerCodes = map[controller.Code]*kerr.Error{
	controller.Unknown:                    kerr.UnknownServerError,
	controller.NotController:              kerr.NotController,
	controller.InvalidRequest:             kerr.InvalidRequest,
	controller.InconsistentClusterID:      kerr.InconsistentClusterID,
	controller.DuplicateRegistration:      kerr.DuplicateBrokerRegistration,
	controller.InvalidRegistration:        kerr.InvalidRegistration,
	controller.UnsupportedVersion:         kerr.UnsupportedVersion,
	controller.StaleBrokerEpoch:           kerr.StaleBrokerEpoch,
	controller.BrokerNotRegistered:        kerr.BrokerIDNotRegistered,
	controller.UnknownTopic:               kerr.UnknownTopicOrPartition,
	controller.UnknownTopicID:             kerr.UnknownTopicID,
	controller.TopicExists:                kerr.TopicAlreadyExists,
	controller.InvalidTopic:               kerr.InvalidTopicException,
	controller.InvalidPartitions:          kerr.InvalidPartitions,
	controller.InvalidReplicationFactor:   kerr.InvalidReplicationFactor,
	controller.InvalidAssignment:          kerr.InvalidReplicaAssignment,
	controller.InvalidConfig:              kerr.InvalidConfig,
	controller.PolicyViolation:            kerr.PolicyViolation,
	controller.TopicDeletionDisabled:      kerr.TopicDeletionDisabled,
	controller.TopicAuthorization:         kerr.TopicAuthorizationFailed,
	controller.FencedLeaderEpoch:          kerr.FencedLeaderEpoch,
	controller.InvalidUpdateVersion:       kerr.InvalidUpdateVersion,
	controller.IneligibleReplica:          kerr.IneligibleReplica,
	controller.NewLeaderElected:           kerr.NewLeaderElected,
	controller.ElectionNotNeeded:          kerr.ElectionNotNeeded,
	controller.PreferredLeaderUnavailable: kerr.PreferredLeaderNotAvailable,
	controller.EligibleLeadersUnavailable: kerr.EligibleLeadersNotAvailable,
	controller.NoReassignment:             kerr.NoReassignmentInProgress,
	controller.FeatureUpdateFailed:        kerr.FeatureUpdateFailed,
	controller.UnknownControllerID:        kerr.UnknownControllerID,
}

// codeOf returns Kafka's code for a verdict.
func codeOf(c controller.Code) int16 {
	if c == controller.OK {
		return 0
	}
	if e, ok := controllerCodes[c]; ok {
		return e.Code
	}
	return kerr.UnknownServerError.Code
}
