package peer

import (
	"testing"

	"tidemark/internal/model"
)

func TestFetchVersionFollowsTheFinalisedLevel(t *testing.T) {
	for level, want := range map[int16]int16{
		1: 12, 2: 13, 8: 13, 9: 14, 10: 15, 18: 15, 19: 16, 20: 16, 21: 17, 25: 17, 26: 17, 27: 18, 30: 18,
	} {
		if got := FetchVersion(level); got != want {
			t.Errorf("level %d: version %d, want %d", level, got, want)
		}
	}
}

func TestReplicaFetchRequestGroupsByTopic(t *testing.T) {
	at := func(topic byte, index int32) model.TopicIDPartition {
		return model.TopicIDPartition{TopicID: model.TopicID{topic}, Partition: index}
	}
	req := replicaFetchRequest(ReplicaFetch{
		Replica: 2, Epoch: 9, SessionID: 5, SessionEpoch: 6,
		Partitions: []ReplicaFetchPartition{
			{Topic: "a", Of: at(1, 0), Offset: 10, LastEpoch: 3}, {Topic: "a", Of: at(1, 4)}, {Topic: "b", Of: at(2, 0)},
		},
		Forget: []ForgottenPartition{{Topic: "c", Of: at(3, 1)}, {Topic: "c", Of: at(3, 2)}},
	})
	if len(req.Topics) != 2 || len(req.Topics[0].Partitions) != 2 || len(req.ForgottenTopics) != 1 ||
		len(req.ForgottenTopics[0].Partitions) != 2 {
		t.Fatalf("%+v", req)
	}
	p := req.Topics[0].Partitions[0]
	if p.FetchOffset != 10 || p.LastFetchedEpoch != 3 || req.ReplicaState.Epoch != 9 || req.ReplicaID != 2 {
		t.Fatalf("%+v", p)
	}
}
