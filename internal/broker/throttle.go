package broker

import (
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"tidemark/internal/metadata"
	"tidemark/internal/model"
	"tidemark/internal/partition"
	"tidemark/internal/replica"
)

// throttle is a replication quota that many partitions and fetchers share. Its
// mutex is a leaf. It holds at most one timer, and only while records are
// withheld. Bounded by the number of replicas.
type throttle struct {
	now func() time.Time
	mu  struct {
		sync.Mutex
		quota *replica.Quota
		held  map[*partition.Partition]struct{}
		timer *time.Timer // nil: nobody waits
	}
}

func newThrottle(slots int, slot time.Duration, now func() time.Time) *throttle {
	t := &throttle{now: now}
	t.mu.quota = replica.NewQuota(slots, slot)
	t.mu.held = map[*partition.Partition]struct{}{}
	return t
}

// Wait is how long nothing may be sent or received (fetcher.Quota).
func (t *throttle) Wait() time.Duration {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.mu.quota.Wait(t.now())
}

// Exceeded implements partition.Quota.
func (t *throttle) Exceeded() bool { return t.Wait() > 0 }

// Record implements partition.Quota and fetcher.Quota.
func (t *throttle) Record(bytes int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.mu.quota.Record(bytes, t.now())
}

// Withheld implements partition.Quota.
func (t *throttle) Withheld(p *partition.Partition) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.mu.held[p] = struct{}{}
	if t.mu.timer == nil {
		t.mu.timer = time.AfterFunc(t.mu.quota.Wait(t.now()), t.release)
	}
}

// release lets the followers look again, unless the quota was used up anew.
func (t *throttle) release() {
	t.mu.Lock()
	if t.mu.timer == nil { // stopped, or released by a new rate
		t.mu.Unlock()
		return
	}
	if d := t.mu.quota.Wait(t.now()); d > 0 {
		t.mu.timer.Reset(d)
		t.mu.Unlock()
		return
	}
	held := slices.Collect(maps.Keys(t.mu.held))
	clear(t.mu.held)
	t.mu.timer = nil
	t.mu.Unlock()
	for _, p := range held {
		p.Release()
		perform(p)
	}
}

func (t *throttle) setRate(bytesPerSecond int64) {
	t.mu.Lock()
	t.mu.quota.SetRate(bytesPerSecond)
	t.mu.Unlock()
	t.release()
}

func (t *throttle) stop() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.mu.timer != nil {
		t.mu.timer.Stop()
		t.mu.timer = nil
	}
	clear(t.mu.held)
}

// Names of the throttles.
const (
	leaderRate       = "leader.replication.throttled.rate"
	followerRate     = "follower.replication.throttled.rate"
	leaderReplicas   = "leader.replication.throttled.replicas"
	followerReplicas = "follower.replication.throttled.replicas"
)

// throttled lists the brokers that a list of "partition:broker" names for one
// partition; all is "*".
func throttled(list string, index int32) (brokers []model.BrokerID, all bool) {
	for item := range strings.SplitSeq(list, ",") {
		item = strings.TrimSpace(item)
		if item == "*" {
			return nil, true
		}
		p, b, ok := strings.Cut(item, ":")
		if !ok {
			continue
		}
		n, err := strconv.ParseInt(p, 10, 32)
		id, err2 := strconv.ParseInt(b, 10, 32)
		if err == nil && err2 == nil && int32(n) == index {
			brokers = append(brokers, model.BrokerID(id))
		}
	}
	return brokers, false
}

// throttles fills in what the throttle lists say of one replica.
func (b *Broker) throttles(img *metadata.Image, tp model.TopicPartition, s *partition.Settings) {
	topic := img.TopicConfig(tp.Topic)
	who, all := throttled(topic[leaderReplicas], tp.Partition)
	s.ThrottleLeader = all || slices.Contains(who, b.cfg.Self)
	who, all = throttled(topic[followerReplicas], tp.Partition)
	s.ThrottleFollower = all || slices.Contains(who, b.cfg.Self)
	for _, id := range slices.Sorted(maps.Keys(img.Brokers)) {
		if id == b.cfg.Self || !all && !slices.Contains(who, id) {
			continue
		}
		if lookupFor(img, id, "", nil).rate(followerRate) < replica.Unlimited {
			s.ThrottledFollowers = append(s.ThrottledFollowers, id)
		}
	}
}

// rate is a throttle's bytes per second.
func (l lookup) rate(name string) int64 {
	if n := l.int(name, replica.Unlimited); n >= 0 {
		return n
	}
	return replica.Unlimited
}
