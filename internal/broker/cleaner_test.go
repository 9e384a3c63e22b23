package broker

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"tidemark/internal/commitlog"
	"tidemark/internal/journal"
	"tidemark/internal/metadata"
	"tidemark/internal/model"
	"tidemark/internal/partition"
	"tidemark/internal/producer"
	"tidemark/internal/record"
)

// keyed appends one batch a record, in rounds over the keys 0 to keys-1, and
// begins a new segment, so that all of it is closed.
func (n *node) keyed(t *testing.T, tp model.TopicPartition, rounds, keys int) {
	t.Helper()
	n.keyedOf(t, tp, rounds, keys, "")
}

func (n *node) keyedOf(t *testing.T, tp model.TopicPartition, rounds, keys int, rest string) {
	t.Helper()
	p, err := n.Partition(tp)
	if err != nil {
		t.Fatal(err)
	}
	for r := range rounds {
		for k := range keys {
			var b record.Builder
			b.Add(time.Now().UnixMilli(), fmt.Appendf(nil, "k%d", k), fmt.Appendf(nil, "v%d%s", r, rest))
			a := partition.Append{Origin: producer.Coordinator, Epoch: model.NoLeaderEpoch}
			if _, err := p.AppendAsLeader(b.Build(), a); err != nil {
				t.Fatal(err)
			}
		}
	}
	perform(p)
	if err := p.Log().Roll(); err != nil {
		t.Fatal(err)
	}
}

// left lists what a log holds below an offset, "offset:key=value".
func left(t *testing.T, p *partition.Partition, below model.Offset) string {
	t.Helper()
	var out []string
	err := p.Log().Batches(0, func(b record.Batch) error {
		for r, err := range b.Records(1 << 20) {
			if err != nil {
				return err
			}
			if r.Offset < below {
				out = append(out, fmt.Sprintf("%d:%s=%s", r.Offset, r.Key, r.Value))
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return strings.Join(out, " ")
}

const offsetsTopic = "__consumer_offsets"

func compacted(name string) metadata.Record { return topicSet(name, "cleanup.policy", "compact") }

// The offsets topic is compacted on its leader and on its follower, and a
// restart knows how far.
func TestOffsetsTopicIsCompacted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n, apply := wired(t)
		defer closeAll(n)
		n[1].apply(t, true, cluster()...)
		n[2].apply(t, true, cluster()...)
		apply(topic(offsetsTopic), compacted(offsetsTopic), part(offsetsTopic, 0, 1, 1, 2))
		n[1].keyed(t, tpOf(offsetsTopic, 0), 10, 3)
		pass(2 * time.Second)
		if err := n[2].at(t, offsetsTopic, 0).Log().Roll(); err != nil {
			t.Fatal(err)
		}
		pass(20 * time.Second) // log.cleaner.backoff.ms
		for id := range n {
			p := n[id].at(t, offsetsTopic, 0)
			want(t, fmt.Sprintf("broker %d", id), left(t, p, 30), "27:k0=v9 28:k1=v9 29:k2=v9")
			m, err := commitlog.ReadCheckpoint(n[id].fs, "d1/"+cleanOffsetsName)
			if err != nil || m[tpOf(offsetsTopic, 0)] != 30 {
				t.Fatalf("broker %d: checkpoint %v %v", id, m, err)
			}
		}
		n[1].Broker.Close(true, 1)
		again := start(t, n[1].fs, 2, nil)
		defer again.Broker.Close(true, 1)
		again.apply(t, false, append(cluster(), topic(offsetsTopic), compacted(offsetsTopic), part(offsetsTopic, 0, 1, 1, 2))...)
		if at := again.at(t, offsetsTopic, 0).Log().FirstDirty(); at != 30 {
			t.Fatalf("compacted up to %d after a restart", at)
		}
	})
}

// Nothing above the high watermark is compacted, also if it lies in closed
// segments.
func TestUncommittedIsNotCompacted(t *testing.T) {
	inBubble(t, 1, nil, func(t *testing.T, n *node) {
		n.apply(t, true, append(cluster(), topic("a"), compacted("a"), part("a", 0, 1, 1, 2))...)
		n.keyed(t, tpOf("a", 0), 5, 2)
		pass(time.Minute)
		p := n.at(t, "a", 0)
		if p.HighWatermark() != 0 || p.Log().FirstDirty() != 0 || strings.Count(left(t, p, 10), "=") != 10 {
			t.Fatalf("high watermark %d, compacted up to %d: %s", p.HighWatermark(), p.Log().FirstDirty(), left(t, p, 10))
		}
	})
}

// The dirtiest log comes first; log.cleaner.threads can be 0, and log.cleaner.*
// change while the broker runs.
func TestCleanersFollowTheSettings(t *testing.T) {
	inBubble(t, 1, nil, func(t *testing.T, n *node) {
		n.apply(t, true, append(cluster(), set("", "log.cleaner.threads", "0"), topic("a"), compacted("a"),
			part("a", 0, 1, 1), part("a", 1, 1, 1), part("a", 2, 1, 1))...)
		dirty := func(index int32) model.Offset { return n.at(t, "a", index).Log().FirstDirty() }
		for i := range int32(3) {
			n.keyedOf(t, tpOf("a", i), 40, 3, strings.Repeat(".", 50<<10))
		}
		pass(time.Minute)
		if dirty(0)+dirty(1)+dirty(2) != 0 {
			t.Fatal("compacted without a cleaner")
		}
		// 6 MB a log, read twice: at 100 KB/s two minutes.
		n.apply(t, false, set("", "log.cleaner.io.max.bytes.per.second", "100000"), set("", "log.cleaner.backoff.ms", "100"))
		n.apply(t, false, set("", "log.cleaner.threads", "1"))
		pass(90 * time.Second)
		if dirty(0)+dirty(1)+dirty(2) != 0 {
			t.Fatal("compacted faster than the throttle allows")
		}
		n.apply(t, false, set("", "log.cleaner.io.max.bytes.per.second", ""))
		pass(time.Minute)
		for i := range int32(3) {
			if dirty(i) != 120 {
				t.Fatalf("a-%d is compacted up to %d", i, dirty(i))
			}
		}
		// a-1 is dirtier than the others when the cleaner looks next.
		n.apply(t, false, set("", "log.cleaner.threads", "0"))
		n.keyed(t, tpOf("a", 0), 2, 3)
		n.keyedOf(t, tpOf("a", 1), 40, 3, strings.Repeat(".", 50<<10))
		n.keyed(t, tpOf("a", 2), 2, 3)
		n.apply(t, false, set("", "log.cleaner.min.cleanable.ratio", "0"), set("", "log.cleaner.io.max.bytes.per.second", "1000000"))
		n.apply(t, false, set("", "log.cleaner.threads", "1"))
		for dirty(0)+dirty(1)+dirty(2) == 360 {
			pass(50 * time.Millisecond)
		}
		if dirty(1) != 240 {
			t.Fatalf("compacted first: %d %d %d", dirty(0), dirty(1), dirty(2))
		}
		if done, bad := n.Cleaning(); done < 4 || len(bad) != 0 {
			t.Fatalf("%d compactions, uncleanable %v", done, bad)
		}
	})
}

// A log with a damaged record is left as it is; the others go on.
func TestDamagedLogIsNotCompacted(t *testing.T) {
	inBubble(t, 1, nil, func(t *testing.T, n *node) {
		n.apply(t, true, append(cluster(), set("", "log.cleaner.threads", "0"), topic("a"), compacted("a"),
			part("a", 0, 1, 1), part("a", 1, 1, 1))...)
		for i := range int32(2) {
			n.keyed(t, tpOf("a", i), 10, 2)
		}
		rot(t, n, n.at(t, "a", 0), 0, 200)
		size := n.at(t, "a", 0).Log().Size()
		n.apply(t, false, set("", "log.cleaner.threads", "2"))
		pass(time.Minute)
		if got := n.at(t, "a", 0).Log(); got.FirstDirty() != 0 || got.Size() != size {
			t.Fatalf("compacted up to %d, %d bytes of %d", got.FirstDirty(), got.Size(), size)
		}
		if n.at(t, "a", 1).Log().FirstDirty() != 20 {
			t.Fatal("the other log is not compacted")
		}
		if _, bad := n.Cleaning(); fmt.Sprint(bad) != "[a-0]" {
			t.Fatalf("uncleanable %v", bad)
		}
		n.mu.Lock()
		defer n.mu.Unlock()
		told := 0
		for _, e := range n.events {
			if e.Kind == journal.Note && e.Reason == "uncleanable" {
				told++
			}
		}
		if told != 1 {
			t.Fatalf("told %d times", told)
		}
	})
}
