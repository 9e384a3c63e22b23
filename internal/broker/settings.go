package broker

import (
	"math"
	"time"

	"tidemark/internal/journal"
	"tidemark/internal/metadata"
)

// settings are those of the broker itself that can change while it runs. A
// value, replaced as a whole; the comments name Kafka's settings.
type settings struct {
	fetchers        int           // num.replica.fetchers
	recoveryThreads int           // num.recovery.threads.per.data.dir; counts at the next start
	producerExpiry  time.Duration // producer.id.expiration.ms
	verifyTxns      bool          // transaction.partition.verification.enable
	leaderRate      int64         // leader.replication.throttled.rate
	followerRate    int64         // follower.replication.throttled.rate
	cleaners        int           // log.cleaner.threads; 0 with log.cleaner.enable=false
	cleanerBackoff  time.Duration // log.cleaner.backoff.ms
	cleanerRate     float64       // log.cleaner.io.max.bytes.per.second
	dedupeBytes     int64         // log.cleaner.dedupe.buffer.size
}

// settings resolves them: a dynamic value of this broker goes before one of all
// brokers, and that before the static one. Values out of range leave the
// weaker one.
func (b *Broker) settings(img *metadata.Image) *settings {
	l := b.lookup(img, "")
	s := &settings{
		fetchers:        int(l.atLeast(1, "num.replica.fetchers", int64(b.cfg.FetcherLoops))),
		recoveryThreads: int(l.atLeast(1, "num.recovery.threads.per.data.dir", int64(b.cfg.RecoveryThreads))),
		producerExpiry:  l.millis("producer.id.expiration.ms", b.cfg.ProducerExpiry.Milliseconds()),
		verifyTxns:      b.cfg.VerifyTxns,
		leaderRate:      l.rate(leaderRate),
		followerRate:    l.rate(followerRate),
		cleaners:        int(min(l.atLeast(0, "log.cleaner.threads", int64(max(b.cfg.Cleaners, 0))), maxCleaners)),
		cleanerBackoff:  max(l.millis("log.cleaner.backoff.ms", b.cfg.CleanerBackoff.Milliseconds()), time.Millisecond),
		cleanerRate:     l.float("log.cleaner.io.max.bytes.per.second", b.cfg.CleanerRate),
		dedupeBytes:     l.int("log.cleaner.dedupe.buffer.size", b.cfg.DedupeBytes),
	}
	if b.cfg.NoCleaner {
		s.cleaners = 0
	}
	if l.has("transaction.partition.verification.enable") {
		s.verifyTxns = l.bool("transaction.partition.verification.enable")
	}
	return s
}

func (l lookup) has(name string) (ok bool) {
	l.candidates(name, func(string, int64) bool { ok = true; return true })
	return ok
}

// atLeast is int, for settings that must not be below low.
func (l lookup) atLeast(low int64, name string, def int64) int64 {
	if n := l.int(name, def); n >= low && n <= math.MaxInt32 {
		return n
	}
	return def
}

// tune applies changed settings. The caller holds apply.
func (b *Broker) tune(img *metadata.Image) {
	was, now := b.tuned.Load(), b.settings(img)
	b.tuned.Store(now)
	if now.leaderRate != was.leaderRate {
		b.leaderQuota.setRate(now.leaderRate)
	}
	if now.followerRate != was.followerRate {
		b.followerQuota.setRate(now.followerRate)
	}
	b.cleaners.throttle.SetRate(rateOrNone(now.cleanerRate))
	b.cleaners.resize(now.cleaners)
	if now.fetchers != was.fetchers {
		if err := b.cfg.Fetchers.Resize(now.fetchers); err != nil {
			e := journal.New(journal.Note)
			e.Reason, e.Detail = "setting-not-applied", err.Error()
			b.cfg.Events.Emit(e)
		}
	}
}
