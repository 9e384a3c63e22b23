package sim

import (
	"fmt"
	"math/rand/v2"
)

// Swarm is what differs from seed to seed: each run enables some faults, sizes
// and time-outs, so that rare combinations get their turn.
type Swarm struct {
	Brokers, Partitions int
	MinISR              int
	SegmentBytes        int64
	FlushOnAck          bool
	FollowerReads       bool

	Session, Heartbeat int64 // ns
	LagMax             int64
	FetchWait          int64 // how long a fetch parks
	Timeout            int64 // of every request
	Rebalance          int64
	Hints              bool // the controller hears of broken connections

	LatencyMin, LatencyMax int64
	SlowPercent            int // messages that take up to SlowMax
	SlowMax                int64
	DropPerMille           int
	Disk                   int64 // until a flush is done

	Producers, Batches int
	ThinkMax           int64
	WeakAcks           bool // one producer uses acks=1, one acks=0
	DeleteRecords      bool

	Unclean   bool // unclean.leader.election.enable
	PowerLoss bool // a blackout takes what is unsynced, although nothing waits for a flush

	ELR    bool  // eligible.leader.replicas.version is 1
	Skew   int64 // of each clock, at most
	Copies int   // percent of produce requests that are sent twice

	Calm   int64    // between two faults, at most
	Faults []string // enabled
	Heal   int64    // when the faults end
}

var allFaults = []string{
	"kill", "bounce", "clean", "lossy", "wipe", "pause", "cut", "one-way", "isolate", "cut-controllers",
	"reset", "failover", "pause-controller", "lose-alter", "trap", "reassign", "elect",
	"eio", "enospc", "full", "blackout", "clock", "churn",
}

func drawSwarm(r *rand.Rand) Swarm {
	pick := func(v ...int64) int64 { return v[r.IntN(len(v))] }
	half := func() bool { return r.IntN(2) == 0 }
	s := Swarm{
		Brokers: 3 + r.IntN(2), Partitions: 1 + r.IntN(3), MinISR: 1 + r.IntN(2),
		SegmentBytes: pick(256, 512, 1024, 4096, 1<<20), FlushOnAck: r.IntN(3) == 0, FollowerReads: half(),
		Session: pick(1500, 3000, 6000) * ms, LagMax: pick(400, 1000, 3000) * ms,
		FetchWait: pick(100, 300, 500) * ms, Timeout: pick(500, 1000, 2000) * ms, Rebalance: pick(2, 5, 300) * second,
		Hints: half(), LatencyMin: pick(100_000, ms), LatencyMax: pick(2, 10, 50) * ms,
		SlowPercent: int(pick(0, 1, 3)), SlowMax: pick(200, 2000, 8000) * ms, DropPerMille: int(pick(0, 0, 2, 10)),
		Disk: pick(100_000, 5*ms, 50*ms), Producers: 1 + r.IntN(2), Batches: 60 + r.IntN(80),
		ThinkMax: pick(200, 600) * ms, WeakAcks: half(), DeleteRecords: r.IntN(3) == 0,
		Calm: pick(1500, 3000, 5000) * ms, Heal: 40 * second,
	}
	s.Heartbeat = s.Session / 4
	s.ELR, s.Skew, s.Copies = half(), pick(0, 500*ms, 300*second), int(pick(0, 2, 10))
	switch loss := r.IntN(8); {
	case loss == 0:
		s.Unclean = true
	case loss == 1 && !s.FlushOnAck:
		s.PowerLoss = true
		s.Faults = append(s.Faults, "blackout")
	}
	for _, f := range allFaults {
		if r.IntN(5) < 2 {
			s.Faults = append(s.Faults, f)
		}
	}
	return s
}

func (s Swarm) String() string {
	return fmt.Sprintf("brokers=%d partitions=%d min.isr=%d segment=%d flush=%v elr=%v unclean=%v powerloss=%v session=%dms lag=%dms slow=%d%% drop=%d/1000 faults=%v",
		s.Brokers, s.Partitions, s.MinISR, s.SegmentBytes, s.FlushOnAck, s.ELR, s.Unclean, s.PowerLoss, s.Session/ms, s.LagMax/ms, s.SlowPercent,
		s.DropPerMille, s.Faults)
}
