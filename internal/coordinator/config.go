package coordinator

import (
	"log/slog"
	"time"

	"tidemark/internal/group"
	"tidemark/internal/metadata"
)

// Config configures a Coordinator. Zero durations and sizes take Kafka's defaults.
type Config struct {
	Groups         group.Config
	CommitTimeout  time.Duration // offsets.commit.timeout.ms, 5 s: until an answer is given up
	RetentionCheck time.Duration // offsets.retention.check.interval.ms, 10 min
	BatchBytes     int           // largest batch written, if its records allow; 512 KiB
	// Image is the newest published metadata, never nil.
	Image  func() *metadata.Image
	Now    func() time.Time
	Logger *slog.Logger
	// Retry is the pause before waiting on for what was not committed in time; 1 s.
	Retry time.Duration
}

func (c *Config) setDefaults() {
	if c.Groups == (group.Config{}) {
		c.Groups = group.DefaultConfig()
	}
	setDuration(&c.CommitTimeout, 5*time.Second)
	setDuration(&c.RetentionCheck, 10*time.Minute)
	setDuration(&c.Retry, time.Second)
	if c.BatchBytes <= 0 {
		c.BatchBytes = 512 << 10
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
}

func setDuration(d *time.Duration, to time.Duration) {
	if *d <= 0 {
		*d = to
	}
}

// waitsMax bounds the appends that wait for their commit, over all partitions.
const waitsMax = 1 << 20
