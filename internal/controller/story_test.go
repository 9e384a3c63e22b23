package controller

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/datadriven"

	"tidemark/internal/metadata"
	"tidemark/internal/model"
)

// TestStories runs the interaction files: one scenario each, told in prose.
func TestStories(t *testing.T) {
	datadriven.Walk(t, "testdata/story", func(t *testing.T, path string) {
		s := newStory()
		datadriven.RunTest(t, path, s.run)
	})
}

// story drives one core and commits what it decides, at once or, between hold and
// commit, all together.
type story struct {
	core  *Core
	cfg   Config
	img   *metadata.Image
	now   time.Time
	next  model.Offset
	ids   byte
	seed  uint64
	held  []metadata.Record
	hold  bool
	lives map[model.BrokerID]byte // incarnations
	out   strings.Builder
}

func newStory() *story {
	cfg := DefaultConfig()
	cfg.ClusterID, cfg.NodeID, cfg.NoOpInterval = "tide", 100, 0
	return &story{cfg: cfg, img: metadata.Empty(), now: time.Unix(1000, 0), lives: map[model.BrokerID]byte{}}
}

func (s *story) env() Env {
	return Env{
		Now: s.now, NextOffset: s.next,
		NewID: func() model.UUID { s.ids++; return model.UUID{0: 0xee, 15: s.ids} },
		Rand:  func() uint64 { s.seed++; return s.seed * 0x9e3779b97f4a7c15 >> 33 },
	}
}

// take accepts records and commits them unless they are held back.
func (s *story) take(recs []metadata.Record) {
	for _, r := range recs {
		fmt.Fprintln(&s.out, line(r))
	}
	s.next += model.Offset(len(recs))
	s.held = append(s.held, recs...)
	if !s.hold {
		s.commit()
	}
}

func (s *story) commit() {
	d := metadata.NewDelta(s.img)
	for _, r := range s.held {
		if err := d.Replay(r); err != nil {
			panic(err)
		}
	}
	if len(s.held) > 0 {
		s.img = d.Apply(s.next-1, 1)
		s.core.Replayed(s.img)
	}
	s.held, s.hold = nil, false
}

func (s *story) decide(req any) any {
	d := s.core.Decide(req, s.env())
	if d.Err != nil {
		fmt.Fprintln(&s.out, d.Err)
		return nil
	}
	s.take(d.Records)
	for _, e := range d.Evidence {
		fmt.Fprintln(&s.out, "  "+e.String())
	}
	return d.Response
}

func (s *story) evidence() {
	for _, e := range s.core.DrainEvidence() {
		fmt.Fprintln(&s.out, "  "+e.String())
	}
}

// flat switch: the vocabulary, an example each.
func (s *story) run(t *testing.T, d *datadriven.TestData) string {
	s.out.Reset()
	switch d.Cmd {
	case "config": // config elr default-rf=3 min-isr=2 unclean no-delete level=17
		s.config(t, d)
	case "activate": // activate
		s.core = New(s.cfg)
		s.take(s.core.Activate(s.img, 1, s.env()))
		s.evidence()
	case "register": // register 1 life=2 dirs=(A,B) rack=x prev=5 cluster=other max-level=7
		s.register(t, d)
	case "heartbeat": // heartbeat 1 offset=9 want-fence shutdown offline=(A) epoch=7
		s.heartbeat(t, d)
	case "unregister": // unregister 1
		s.respond(s.decide(&UnregisterBroker{Broker: s.broker(t, d)}))
	case "brokers": // brokers 1 2 3: register and unfence each, one directory each, quietly
		s.brokers(t, d)
	case "sleep": // sleep 5s
		dur, err := time.ParseDuration(d.CmdArgs[0].Key)
		if err != nil {
			t.Fatal(err)
		}
		s.now = s.now.Add(dur)
	case "tick": // tick
		s.take(s.core.Tick(s.env()))
		s.evidence()
		fmt.Fprintf(&s.out, "next tick in %s\n", s.core.NextTick().Sub(s.now))
	case "hint": // hint 1
		s.take(s.core.Hint(s.broker(t, d), s.env()))
		s.evidence()
	case "create": // create t partitions=2 rf=3 | create t replicas=(1,2,3) min.insync.replicas=2
		s.create(t, d)
	case "alter": // alter t-0 from=1 isr=(1,2:9) epoch=0/0 recovering
		s.alter(t, d)
	case "elect": // elect t-0 unclean
		typ := ElectPreferred
		if d.HasArg("unclean") {
			typ = ElectUnclean
		}
		s.respond(s.decide(&ElectLeaders{Type: typ, Partitions: []model.TopicPartition{tp(d.CmdArgs[0].Key)}}))
	case "assign": // assign t-0 broker=1 dir=B
		s.assign(t, d)
	case "reassign": // reassign t-0 to=(4,5) keep-rf | reassign t-0 cancel
		s.respond(s.decide(&AlterPartitionReassignments{
			AllowRFChange: !d.HasArg("keep-rf"), Partitions: []Reassign{{
				Partition: tp(d.CmdArgs[0].Key), Cancel: d.HasArg("cancel"), Replicas: brokerArg(d, "to"),
			}}}))
	case "set": // set t min.insync.replicas=2
		s.set(d)
	case "hold": // hold: later decisions wait for commit
		s.hold = true
	case "commit": // commit
		s.commit()
	case "fail-over": // fail-over: another controller becomes active on the committed image
		s.held, s.hold = nil, false
		s.next = s.img.Offset + 1
		s.core.Resign()
		s.core = New(s.cfg)
		s.take(s.core.Activate(s.img, 2, s.env()))
	case "status": // status
		s.status()
	default:
		t.Fatalf("unknown command %s", d.Cmd)
	}
	if s.out.Len() == 0 {
		return "ok\n"
	}
	return s.out.String()
}

func (s *story) config(t *testing.T, d *datadriven.TestData) {
	s.cfg.Static = map[string]string{}
	for _, a := range d.CmdArgs {
		switch a.Key {
		case "elr":
			s.cfg.Features = map[string]int16{metadata.MetadataVersionFeature: 25, metadata.ELRVersionFeature: 1}
		case "min-isr":
			s.cfg.Static[minISRConfig] = a.Vals[0]
		case "unclean":
			s.cfg.Static[uncleanConfig] = "true"
		case "level":
			n, _ := strconv.Atoi(a.Vals[0])
			s.cfg.Features = map[string]int16{metadata.MetadataVersionFeature: int16(n)}
		default:
			t.Fatalf("unknown setting %s", a.Key)
		}
	}
}

func (s *story) register(t *testing.T, d *datadriven.TestData) {
	id := s.broker(t, d)
	life := s.lives[id]
	if d.HasArg("life") {
		life = byte(intArg(d, "life", 0))
	}
	s.lives[id] = life
	r := &RegisterBroker{
		Broker: id, ClusterID: "tide", Incarnation: model.UUID{0: life + 1, 15: byte(id)},
		Endpoints: []metadata.Endpoint{{Name: "PLAINTEXT", Host: "b" + idString(id), Port: 9092}},
		Features: map[string]metadata.VersionRange{
			metadata.MetadataVersionFeature: {Min: 7, Max: int16(intArg(d, "max-level", 30))},
			metadata.ELRVersionFeature:      {Min: 0, Max: 1},
		},
		PreviousEpoch: model.BrokerEpoch(intArg(d, "prev", -1)),
		Dirs:          []model.DirectoryID{soleDir(id)},
	}
	if dirs, ok := arg(d, "dirs"); ok {
		r.Dirs = nil
		for _, v := range dirs {
			r.Dirs = append(r.Dirs, dir(v))
		}
	}
	if rack, ok := arg(d, "rack"); ok {
		r.Rack, r.HasRack = rack[0], true
	}
	if cluster, ok := arg(d, "cluster"); ok {
		r.ClusterID = cluster[0]
	}
	s.respond(s.decide(r))
}

func (s *story) heartbeat(t *testing.T, d *datadriven.TestData) {
	r := &BrokerHeartbeat{
		Broker: s.broker(t, d), MetadataOffset: model.Offset(intArg(d, "offset", int(s.img.Offset))),
		WantFence: d.HasArg("want-fence"), WantShutdown: d.HasArg("shutdown"),
	}
	r.Epoch = model.BrokerEpoch(intArg(d, "epoch", int(s.epoch(r.Broker))))
	dirs, _ := arg(d, "offline")
	for _, v := range dirs {
		r.OfflineDirs = append(r.OfflineDirs, dir(v))
	}
	s.respond(s.decide(r))
}

func (s *story) brokers(t *testing.T, d *datadriven.TestData) {
	for _, a := range d.CmdArgs {
		id := model.BrokerID(number64(a.Key))
		s.decide(&RegisterBroker{
			Broker: id, ClusterID: "tide", Incarnation: model.UUID{0: 1, 15: byte(id)},
			Endpoints: []metadata.Endpoint{{Name: "PLAINTEXT", Host: "b", Port: 9092}},
			Features: map[string]metadata.VersionRange{
				metadata.MetadataVersionFeature: {Min: 7, Max: 30}, metadata.ELRVersionFeature: {Min: 0, Max: 1},
			},
			PreviousEpoch: -1, Dirs: []model.DirectoryID{soleDir(id)},
		})
		s.decide(&BrokerHeartbeat{Broker: id, Epoch: s.epoch(id), MetadataOffset: s.img.Offset})
	}
	s.out.Reset()
}

func (s *story) create(t *testing.T, d *datadriven.TestData) {
	nt := NewTopic{
		Name: d.CmdArgs[0].Key, Partitions: int32(intArg(d, "partitions", -1)),
		ReplicationFactor: int16(intArg(d, "rf", -1)),
	}
	if r := brokerArg(d, "replicas"); r != nil {
		nt.Assignments = []Assignment{{Replicas: r}}
	}
	for _, a := range d.CmdArgs[1:] {
		if strings.Contains(a.Key, ".") {
			nt.Configs = append(nt.Configs, ConfigEntry{a.Key, &a.Vals[0]})
		}
	}
	resp := s.decide(&CreateTopics{Topics: []NewTopic{nt}}).(*CreateTopicsResponse)
	fmt.Fprintln(&s.out, "->", resp.Topics[0].Result)
}

func (s *story) alter(t *testing.T, d *datadriven.TestData) {
	where := tp(d.CmdArgs[0].Key)
	p := AlterPartition{Partition: s.id(where), Recovery: metadata.Recovered}
	if _, part, ok := s.img.Partition(where); ok {
		p.LeaderEpoch, p.PartitionEpoch = part.LeaderEpoch, part.PartitionEpoch
	}
	if v, ok := arg(d, "epoch"); ok {
		le, pe, _ := strings.Cut(v[0], "/")
		p.LeaderEpoch = model.LeaderEpoch(number64(le))
		p.PartitionEpoch = model.PartitionEpoch(number64(pe))
	}
	if d.HasArg("recovering") {
		p.Recovery = metadata.Recovering
	}
	isr, _ := arg(d, "isr")
	for _, v := range isr {
		id, epoch, with := strings.Cut(v, ":")
		m := ISRMember{Broker: model.BrokerID(number64(id)), Epoch: model.NoBrokerEpoch}
		if with {
			m.Epoch = model.BrokerEpoch(number64(epoch))
		}
		p.ISR = append(p.ISR, m)
	}
	from := model.BrokerID(intArg(d, "from", 0))
	req := &AlterPartitions{Broker: from, Epoch: s.epoch(from), Partitions: []AlterPartition{p}}
	req.Epoch = model.BrokerEpoch(intArg(d, "broker-epoch", int(req.Epoch)))
	s.respond(s.decide(req))
}

func (s *story) assign(t *testing.T, d *datadriven.TestData) {
	v, _ := arg(d, "dir")
	id := model.BrokerID(intArg(d, "broker", 0))
	s.respond(s.decide(&AssignReplicasToDirs{Broker: id, Epoch: s.epoch(id), Assignments: []DirAssignment{
		{Dir: dir(v[0]), Partition: s.id(tp(d.CmdArgs[0].Key))},
	}}))
}

func (s *story) set(d *datadriven.TestData) {
	r := metadata.Resource{Type: metadata.TopicResource, Name: d.CmdArgs[0].Key}
	if r.Name == "cluster" {
		r = metadata.Resource{Type: metadata.BrokerResource}
	}
	ch := ConfigChange{Resource: r}
	for _, a := range d.CmdArgs[1:] {
		ch.Ops = append(ch.Ops, ConfigOp{Name: a.Key, Value: &a.Vals[0]})
	}
	resp := s.decide(&IncrementalAlterConfigs{Resources: []ConfigChange{ch}}).(*AlterConfigsResponse)
	fmt.Fprintln(&s.out, "->", resp.Resources[0].Result)
}

func (s *story) respond(resp any) { // flat switch
	switch r := resp.(type) {
	case *RegisterBrokerResponse:
		fmt.Fprintf(&s.out, "-> %s epoch=%d\n", r.Result, r.Epoch)
	case *BrokerHeartbeatResponse:
		fmt.Fprintf(&s.out, "-> %s caught-up=%t fenced=%t stop=%t\n", r.Result, r.CaughtUp, r.Fenced, r.ShouldShutdown)
	case *AlterPartitionsResponse:
		if r.Failed() {
			fmt.Fprintln(&s.out, "->", r.Result)
			return
		}
		p := r.Partitions[0]
		fmt.Fprintf(&s.out, "-> %s", p.Result)
		if !p.Failed() {
			fmt.Fprintf(&s.out, " leader=%d epoch=%d/%d isr=%v", p.Leader, p.LeaderEpoch, p.PartitionEpoch, p.ISR)
		}
		s.out.WriteByte('\n')
	case *ElectLeadersResponse:
		fmt.Fprintln(&s.out, "->", r.Partitions[0].Result)
	case *AlterPartitionReassignmentsResponse:
		fmt.Fprintln(&s.out, "->", r.Partitions[0].Result)
	case *AssignReplicasToDirsResponse:
		if r.Failed() {
			fmt.Fprintln(&s.out, "->", r.Result)
			return
		}
		fmt.Fprintln(&s.out, "->", r.Assignments[0].Code)
	case *UnregisterBrokerResponse:
		fmt.Fprintln(&s.out, "->", r.Result)
	}
}

func (s *story) status() {
	for _, id := range brokerIDs(s.core.View()) {
		b := s.core.View().Brokers[id]
		state := "unfenced"
		switch {
		case b.Fenced:
			state = "fenced"
		case b.InControlledShutdown:
			state = "shutting down"
		}
		fmt.Fprintf(&s.out, "broker %d epoch=%d %s dirs=%s\n", id, b.Epoch, state, dirNames(b.Dirs))
	}
	for _, p := range partitions(s.core.View(), func(*metadata.Partition) bool { return true }) {
		q := p.part()
		fmt.Fprintf(&s.out, "%s leader=%d epoch=%d/%d replicas=%v isr=%v dirs=%s", p.name(), q.Leader,
			q.LeaderEpoch, q.PartitionEpoch, q.Replicas, q.ISR, dirNames(q.Dirs))
		for _, x := range []struct {
			name string
			ids  []model.BrokerID
		}{{"adding", q.Adding}, {"removing", q.Removing}, {"elr", q.ELR}, {"last-known", q.LastKnownELR}} {
			if len(x.ids) > 0 {
				fmt.Fprintf(&s.out, " %s=%v", x.name, x.ids)
			}
		}
		if q.Recovery == metadata.Recovering {
			s.out.WriteString(" recovering")
		}
		s.out.WriteByte('\n')
	}
}

func (s *story) broker(t *testing.T, d *datadriven.TestData) model.BrokerID {
	n, err := strconv.Atoi(d.CmdArgs[0].Key)
	if err != nil {
		t.Fatal(err)
	}
	return model.BrokerID(n)
}

func (s *story) epoch(id model.BrokerID) model.BrokerEpoch {
	if b := s.core.View().Brokers[id]; b != nil {
		return b.Epoch
	}
	return 0
}

func (s *story) id(p model.TopicPartition) model.TopicIDPartition {
	topic := s.core.View().Topics.ByName[p.Topic]
	if topic == nil {
		return model.TopicIDPartition{TopicID: model.TopicID{0: 0xff}, Partition: p.Partition}
	}
	return model.TopicIDPartition{TopicID: topic.ID, Partition: p.Partition}
}

func line(r metadata.Record) string { // flat switch
	switch r := r.(type) {
	case *metadata.RegisterBrokerRecord:
		return fmt.Sprintf("RegisterBroker %d epoch=%d fenced=%t dirs=%s", r.BrokerID, r.BrokerEpoch, r.Fenced,
			dirNames(r.Dirs))
	case *metadata.BrokerRegistrationChangeRecord:
		out := fmt.Sprintf("BrokerChange %d epoch=%d", r.BrokerID, r.BrokerEpoch)
		switch {
		case r.Fenced == metadata.Fence:
			out += " fence"
		case r.Fenced == metadata.Unfence:
			out += " unfence"
		}
		if r.InControlledShutdown == 1 {
			out += " controlled-shutdown"
		}
		if len(r.Dirs) > 0 {
			out += " dirs=" + dirNames(r.Dirs)
		}
		return out
	case *metadata.PartitionChangeRecord:
		return changeLine(r)
	case *metadata.PartitionRecord:
		return fmt.Sprintf("Partition %d replicas=%v isr=%v leader=%d dirs=%s", r.PartitionID, r.Replicas, r.ISR,
			r.Leader, dirNames(r.Dirs))
	case *metadata.ConfigRecord:
		v := "(deleted)"
		if r.Value != nil {
			v = *r.Value
		}
		return fmt.Sprintf("Config %s %q %s=%s", r.Type, r.Resource, r.Name, v)
	case *metadata.TopicRecord:
		return "Topic " + r.Name
	case *metadata.FeatureLevelRecord:
		return fmt.Sprintf("FeatureLevel %s=%d", r.Name, r.Level)
	case *metadata.UnregisterBrokerRecord:
		return fmt.Sprintf("UnregisterBroker %d epoch=%d", r.BrokerID, r.BrokerEpoch)
	case *metadata.ClearELRRecord:
		return fmt.Sprintf("ClearELR %q", r.Topic)
	}
	return fmt.Sprintf("%T", r)
}

func changeLine(r *metadata.PartitionChangeRecord) string {
	out := fmt.Sprintf("PartitionChange %d", r.PartitionID)
	for _, x := range []struct {
		name string
		ids  []model.BrokerID
	}{{"replicas", r.Replicas}, {"isr", r.ISR}, {"adding", r.Adding}, {"removing", r.Removing},
		{"elr", r.ELR}, {"last-known", r.LastKnownELR}} {
		if x.ids != nil {
			out += fmt.Sprintf(" %s=%v", x.name, x.ids)
		}
	}
	if r.Leader != nil {
		out += fmt.Sprintf(" leader=%d", *r.Leader)
	}
	if r.Recovery != nil {
		out += fmt.Sprintf(" recovery=%d", *r.Recovery)
	}
	if r.Dirs != nil {
		out += " dirs=" + dirNames(r.Dirs)
	}
	return out
}

// soleDir is the directory of a broker that wasn't given any: d1 for broker 1.
func soleDir(id model.BrokerID) model.DirectoryID {
	return model.DirectoryID{0: 'd', 1: '0' + byte(id)}
}

// dir reads a directory's name: two letters at most, or a reserved one.
func dir(name string) model.DirectoryID {
	switch name {
	case "lost":
		return model.LostDir
	case "unassigned":
		return model.UnassignedDir
	}
	var d model.DirectoryID
	copy(d[:], name)
	return d
}

func dirNames(dirs []model.DirectoryID) string {
	var names []string
	for _, d := range dirs {
		switch d {
		case model.LostDir:
			names = append(names, "lost")
		case model.UnassignedDir:
			names = append(names, "unassigned")
		case model.MigratingDir:
			names = append(names, "-")
		default:
			names = append(names, strings.TrimRight(string(d[:]), "\x00"))
		}
	}
	return "[" + strings.Join(names, " ") + "]"
}

func tp(s string) model.TopicPartition {
	i := strings.LastIndexByte(s, '-')
	return model.TopicPartition{Topic: s[:i], Partition: int32(number64(s[i+1:]))}
}

func number64(s string) int64 {
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil {
		panic(err)
	}
	return n
}

func arg(d *datadriven.TestData, name string) ([]string, bool) {
	i := slices.IndexFunc(d.CmdArgs, func(a datadriven.CmdArg) bool { return a.Key == name })
	if i < 0 {
		return nil, false
	}
	vals := slices.DeleteFunc(slices.Clone(d.CmdArgs[i].Vals), func(v string) bool { return v == "" })
	return vals, true // x=() is an empty list
}

func intArg(d *datadriven.TestData, name string, def int) int {
	if v, ok := arg(d, name); ok {
		return int(number64(v[0]))
	}
	return def
}

func brokerArg(d *datadriven.TestData, name string) []model.BrokerID {
	vals, _ := arg(d, name)
	var ids []model.BrokerID
	for _, v := range vals {
		ids = append(ids, model.BrokerID(number64(v)))
	}
	return ids
}
