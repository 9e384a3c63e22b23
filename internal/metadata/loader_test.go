package metadata

import (
	"errors"
	"fmt"
	"slices"
	"testing"

	"tidemark/internal/model"
	"tidemark/internal/record"
)

// log builds consecutive batches.
type log struct{ next model.Offset }

func (l *log) stamp(b record.Batch, epoch model.LeaderEpoch) record.Batch {
	b.Stamp(l.next, epoch)
	l.next = b.NextOffset()
	return b
}

func (l *log) data(epoch model.LeaderEpoch, rs ...Record) record.Batch {
	return l.stamp(DataBatch(rs, 25, 0), epoch)
}

func (l *log) control(epoch model.LeaderEpoch, cs ...Control) record.Batch {
	return l.stamp(ControlBatch(cs, 0), epoch)
}

func feature(name string) Record { return &FeatureLevelRecord{Name: name, Level: 1} }

// show tells what a Load published: offset, epoch, alignment, changed features.
func show(us []Update) (out []string) {
	for _, u := range us {
		out = append(out, fmt.Sprintf("%d/%d %v %v", u.Image.Offset, u.Image.Epoch, u.Aligned, u.Delta.Features()))
	}
	return out
}

func TestLoader(t *testing.T) {
	begin, end, abort := &BeginTransactionRecord{}, &EndTransactionRecord{}, &AbortTransactionRecord{}
	var l log
	loader := NewLoader(Empty())
	for _, step := range []struct {
		name    string
		batches []record.Batch
		want    []string
	}{
		{"nothing", nil, nil},
		{"one update for all batches of a call", []record.Batch{
			l.control(1, &LeaderChange{LeaderID: 1}), l.data(1, feature("a")), l.data(1, feature("b"))},
			[]string{"2/1 true [a b]"}},
		{"no-op moves the offset", []record.Batch{l.data(1, &NoOpRecord{})}, []string{"3/1 true []"}},
		{"records before begin are published, the rest waits", []record.Batch{l.data(2, feature("c"), begin, feature("d"))},
			[]string{"4/2 false [c]"}},
		{"still waits", []record.Batch{l.data(2, feature("e"))}, nil},
		{"a new leader inside a transaction", []record.Batch{l.control(3, &LeaderChange{LeaderID: 2})}, nil},
		{"end publishes", []record.Batch{l.data(3, end, feature("f"))}, []string{"10/3 true [d e f]"}},
		{"abort publishes that nothing changed", []record.Batch{l.data(3, begin, feature("g")), l.data(3, abort)},
			[]string{"13/3 true []"}},
		{"begin at a batch boundary", []record.Batch{l.data(4, feature("h")), l.data(5, begin, feature("i"), end)},
			[]string{"14/4 true [h]", "17/5 true [i]"}},
	} {
		us, err := loader.Load(step.batches...)
		if err != nil {
			t.Fatalf("%s: %v", step.name, err)
		}
		if got := show(us); !slices.Equal(got, step.want) {
			t.Errorf("%s: published %q, want %q", step.name, got, step.want)
		}
		if loader.Next() != l.next && len(step.batches) > 0 && step.name == "begin at a batch boundary" {
			t.Errorf("%s: next %d, want %d", step.name, loader.Next(), l.next)
		}
	}
	if _, ok := loader.Image().Features["g"]; ok || len(loader.Image().Features) != 8 {
		t.Errorf("features %v", loader.Image().Features)
	}
}

// Voters belong to the quorum: an abort doesn't take them back.
func TestAbortKeepsVoters(t *testing.T) {
	var l log
	loader := NewLoader(Empty())
	us, err := loader.Load(l.data(1, &BeginTransactionRecord{}, feature("a")),
		l.control(2, &KRaftVersion{Level: 1}, &KRaftVoters{Voters: []Voter{{ID: 7}}}), l.data(2, &AbortTransactionRecord{}))
	if err != nil || len(us) != 1 {
		t.Fatal(us, err)
	}
	if i := us[0].Image; i.KRaftVersion != 1 || len(i.Voters) != 1 || len(i.Features) != 0 ||
		!us[0].Delta.VotersChanged() {
		t.Errorf("%+v", i)
	}
}

func TestLoaderRefuses(t *testing.T) {
	for name, c := range map[string]struct {
		batches func(l *log) []record.Batch
		want    error
	}{
		"gap": {func(l *log) []record.Batch { l.next = 1; return []record.Batch{l.data(1, feature("a"))} }, ErrOffsetGap},
		"end without begin": {func(l *log) []record.Batch {
			return []record.Batch{l.data(1, feature("a"), &EndTransactionRecord{})}
		}, ErrTransaction},
		"abort without begin": {func(l *log) []record.Batch {
			return []record.Batch{l.data(1, &AbortTransactionRecord{})}
		}, ErrTransaction},
		"begin twice": {func(l *log) []record.Batch {
			return []record.Batch{l.data(1, &BeginTransactionRecord{}), l.data(1, &BeginTransactionRecord{})}
		}, ErrTransaction},
		"impossible record": {func(l *log) []record.Batch {
			return []record.Batch{l.data(1, feature("a")), l.data(1, &RemoveTopicRecord{})}
		}, ErrUnknownTopic},
		"bit flip": {func(l *log) []record.Batch {
			b := l.data(1, feature("a"))
			b[len(b)-1] ^= 1
			return []record.Batch{b}
		}, record.ErrCorrupt},
	} {
		loader := NewLoader(Empty())
		us, err := loader.Load(c.batches(&log{})...)
		if !errors.Is(err, c.want) || us != nil || loader.Image().Offset != model.NoOffset {
			t.Errorf("%s: %v, %v, image at %d; want %v", name, us, err, loader.Image().Offset, c.want)
		}
		if _, again := loader.Load(); !errors.Is(again, c.want) {
			t.Errorf("%s: the error doesn't stick: %v", name, again)
		}
	}
}

// ReplayBatch gives brokers the offset of their own record.
func TestReplayBatchOffsets(t *testing.T) {
	l := log{next: 100}
	d := NewDelta(Empty())
	must(t, d.ReplayBatch(l.data(3, &NoOpRecord{}, &RegisterBrokerRecord{BrokerID: 5, BrokerEpoch: 101})))
	if got := d.Pending().Brokers[5].RegisteredAt; got != 101 {
		t.Errorf("registered at %d, want 101", got)
	}
}

// A snapshot that replaces an image tells subscribers what that changed.
func TestBetween(t *testing.T) {
	old := cluster(t, 3)
	next, _ := replayed(t, old,
		&RemoveTopicRecord{TopicID: topicID(0)},
		&PartitionChangeRecord{TopicID: topicID(1), ISR: ids(1)},
		&TopicRecord{Name: "new", TopicID: topicID(60)},
		&PartitionRecord{TopicID: topicID(60), Replicas: ids(1), ISR: ids(1), Leader: 1},
		&BrokerRegistrationChangeRecord{BrokerID: 1, BrokerEpoch: 10, Fenced: Unfence},
		&ConfigRecord{Type: BrokerResource, Name: "x", Value: new("y")}, feature(GroupVersionFeature))
	loaded, err := ReadSnapshot(WriteSnapshot(next, 0, 0), next.Offset, next.Epoch)
	must(t, err)
	d := Between(old, loaded)
	changed, deleted := d.Topics()
	if len(changed) != 2 || changed[0].New.Name != "new" || changed[1].New.Name != "t00001" ||
		len(changed[1].Partitions) != 1 {
		t.Errorf("changed %+v", changed)
	}
	if !slices.Equal(deleted, []model.TopicID{topicID(0)}) || !slices.Equal(d.Brokers(), ids(1)) ||
		!d.LiveBrokersChanged() ||
		len(d.ConfigChanges()) != 1 || !slices.Equal(d.Features(), []string{GroupVersionFeature}) {
		t.Errorf("deleted %v brokers %v configs %v features %v", deleted, d.Brokers(), d.ConfigChanges(), d.Features())
	}
	if d.Image() != loaded || d.Base() != old || d.Empty() {
		t.Error("the delta must lead from old to loaded")
	}
}
