package differential

import (
	"fmt"
	"time"

	"tidemark/test/cluster"
)

// restart ends both nodes, cleanly or not, and starts them again.
func (r *runner) restart(clean bool) {
	r.Helper()
	begun := time.Now()
	r.kafka.hangUp()
	r.ours.hangUp()
	if clean {
		r.kafkaNode.Stop(r)
		r.ourNode.Stop()
	} else {
		r.kafkaNode.Kill()
		r.ourNode.Kill()
	}
	r.kafkaNode.Restart(r)
	r.ourNode.Start()
	for _, p := range []*peer{r.kafka, r.ours} {
		cluster.Eventually(r, time.Minute, p.reachable)
		for _, t := range r.g.topics {
			if !t.gone {
				r.waitServing(p, t)
			}
		}
	}
	kafka, ours := r.listing(r.kafka), r.listing(r.ours)
	for _, t := range r.g.topics {
		if t.gone {
			continue
		}
		t.epoch = kafka[t.name].epoch
		t.crashed = t.crashed || !clean
		if e := ours[t.name].epoch; e != t.epoch {
			r.Errorf("%s after a restart (clean: %t): leader epoch %d, Apache Kafka's %d", t.name, clean, e, t.epoch)
		}
		if t.replicas != nil {
			continue // what isn't committed can't be seen
		}
		for i := range t.partitions {
			start, end := r.bounds(r.kafka, t, int32(i))
			if start < t.starts[i] { // what DeleteRecords did was not on disk yet
				t.reverted = true
			}
			if start > 0 && (!clean || start == end) {
				t.forgot = true
			}
			t.starts[i], t.ends[i] = start, end
			k, o := r.contents(r.kafka, t, int32(i)), r.contents(r.ours, t, int32(i))
			t.forgot = t.forgot || r.idle(t, int32(i))
			if k != o {
				r.Errorf("%s-%d after a restart (clean: %t): Apache Kafka has %s, Tidemark %s", t.name, i, clean, k, o)
			}
		}
	}
	r.Logf("restart after %d requests (clean: %t): %v", r.g.step, clean, time.Since(begun).Round(time.Millisecond))
}

// idle reports whether we know a producer whose last batch has a timestamp of
// more than a day ago: as old as a producer may become
// (producer.id.expiration.ms), so that Kafka drops it when it starts.
func (r *runner) idle(t *topic, partition int32) bool {
	r.Helper()
	for _, p := range r.active(r.ours, t.name, partition) {
		if p.LastTimestamp < r.g.now-24*hour {
			return true
		}
	}
	return false
}

// reachable reports whether the node accepts connections.
func (p *peer) reachable() error {
	p.hangUp()
	c, err := dial(p.addr)
	if err != nil {
		return fmt.Errorf("%s: %w", p.name, err)
	}
	p.attach(c)
	return nil
}
