package replica

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/datadriven"

	"tidemark/internal/model"
)

// TestInteractions runs the stories in testdata. Every node has a log (an
// epoch list and an end) and at most one role; one node leads.
func TestInteractions(t *testing.T) {
	datadriven.Walk(t, "testdata", func(t *testing.T, path string) {
		c := &cluster{links: map[model.BrokerID]Link{}, nodes: map[model.BrokerID]*node{}, lag: 30 * time.Second, start: time.Unix(1000, 0)}
		c.now = c.start
		datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string {
			c.out.Reset()
			c.run(t, d)
			if c.out.Len() == 0 {
				return "ok\n"
			}
			return c.out.String()
		})
	})
}

type node struct {
	id       model.BrokerID
	epochs   []EpochEnd // Epoch and its start
	end      model.Offset
	hw       model.Offset
	follower *Follower
	status   BrokerStatus
	session  time.Time
}

// EndOffsetFor is the rule of the leader-epoch cache.
func (n *node) EndOffsetFor(e model.LeaderEpoch) (model.LeaderEpoch, model.Offset) {
	k := len(n.epochs)
	switch {
	case k == 0 || e == model.NoLeaderEpoch || e > n.epochs[k-1].Epoch:
		return model.NoLeaderEpoch, model.NoOffset
	case e == n.epochs[k-1].Epoch:
		return e, n.end
	case e < n.epochs[0].Epoch:
		return e, n.epochs[0].End
	}
	i, _ := slices.BinarySearchFunc(n.epochs, e+1, func(a EpochEnd, e model.LeaderEpoch) int { return int(a.Epoch - e) })
	return n.epochs[i-1].Epoch, n.epochs[i].End
}

func (n *node) lastEpoch() model.LeaderEpoch {
	for i := len(n.epochs) - 1; i >= 0; i-- {
		if n.epochs[i].End < n.end {
			return n.epochs[i].Epoch
		}
	}
	return model.NoLeaderEpoch
}

func (n *node) assign(e model.LeaderEpoch, at model.Offset) {
	n.epochs = slices.DeleteFunc(n.epochs, func(x EpochEnd) bool { return x.Epoch >= e || x.End >= at })
	n.epochs = append(n.epochs, EpochEnd{e, at})
}

func (n *node) truncate(at model.Offset) {
	n.end = at
	n.epochs = slices.DeleteFunc(n.epochs, func(x EpochEnd) bool { return x.End >= at })
}

type cluster struct {
	nodes    map[model.BrokerID]*node
	replicas []model.BrokerID
	isr      []model.BrokerID
	leader   *Leader
	at       *node // where leader runs
	lag      time.Duration
	min      int
	gate     bool
	pe       model.PartitionEpoch
	start    time.Time
	now      time.Time
	out      strings.Builder
	links    map[model.BrokerID]Link
}

func (c *cluster) BrokerStatus(id model.BrokerID) BrokerStatus {
	if n := c.nodes[id]; n != nil {
		return n.status
	}
	return BrokerStatus{Epoch: model.NoBrokerEpoch}
}

func (c *cluster) LastFetch(id model.BrokerID) time.Time { return c.nodes[id].session }

// Link implements Links.
func (c *cluster) Link(id model.BrokerID) Link { return c.links[id] }

// sign is one thing that the shell notices about a follower.
func (c *cluster) sign(t *testing.T, d *datadriven.TestData, id model.BrokerID) { // flat switch
	switch {
	case d.HasArg("squeezed"):
		c.leader.Squeezed(id, c.now)
	case d.HasArg("oversized"):
		c.leader.Oversized(id, 3<<20, 1<<20, c.now)
	case d.HasArg("diverged"):
		c.leader.Diverged(id, 70, c.now)
	case d.HasArg("refused"):
		c.leader.Refused(id, "leader epoch 2, leader is at 3", c.now)
	case d.HasArg("no-space"):
		c.leader.Troubled(id, Trouble{TroubleNoSpace, "no space left on device"})
	case d.HasArg("append-failed"):
		c.leader.Troubled(id, Trouble{TroubleAppend, "input/output error"})
	case d.HasArg("damaged"):
		c.leader.Troubled(id, Trouble{TroubleBadRecords, "crc 1, stored 2"})
	case d.HasArg("too-large"):
		c.leader.Troubled(id, Trouble{TroubleOversized, "response of 200 MB, limit is 128 MB"})
	default:
		t.Fatalf("%s: unknown sign", d.Pos)
	}
}

func (c *cluster) p(format string, a ...any) { fmt.Fprintf(&c.out, format+"\n", a...) }

func (c *cluster) perform(e Effects) {
	for _, ev := range e.Evidence {
		c.p("because %s", ev)
	}
	if e.Propose != nil {
		c.p("AlterPartition isr=%s base=%d", ids(e.Propose.IDs()), e.Propose.PartitionEpoch)
	}
	if e.Advanced {
		c.at.hw = e.HighWatermark
		c.p("hw -> %d", e.HighWatermark)
	}
	for _, a := range e.Acks {
		s := fmt.Sprintf("acked %d after %s, last was %d:", a.End, a.Wait, a.Last)
		for _, p := range AckPhases() {
			if d := a.Phases[p]; d > 0 {
				s += fmt.Sprintf(" %s=%s", p, d)
			}
		}
		c.p("%s", s)
	}
}

func (c *cluster) run(t *testing.T, d *datadriven.TestData) { // flat switch
	node := func() *node {
		var id int
		d.ScanArgs(t, "id", &id)
		return c.nodes[model.BrokerID(id)]
	}
	switch d.Cmd {
	case "cluster": // cluster nodes=(1,2,3) min=2 lag=10s [flush-gate]
		c.makeCluster(t, d)
	case "log": // log id=1 epochs=(0@0,1@12) end=15 hw=10
		c.setLog(t, d, node())
	case "lead": // lead id=1 epoch=3 [isr=(1,2)] [down=(3)]
		c.lead(t, d, node())
	case "append": // append n=5 [acks-all]
		var n int
		d.ScanArgs(t, "n", &n)
		c.at.end += model.Offset(n)
		if d.HasArg("acks-all") {
			c.leader.Await(c.at.end, c.now)
		}
		c.perform(c.leader.Appended(c.at.end, c, c.now))
	case "flush": // flush to=5
		var to int64
		d.ScanArgs(t, "to", &to)
		c.perform(c.leader.Flushed(model.Offset(to), c.now))
	case "fetch": // fetch id=2 [at=110] [max=4] [broker-epoch=3] [append=2ms]: the follower fetches, the leader answers, the follower applies
		c.fetch(t, d, node())
	case "session": // session id=2: its incremental fetch names no partition
		node().session = c.now
	case "broker": // broker id=3 [fenced] [leaving] [unfenced] [epoch=9]
		c.broker(t, d, node())
	case "sleep": // sleep 6s: Tick runs at every lag/2
		c.sleep(t, d)
	case "reconsider": // a broker was unfenced
		c.perform(c.leader.Reconsider(c.now))
	case "tick":
		c.perform(c.leader.Tick(c, c.now))
	case "isr-committed": // isr-committed [isr=(1,2)] [proposal=1]
		c.committed(t, d)
	case "isr-refused": // isr-refused why=ineligible|retry|stale
		why := map[string]Refusal{"ineligible": RefusedIneligible, "retry": RefusedRetry, "stale": RefusedStale}
		var s string
		d.ScanArgs(t, "why", &s)
		c.perform(c.leader.ISRRejected(c.leader.proposals, why[s], c.now))
	case "metadata": // metadata isr=(1,2) [pe=4] [replicas=(1,2,3)]
		c.metadata(t, d)
	case "min-isr": // min-isr n=1
		d.ScanArgs(t, "n", &c.min)
		c.perform(c.leader.Configure(c.min, c.lag, c.gate, c.now))
	case "consume": // consume: what a consumer may read at the leader
		c.p("readable [0, %d), log [0, %d)", c.leader.HighWatermark(), c.leader.LogEnd())
	case "acks-all": // is an acks=all append admitted?
		c.p("admitted=%v", c.leader.AdmitsAcksAll())
	case "latest": // ListOffsets latest
		if !c.leader.KnowsCommitted() {
			c.p("OFFSET_NOT_AVAILABLE hw=%d epoch-start=%d", c.leader.HighWatermark(), c.leader.EpochStart())
			return
		}
		c.p("latest=%d", c.leader.HighWatermark())
	case "hold": // who keeps the high watermark back?
		h := c.leader.Hold(c.now)
		c.p("broker=%d leo=%d %s", h.Broker, h.LEO, h.Reason)
	case "withhold": // withhold id=4: the quota left nothing for its fetch
		c.perform(c.leader.Withheld(node().id, c.now))
	case "limit": // limit ids=(4): followers with a throttle of their own
		c.leader.Limit(scanIDs(t, d, "ids"))
	case "serve": // serve id=2 [read=120ms]: records are read for its fetch
		var took string
		c.leader.Served(node().id, c.now)
		if d.MaybeScanArgs(t, "read", &took) {
			c.leader.ReadTook(node().id, mustDuration(t, took))
		}
	case "sign": // sign id=2 what: something that the leader notices
		c.sign(t, d, node().id)
	case "link": // link id=2 [open] [retransmits=3]: the state of its connection
		var n int
		d.MaybeScanArgs(t, "retransmits", &n)
		c.links[node().id] = Link{Known: true, Open: d.HasArg("open"), Retransmits: n}
	case "replicas": // replicas ids=(1,2): what the next leadership finds
		c.replicas = scanIDs(t, d, "ids")
	case "assignment": // assignment [dead=(3)] [removing=(3)]
		a := Assignment{Replicas: c.replicas, ISR: c.isr, PartitionEpoch: c.pe, Dead: scanIDs(t, d, "dead"), Removing: scanIDs(t, d, "removing")}
		c.perform(c.leader.Update(a, c.now))
	case "health": // what the leader says of each follower
		for _, f := range c.leader.Followers(c, c.now) {
			c.p("%d: %s", f.ID, f.Condition)
		}
	case "status":
		c.status()
	default:
		t.Fatalf("%s: unknown command %q", d.Pos, d.Cmd)
	}
}

func (c *cluster) makeCluster(t *testing.T, d *datadriven.TestData) {
	var nodes []int
	d.ScanArgs(t, "nodes", &nodes)
	d.MaybeScanArgs(t, "min", &c.min)
	c.gate = d.HasArg("flush-gate")
	var lag string
	if d.MaybeScanArgs(t, "lag", &lag) {
		c.lag = mustDuration(t, lag)
	}
	for _, id := range nodes {
		b := model.BrokerID(id)
		c.replicas = append(c.replicas, b)
		c.nodes[b] = &node{id: b, status: BrokerStatus{Epoch: model.BrokerEpoch(id), Eligible: true}}
	}
	c.isr = c.replicas
}

func mustDuration(t *testing.T, s string) time.Duration {
	v, err := time.ParseDuration(s)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func (c *cluster) setLog(t *testing.T, d *datadriven.TestData, n *node) {
	var epochs []string
	d.ScanArgs(t, "epochs", &epochs)
	n.epochs = nil
	for _, s := range epochs {
		var e EpochEnd
		if _, err := fmt.Sscanf(s, "%d@%d", &e.Epoch, &e.End); err != nil {
			t.Fatal(err)
		}
		n.epochs = append(n.epochs, e)
	}
	var end, hw int64
	d.ScanArgs(t, "end", &end)
	d.MaybeScanArgs(t, "hw", &hw)
	n.end, n.hw = model.Offset(end), model.Offset(hw)
}

func (c *cluster) lead(t *testing.T, d *datadriven.TestData, n *node) {
	var epoch int32
	d.ScanArgs(t, "epoch", &epoch)
	if s := scanIDs(t, d, "isr"); s != nil {
		c.isr = s
	}
	down := scanIDs(t, d, "down")
	c.pe++
	var prev *Leader
	if c.at == n {
		prev = c.leader
	}
	c.at, n.follower = n, nil
	n.assign(model.LeaderEpoch(epoch), n.end)
	l, eff := NewLeader(LeaderOptions{
		Self: n.id, Epoch: model.LeaderEpoch(epoch), MinISR: c.min, LagTimeMax: c.lag, Brokers: c,
		Assignment: Assignment{Replicas: c.replicas, ISR: c.isr, PartitionEpoch: c.pe},
		LogEnd:     n.end, Flushed: n.end, HighWatermark: n.hw, FlushGate: c.gate, Previous: prev,
	}, c.now)
	c.leader = l
	c.perform(eff)
	for _, id := range c.replicas {
		if f := c.nodes[id]; id != n.id && !slices.Contains(down, id) {
			f.follower = NewFollower(FollowerOptions{
				Leader: n.id, Epoch: model.LeaderEpoch(epoch), LogEnd: f.end, Flushed: f.end, HighWatermark: f.hw,
			})
		}
	}
}

func scanIDs(t *testing.T, d *datadriven.TestData, key string) []model.BrokerID {
	var v []int
	if !d.MaybeScanArgs(t, key, &v) {
		return nil
	}
	var out []model.BrokerID
	for _, id := range v {
		out = append(out, model.BrokerID(id))
	}
	return out
}

func (c *cluster) fetch(t *testing.T, d *datadriven.TestData, n *node) {
	n.session = c.now
	at, room := n.follower.FetchOffset(), 1<<30
	var raw int64
	if d.MaybeScanArgs(t, "at", &raw) {
		at = model.Offset(raw)
	}
	d.MaybeScanArgs(t, "max", &room)
	pos := FetchPosition{Offset: at, LastFetchedEpoch: n.lastEpoch()}
	switch v, div := CheckLineage(pos, 0, c.at.end, c.at); v {
	case OutOfRange:
		c.p("OFFSET_OUT_OF_RANGE at=%d", at)
		return
	case Diverges:
		cut := DecideTruncation(div, at, n.end, n)
		c.p("diverging at=%d epoch=%d: leader ends it at %d (epoch %d)", at, pos.LastFetchedEpoch, div.End, div.Epoch)
		n.truncate(cut.To)
		eff := n.follower.Truncated(0, cut.To, ReasonDiverged, c.now)
		n.hw = n.follower.HighWatermark()
		c.p("%d truncates to %d, done=%v, hw=%d", n.id, cut.To, cut.Done, eff.HighWatermark)
		return
	}
	be := int64(n.status.Epoch)
	d.MaybeScanArgs(t, "broker-epoch", &be)
	from := ReplicaFetch{Broker: n.id, Epoch: model.BrokerEpoch(be), Offset: at}
	var took string
	if d.MaybeScanArgs(t, "append", &took) {
		from.Report = Report{Told: true, Append: mustDuration(t, took), AppendP99: mustDuration(t, took)}
		d.MaybeScanArgs(t, "behind", &from.Report.Behind)
		d.MaybeScanArgs(t, "throttled", &from.Report.Throttled)
	}
	eff, err := c.leader.Fetched(from, c.now)
	if err != nil {
		c.p("refused: %v", err)
		return
	}
	c.perform(eff)
	if d.HasArg("at") {
		return
	}
	to := min(c.at.end, at+model.Offset(room))
	if to > at {
		c.leader.Served(n.id, c.now)
	}
	c.p("%d fetches at %d: records [%d, %d), hw=%d", n.id, at, at, to, c.leader.HighWatermark())
	for e := at; e < to; e++ {
		if ep := epochAt(c.at, e); ep != n.lastEpoch() {
			n.assign(ep, e)
		}
		n.end = e + 1
	}
	n.follower.Appended(to)
	n.follower.Flushed(to)
	n.follower.Replicated(c.leader.HighWatermark(), 0, c.now)
	n.hw = n.follower.HighWatermark()
}

func epochAt(n *node, at model.Offset) model.LeaderEpoch {
	e := model.NoLeaderEpoch
	for _, x := range n.epochs {
		if x.End <= at {
			e = x.Epoch
		}
	}
	return e
}

func (c *cluster) broker(t *testing.T, d *datadriven.TestData, n *node) {
	if d.HasArg("fenced") {
		n.status.Eligible = false
	}
	if d.HasArg("leaving") {
		n.status.Eligible, n.status.ShuttingDown = false, true
	}
	if d.HasArg("unfenced") {
		n.status.Eligible, n.status.ShuttingDown = true, false
	}
	var e int64
	if d.MaybeScanArgs(t, "epoch", &e) {
		n.status.Epoch = model.BrokerEpoch(e)
	}
}

func (c *cluster) sleep(t *testing.T, d *datadriven.TestData) {
	until := c.now.Add(mustDuration(t, d.CmdArgs[0].Key))
	period := c.lag / 2
	for {
		next := c.start.Add((c.now.Sub(c.start)/period + 1) * period)
		if next.After(until) {
			break
		}
		c.now = next
		eff := c.leader.Tick(c, c.now)
		if len(eff.Evidence) > 0 || eff.Propose != nil {
			c.p("t=%s", c.now.Sub(c.start))
		}
		c.perform(eff)
	}
	c.now = until
}

func (c *cluster) committed(t *testing.T, d *datadriven.TestData) {
	a := ISRAnswer{Proposal: c.leader.proposals, LeaderEpoch: c.leader.epoch, PartitionEpoch: c.pe + 1}
	var n uint64
	if d.MaybeScanArgs(t, "proposal", &n) {
		a.Proposal = n
	}
	if a.ISR = scanIDs(t, d, "isr"); a.ISR == nil {
		if c.leader.isr.Proposal() == nil {
			c.p("nothing in flight")
			return
		}
		a.ISR = c.leader.isr.Proposal().IDs()
	}
	eff := c.leader.ISRCommitted(a, c.now)
	if len(eff.Evidence) > 0 {
		c.pe++
		c.isr = a.ISR
	}
	c.perform(eff)
}

func (c *cluster) metadata(t *testing.T, d *datadriven.TestData) {
	if r := scanIDs(t, d, "replicas"); r != nil {
		c.replicas = r
	}
	pe := int(c.pe) + 1
	d.MaybeScanArgs(t, "pe", &pe)
	isr := scanIDs(t, d, "isr")
	c.perform(c.leader.Update(Assignment{Replicas: c.replicas, ISR: isr, PartitionEpoch: model.PartitionEpoch(pe)}, c.now))
	if model.PartitionEpoch(pe) > c.pe {
		c.pe, c.isr = model.PartitionEpoch(pe), isr
	}
}

func (c *cluster) status() {
	l := c.leader
	c.p("leader %d epoch=%d/%d leo=%d hw=%d %s", l.self, l.epoch, l.pe, l.leo, l.hw, l.isr)
	for _, f := range l.Followers(c, c.now) {
		lag := "never"
		if !f.LastCaughtUp.IsZero() {
			lag = c.now.Sub(f.LastCaughtUp).String()
		}
		c.p("  %d: leo=%d behind=%s", f.ID, f.LEO, lag)
	}
}
