package peer

import (
	"bytes"
	"reflect"
	"slices"
	"strings"
	"testing"

	"tidemark/internal/model"
	"tidemark/internal/wire"
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

// What a follower tells of itself arrives in every flexible version, and a field
// that can't be read costs nothing but itself.
func TestReplicaFetchCarriesTheReport(t *testing.T) {
	report := wire.FetchReport{
		Told: true, AppendMicros: 1500, AppendP99Micros: 480000, ThrottledPercent: 40, Partitions: 1000, Behind: 7,
		Troubles: []wire.FetchTrouble{
			{ID: model.TopicID{9}, Partition: 3, Code: 2, Text: "the disk is full"},
			{ID: model.TopicID{9}, Partition: 4, Code: 1, Text: strings.Repeat("x", 3*wire.MaxTroubleText)},
		},
	}
	var got wire.FetchRequest
	for v := int16(4); v <= 18; v++ {
		req := replicaFetchRequest(ReplicaFetch{Replica: 2, Epoch: 9, Report: report})
		req.SetVersion(v)
		body := req.AppendTo(nil)
		if err := got.Decode(v, body); err != nil {
			t.Fatalf("v%d: %v", v, err)
		}
		want := report
		if v < 12 {
			want = wire.FetchReport{Troubles: got.Report.Troubles[:0]}
		} else {
			want.Troubles = slices.Clone(report.Troubles)
			want.Troubles[1].Text = want.Troubles[1].Text[:wire.MaxTroubleText]
		}
		if !reflect.DeepEqual(got.Report, want) {
			t.Errorf("v%d: got %+v\nwant %+v", v, got.Report, want)
		}
		if v >= 15 && !bytes.Equal(got.AppendBody(nil, v), body) {
			t.Errorf("v%d: what was decoded is encoded differently", v)
		}
		req.UnknownTags.Set(wire.TagFetchReport, []byte{1, 0xff, 0xff})
		if err := got.Decode(v, req.AppendTo(nil)); err != nil || got.Report.Told || got.Replica != 2 {
			t.Errorf("v%d: a torn report: %v, %+v", v, err, got.Report)
		}
	}
}
