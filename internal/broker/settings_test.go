package broker

import (
	"testing"
	"time"

	"tidemark/internal/metadata"
)

func set(name, key, value string) metadata.Record {
	r := &metadata.ConfigRecord{Type: metadata.BrokerResource, Resource: name, Name: key}
	if value != "" {
		r.Value = &value
	}
	return r
}

// Settings of all brokers and of this one count from the metadata that brings
// them, also at the first start; what is taken back leaves the weaker value.
func TestSettingsChangeAtRunTime(t *testing.T) {
	inBubble(t, 1, func(c *Config) { c.FetcherLoops, c.Defaults = 2, map[string]string{"max.message.bytes": "500"} },
		func(t *testing.T, n *node) {
			n.apply(t, true, append(cluster(), set("", "num.replica.fetchers", "6"))...)
			want(t, "at the start", n.take(), "6 fetchers")
			n.apply(t, false, topic("a"), part("a", 0, 1, 1))
			n.take()
			p, err := n.Partition(tpOf("a", 0))
			if err != nil {
				t.Fatal(err)
			}
			for _, c := range []struct {
				rec   metadata.Record
				told  string
				batch int
			}{
				{set("1", "num.replica.fetchers", "3"), "3 fetchers", 500},
				{set("2", "num.replica.fetchers", "9"), "", 500}, // another broker's
				{set("", "num.replica.fetchers", "4"), "", 500},  // ours is stronger
				{set("1", "num.replica.fetchers", "x"), "4 fetchers", 500},
				{set("1", "num.replica.fetchers", "0"), "2 fetchers", 500},
				{set("1", "num.replica.fetchers", ""), "4 fetchers", 500},
				{set("", "num.replica.fetchers", ""), "2 fetchers", 500},
				{set("", "message.max.bytes", "700"), "", 700},
				{set("1", "message.max.bytes", "800"), "", 800},
				{set("", "producer.id.expiration.ms", "1234"), "", 800},
			} {
				n.apply(t, false, c.rec)
				want(t, "story", n.take(), c.told)
				if got := p.Settings().MaxBatchBytes; got != c.batch {
					t.Fatalf("max.message.bytes %d, want %d", got, c.batch)
				}
			}
			if got := n.tuned.Load().producerExpiry; got != 1234*time.Millisecond {
				t.Fatalf("producer.id.expiration.ms %v", got)
			}
		})
}
