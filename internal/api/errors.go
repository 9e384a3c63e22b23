package api

import (
	"context"
	"errors"

	"tidemark/internal/active"
	"tidemark/internal/commitlog"
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
	{active.ErrBusy, kerr.ThrottlingQuotaExceeded},

	{commitlog.ErrOffsetOutOfRange, kerr.OffsetOutOfRange},
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
