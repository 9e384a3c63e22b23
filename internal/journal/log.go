package journal

import (
	"context"
	"log/slog"
)

// logEvent writes e as one log line: Kafka's phrase, then the fixed keys.
func logEvent(l *slog.Logger, e Event) {
	args := make([]any, 0, 6)
	if tp, ok := e.TopicPartition(); ok {
		args = append(args, "partition", tp.String(), "epoch", int32(e.LeaderEpoch))
	}
	if e.Offset >= 0 {
		args = append(args, "offset", int64(e.Offset))
	}
	l.Log(context.Background(), level(e.Kind), e.String(), args...)
}

func level(k Kind) slog.Level { // flat switch
	switch k {
	case ReplicaFailed, DirOffline, DirFull, UncleanLogLoss, LeadershipRefused, MetadataError:
		return slog.LevelError
	case LogReset, FetchFailed, ISRRejected, RegistrationFailed, UncleanElection, ShutdownForced, ReplicaStray:
		return slog.LevelWarn
	case ProduceWaited, ProduceRefused:
		return slog.LevelDebug
	default:
		return slog.LevelInfo
	}
}
