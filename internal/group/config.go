package group

import "time"

// Config holds Kafka's settings of groups; zero values are not defaults, use
// DefaultConfig.
type Config struct {
	MinSession            time.Duration // group.min.session.timeout.ms
	MaxSession            time.Duration // group.max.session.timeout.ms
	MaxSize               int           // group.max.size, members of one group
	InitialRebalanceDelay time.Duration // group.initial.rebalance.delay.ms
	MetadataMax           int           // offset.metadata.max.bytes, per offset
	OffsetsRetention      time.Duration // offsets.retention.minutes
}

// DefaultConfig returns Kafka's defaults.
func DefaultConfig() Config {
	return Config{
		MinSession: 6 * time.Second, MaxSession: 30 * time.Minute, MaxSize: 1<<31 - 1,
		InitialRebalanceDelay: 3 * time.Second, MetadataMax: 4096, OffsetsRetention: 7 * 24 * time.Hour,
	}
}

// newMemberTimeout is how long a member that has just joined may take until
// its first rebalance is over, whatever its session time-out.
const newMemberTimeout = 5 * time.Minute
