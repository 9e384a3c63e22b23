package replica

import (
	"testing"

	"tidemark/internal/model"
)

func logOf(end model.Offset, e ...EpochEnd) *node { return &node{epochs: e, end: end} }

func TestTruncationVectors(t *testing.T) {
	none := EpochEnd{model.NoLeaderEpoch, model.NoOffset}
	for _, v := range []struct {
		name    string
		leader  EpochEnd
		fetchAt model.Offset
		own     *node
		want    Truncation
	}{
		{"leader knows nothing: stay at the fetch offset", none, 7, logOf(9, EpochEnd{0, 0}), Truncation{7, true}},
		{"leader has an end but no epoch", EpochEnd{model.NoLeaderEpoch, 6}, 9, logOf(9, EpochEnd{0, 0}), Truncation{6, true}},
		{"leader has an end but no epoch, beyond our log", EpochEnd{model.NoLeaderEpoch, 60}, 9, logOf(9, EpochEnd{0, 0}),
			Truncation{9, true}},
		{"we know no epoch at all", EpochEnd{1, 6}, 9, logOf(9), Truncation{6, true}},
		{"same epoch, the leader's ends first", EpochEnd{1, 6}, 9, logOf(9, EpochEnd{0, 0}, EpochEnd{1, 3}), Truncation{6, true}},
		{"same epoch, ours ends first", EpochEnd{1, 8}, 9, logOf(9, EpochEnd{1, 0}, EpochEnd{2, 5}), Truncation{5, true}},
		{"we skipped the leader's epoch: go on asking", EpochEnd{3, 8}, 9, logOf(9, EpochEnd{1, 0}, EpochEnd{4, 5}),
			Truncation{5, false}},
	} {
		if got := DecideTruncation(v.leader, v.fetchAt, v.own.end, v.own); got != v.want {
			t.Errorf("%s: %+v, want %+v", v.name, got, v.want)
		}
	}
}

func TestCheckLineage(t *testing.T) {
	log := logOf(20, EpochEnd{1, 0}, EpochEnd{4, 10})
	none := EpochEnd{model.NoLeaderEpoch, model.NoOffset}
	for _, v := range []struct {
		name  string
		at    FetchPosition
		start model.Offset
		want  Lineage
		div   EpochEnd
	}{
		{"no epoch given, in range", FetchPosition{5, -1}, 0, Agrees, none},
		{"no epoch given, at the end", FetchPosition{20, -1}, 0, Agrees, none},
		{"no epoch given, beyond", FetchPosition{21, -1}, 0, OutOfRange, none},
		{"agrees", FetchPosition{10, 1}, 0, Agrees, none},
		{"old epoch written past its end", FetchPosition{12, 1}, 0, Diverges, EpochEnd{1, 10}},
		{"epoch that the leader never had", FetchPosition{12, 3}, 0, Diverges, EpochEnd{1, 10}},
		{"latest epoch, past the end", FetchPosition{25, 4}, 0, Diverges, EpochEnd{4, 20}},
		{"epoch above the latest", FetchPosition{12, 9}, 0, OutOfRange, none},
		{"below the log start goes before divergence (KAFKA-12996)", FetchPosition{3, 3}, 5, OutOfRange, none},
	} {
		got, div := CheckLineage(v.at, v.start, 20, log)
		if got != v.want || div != v.div {
			t.Errorf("%s: %d %+v, want %d %+v", v.name, got, div, v.want, v.div)
		}
	}
}

func TestOutOfRange(t *testing.T) {
	for _, v := range []struct {
		own, end, start model.Offset
		want            RangeAction
		at              model.Offset
	}{
		{100, 80, model.NoOffset, TruncateTo, 80},               // unclean election (KAFKA-7414)
		{100, 100, model.NoOffset, AskEarliest, model.NoOffset}, //
		{100, 500, model.NoOffset, AskEarliest, model.NoOffset}, //
		{100, 500, 300, StartAt, 300},                           // the leader deleted what we need
		{100, 500, 100, Continue, 100},                          //
		{100, 500, 20, Continue, 100},                           //
		{0, 500, 300, StartAt, 300},                             // an empty replica (KAFKA-8306)
		{100, 80, 80, TruncateTo, 80},                           //
	} {
		d := DecideOutOfRange(v.own, v.end, v.start)
		if d.Action != v.want || d.Offset != v.at {
			t.Errorf("own=%d leader=[%d,%d]: %+v", v.own, v.start, v.end, d)
		}
	}
}
