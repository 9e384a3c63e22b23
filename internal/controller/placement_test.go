package controller

import (
	"fmt"
	"slices"
	"testing"

	"tidemark/internal/metadata"
	"tidemark/internal/model"
)

// cluster builds an image with one broker per entry, rack "" meaning none.
func cluster(racks []string, fenced ...model.BrokerID) *metadata.Image {
	img := metadata.Empty()
	for i, rack := range racks {
		id := model.BrokerID(i + 1)
		img.Brokers[id] = &metadata.Broker{
			ID: id, Rack: rack, HasRack: rack != "", Fenced: slices.Contains(fenced, id),
			Dirs: []model.DirectoryID{soleDir(id)},
		}
	}
	return img
}

func seeded(seed uint64) func() uint64 {
	return func() uint64 {
		seed += 0x9e3779b97f4a7c15
		z := (seed ^ seed>>30) * 0xbf58476d1ce4e5b9
		return z ^ z>>27
	}
}

// Rows of racks with the properties that hold for every seed: no broker twice in a
// partition; the first replica unfenced; min(RF, racks) racks; unfenced brokers
// evenly first.
func TestPlacementProperties(t *testing.T) {
	for _, tc := range []struct {
		racks  []string
		fenced []model.BrokerID
		rf     int
	}{
		{racks: []string{"a"}, rf: 1},
		{racks: []string{"", ""}, rf: 2},
		{racks: []string{"a", "a", "b", "b", "c", "c"}, rf: 3},
		{racks: []string{"a", "a", "a", "b", "c"}, rf: 3},
		{racks: []string{"a", "b", "b", "b"}, rf: 3},
		{racks: []string{"a", "b"}, rf: 2},
		{racks: []string{"", "a", "", "b"}, rf: 3},
		{racks: []string{"a", "a", "b"}, rf: 2, fenced: []model.BrokerID{3}},
		{racks: []string{"a", "b", "c"}, rf: 3, fenced: []model.BrokerID{1, 2}},
	} {
		for seed := range uint64(50) {
			img := cluster(tc.racks, tc.fenced...)
			p := newPlacer(img, seeded(seed))
			if res := p.check(tc.rf); res.Failed() {
				t.Fatalf("%v: %s", tc.racks, res)
			}
			for i, replicas := range p.place(40, tc.rf) {
				if why := misplaced(img, replicas, tc.rf); why != "" {
					t.Fatalf("racks %q fenced %v seed %d partition %d %v: %s",
						tc.racks, tc.fenced, seed, i, replicas, why)
				}
			}
		}
	}
}

func misplaced(img *metadata.Image, replicas []model.BrokerID, rf int) string {
	if len(replicas) != rf {
		return fmt.Sprintf("%d replicas, want %d", len(replicas), rf)
	}
	racks, all := map[string]bool{}, map[string]bool{}
	for i, id := range replicas {
		if slices.Contains(replicas[:i], id) {
			return fmt.Sprintf("broker %d twice", id)
		}
		racks[img.Brokers[id].Rack] = true
	}
	for _, b := range img.Brokers {
		all[b.Rack] = true
	}
	if img.Brokers[replicas[0]].Fenced {
		return "the first replica is fenced"
	}
	if len(racks) < min(rf, len(all)) {
		return fmt.Sprintf("in %d racks, there are %d", len(racks), len(all))
	}
	return ""
}

// With equal racks and as many partitions as brokers, each leads equally often.
func TestPlacementSpreadsLeaders(t *testing.T) {
	img := cluster([]string{"a", "a", "b", "b", "c", "c"})
	for seed := range uint64(50) {
		leaders := map[model.BrokerID]int{}
		replicas := map[model.BrokerID]int{}
		for _, r := range newPlacer(img, seeded(seed)).place(6, 3) {
			leaders[r[0]]++
			for _, id := range r {
				replicas[id]++
			}
		}
		for id := range img.Brokers {
			if leaders[id] != 1 || replicas[id] != 3 {
				t.Fatalf("seed %d: leaders %v, replicas %v", seed, leaders, replicas)
			}
		}
	}
}

// Without offsets the stripes are easy to read.
func TestPlacementPattern(t *testing.T) {
	img := cluster([]string{"a", "a", "a", "b", "b", "b", "c", "c", "c"})
	// Each ring moves on by one at its first draw: starting at the last broker
	// makes the first partition begin at the first.
	p := newPlacer(img, func() uint64 { return 2 })
	p.start = 0
	got := fmt.Sprint(p.place(3, 3))
	if want := "[[1 4 7] [5 8 2] [9 3 6]]"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

// The same seed gives the same assignment; another seed another one.
func TestPlacementIsSeeded(t *testing.T) {
	img := cluster([]string{"a", "a", "b", "b", "c", "c"})
	one := fmt.Sprint(newPlacer(img, seeded(1)).place(20, 3))
	if again := fmt.Sprint(newPlacer(img, seeded(1)).place(20, 3)); again != one {
		t.Error("the same seed gave different assignments")
	}
	if other := fmt.Sprint(newPlacer(img, seeded(2)).place(20, 3)); other == one {
		t.Error("two seeds gave the same assignment")
	}
}

func TestPlacementRefuses(t *testing.T) {
	for _, tc := range []struct {
		img *metadata.Image
		rf  int
	}{
		{cluster([]string{"a"}), 0},
		{cluster([]string{"a", "b"}), 3},
		{cluster([]string{"a", "b"}, 1, 2), 1},
		{cluster(nil), 1},
	} {
		if res := newPlacer(tc.img, seeded(1)).check(tc.rf); res.Code != InvalidReplicationFactor {
			t.Errorf("rf %d on %d brokers: %s", tc.rf, len(tc.img.Brokers), res)
		}
	}
}
