package broker

import (
	"testing"

	"tidemark/internal/metadata"
)

// Totals never go back: a rate over them would take the deletion of a topic for a
// restart of the broker.
func TestCountersOutliveTheirTopic(t *testing.T) {
	inBubble(t, 1, nil, func(t *testing.T, n *node) {
		n.apply(t, true, cluster()...)
		n.apply(t, false, topic("a"), part("a", 0, 1, 1), topic("b"), part("b", 0, 1, 1))
		n.produce(t, tpOf("a", 0), 5)
		n.produce(t, tpOf("b", 0), 2)
		before := n.Counters()
		if before.MessagesIn != 7 || before.BytesIn == 0 {
			t.Fatalf("%+v", before)
		}
		n.apply(t, false, &metadata.RemoveTopicRecord{TopicID: topicID("a")})
		if got := n.Counters(); got != before {
			t.Errorf("after the deletion %+v, before %+v", got, before)
		}
		n.produce(t, tpOf("b", 0), 1)
		if got := n.Counters().MessagesIn; got != 8 {
			t.Errorf("%d messages, want 8", got)
		}
	})
}
