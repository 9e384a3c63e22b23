package controller

import (
	"cmp"
	"slices"
	"strings"

	"tidemark/internal/metadata"
	"tidemark/internal/model"
)

// placer spreads partitions over racks first, then over the brokers of each rack.
// Existing load is not looked at.
//
// Every rack has a ring of unfenced brokers and one of fenced brokers. Partition
// after partition, the replicas are drawn from one rack after another, and every
// ring and the order of racks begin one further on for the next partition. The
// first replica is unfenced. A rack with fenced brokers only still gets replicas:
// spread matters more than liveness.
type placer struct {
	racks   []*rack
	start   int // rack at which the next partition begins
	turn    int // partitions since the last shuffle
	brokers int
	alive   int
	draw    func(n int) int // uniform in [0, n)
}

type rack struct {
	unfenced, fenced ring
}

// ring hands out its brokers once per turn, beginning one further on each time.
type ring struct {
	ids    []model.BrokerID
	offset int
	turn   int // turn of the last draw
	taken  int // brokers drawn in it
}

func (r *ring) next(turn int) (model.BrokerID, bool) {
	if len(r.ids) == 0 {
		return model.NoBroker, false
	}
	if r.turn != turn {
		r.turn, r.taken = turn, 0
		r.offset = (r.offset + 1) % len(r.ids)
	}
	if r.taken == len(r.ids) {
		return model.NoBroker, false
	}
	id := r.ids[(r.offset+r.taken)%len(r.ids)]
	r.taken++
	return id, true
}

func (r *rack) next(turn int) (model.BrokerID, bool) {
	if id, ok := r.unfenced.next(turn); ok {
		return id, true
	}
	return r.fenced.next(turn)
}

// newPlacer takes every registered broker that isn't shutting down.
func newPlacer(img *metadata.Image, rand func() uint64) *placer {
	p := &placer{draw: func(n int) int { return int(rand() % uint64(n)) }}
	type key struct {
		named bool
		name  string
	}
	byName := map[key]*rack{}
	var names []key
	for _, id := range brokerIDs(img) {
		b := img.Brokers[id]
		if b.InControlledShutdown {
			continue
		}
		k := key{b.HasRack, b.Rack}
		r := byName[k]
		if r == nil {
			r = &rack{}
			byName[k] = r
			names = append(names, k)
		}
		p.brokers++
		if b.Fenced {
			r.fenced.ids = append(r.fenced.ids, id)
		} else {
			r.unfenced.ids = append(r.unfenced.ids, id)
			p.alive++
		}
	}
	slices.SortFunc(names, func(a, b key) int {
		if a.named != b.named {
			if b.named {
				return -1
			}
			return 1
		}
		return cmp.Compare(a.name, b.name)
	})
	for _, k := range names {
		r := byName[k]
		r.unfenced.begin(p.draw)
		r.fenced.begin(p.draw)
		p.racks = append(p.racks, r)
	}
	if len(p.racks) > 0 {
		p.start = p.draw(len(p.racks))
	}
	return p
}

func (r *ring) begin(draw func(int) int) {
	r.turn = -1
	if len(r.ids) > 0 {
		r.offset = draw(len(r.ids))
	}
}

// check reports why partitions of that many replicas can't be placed.
func (p *placer) check(replicas int) Result {
	switch {
	case replicas <= 0:
		return fail(InvalidReplicationFactor, "Invalid replication factor %d: the replication factor must be "+
			"positive.", replicas)
	case p.alive == 0:
		return fail(InvalidReplicationFactor, "All brokers are currently fenced, or have all their log directories "+
			"cordoned.")
	case replicas > p.brokers:
		return fail(InvalidReplicationFactor, "The target replication factor of %d cannot be reached because "+
			"only %d broker(s) are registered or some brokers have all their log directories cordoned.", replicas, p.brokers)
	}
	return Result{}
}

// place returns the replicas of n partitions; check has passed.
func (p *placer) place(n, replicas int) [][]model.BrokerID {
	out := make([][]model.BrokerID, n)
	for i := range out {
		out[i] = p.one(replicas)
	}
	return out
}

func (p *placer) one(replicas int) []model.BrokerID {
	// After as many partitions as there are live brokers the pattern would
	// repeat, and one broker's death would always load the same neighbour.
	if p.turn == p.alive && p.alive > 1 {
		p.shuffle()
		p.turn = 0
	}
	out := make([]model.BrokerID, 0, replicas)
	leaderRack := -1
	for i := 0; i < len(p.racks) && leaderRack < 0; i++ {
		at := (p.start + i) % len(p.racks)
		if id, ok := p.racks[at].unfenced.next(p.turn); ok {
			out, leaderRack = append(out, id), at
		}
	}
	skipped := false
	for i := p.start; len(out) < replicas; i++ {
		at := i % len(p.racks)
		if at == leaderRack && !skipped {
			skipped = true
			continue
		}
		if id, ok := p.racks[at].next(p.turn); ok {
			out = append(out, id)
		}
	}
	p.start = (p.start + 1) % len(p.racks)
	p.turn++
	return out
}

func (p *placer) shuffle() {
	shuffle(p.racks, p.draw)
	for _, r := range p.racks {
		shuffle(r.unfenced.ids, p.draw)
		shuffle(r.fenced.ids, p.draw)
		// The turn counter starts over: the last turn's number must not look used.
		r.unfenced.turn, r.fenced.turn = -1, -1
	}
}

func shuffle[T any](s []T, draw func(int) int) {
	for i := len(s) - 1; i > 0; i-- {
		j := draw(i + 1)
		s[i], s[j] = s[j], s[i]
	}
}

func joinIDs(ids []model.BrokerID) string {
	var b strings.Builder
	for i, id := range ids {
		if i > 0 {
			b.WriteString(", ")
		}
		b.WriteString(idString(id))
	}
	return b.String()
}
