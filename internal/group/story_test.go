package group

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/datadriven"

	"tidemark/internal/model"
)

// TestStories runs the stories in testdata: members of one group g talk to a
// coordinator whose log commits when the story says so.
func TestStories(t *testing.T) {
	datadriven.Walk(t, "testdata/stories", func(t *testing.T, path string) {
		cfg := DefaultConfig()
		cfg.InitialRebalanceDelay = 0
		s := &story{cfg: cfg, now: time.Unix(1000, 0).UTC(), ids: map[string]string{}, gens: map[string]int32{}, asked: map[Ticket]string{}}
		s.core = New(s.cfg)
		datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string {
			s.out.Reset()
			s.run(t, d)
			s.pass(0)
			if s.out.Len() == 0 {
				return "ok\n"
			}
			return s.out.String()
		})
	})
}

type story struct {
	cfg    Config
	core   *Core
	now    time.Time
	last   Ticket
	asked  map[Ticket]string // who waits for what
	ids    map[string]string // member ids by name
	gens   map[string]int32
	fresh  int
	writes []Write  // appended, not committed
	log    []Record // committed
	out    strings.Builder
}

func (s *story) p(format string, a ...any) { fmt.Fprintf(&s.out, format+"\n", a...) }

func (s *story) ask(what string) Ticket {
	s.last++
	s.asked[s.last] = what
	return s.last
}

func (s *story) perform(e Effects) {
	for _, r := range e.Replies {
		what := s.asked[r.Ticket]
		delete(s.asked, r.Ticket)
		s.p("%s -> %s", what, s.show(what, r.Response))
	}
	for _, w := range e.Writes {
		s.p("append #%d: %s", w.ID, showRecords(w.Records))
	}
	s.writes = append(s.writes, e.Writes...)
}

func (s *story) show(what string, r any) string {
	_, name, _ := strings.Cut(what, " ")
	switch r := r.(type) {
	case Joined:
		if r.Member != "" {
			s.ids[name] = r.Member
		}
		if r.Code != OK {
			if r.Code == MemberIDRequired {
				return fmt.Sprintf("%s id=%s", r.Code, r.Member)
			}
			return r.Code.String()
		}
		s.gens[name] = r.Generation
		out := fmt.Sprintf("generation %d %s id=%s leader=%s", r.Generation, deref(r.Protocol), r.Member, r.Leader)
		if r.SkipAssignment {
			out += " skip-assignment"
		}
		if len(r.Members) > 0 {
			var ms []string
			for _, m := range r.Members {
				ms = append(ms, m.ID)
			}
			out += fmt.Sprintf(" members=%v", ms)
		}
		return out
	case Synced:
		if r.Code != OK {
			return r.Code.String()
		}
		return fmt.Sprintf("assigned %q", r.Assignment)
	case Left:
		return fmt.Sprint(r.Code, r.Members)
	case Committed:
		return fmt.Sprint(r.Code, r.Partitions)
	case DeletedOffsets:
		return fmt.Sprint(r.Code, r.Partitions)
	}
	return fmt.Sprintf("%v", r)
}

func showRecords(rs []Record) string {
	var out []string
	for _, r := range rs {
		v, _ := keyVersion(r.Key)
		switch {
		case v == keyGroup && r.Value == nil:
			out = append(out, "group removed")
		case v == keyGroup:
			g, _ := decodeGroupValue(r.Value)
			var ms []string
			for _, m := range g.members {
				ms = append(ms, fmt.Sprintf("%s=%q", m.id, m.assignment))
			}
			out = append(out, fmt.Sprintf("generation %d %v", g.generation, ms))
		default:
			k, _ := decodeOffsetKey(r.Key)
			if r.Value == nil {
				out = append(out, fmt.Sprintf("%s removed", k.tp))
				continue
			}
			o, _ := decodeOffsetValue(r.Value)
			out = append(out, fmt.Sprintf("%s at %d", k.tp, o.Offset))
		}
	}
	return strings.Join(out, ", ")
}

func (s *story) run(t *testing.T, d *datadriven.TestData) { // flat switch
	str := func(key, or string) string {
		if d.HasArg(key) {
			d.ScanArgs(t, key, &or)
		}
		return or
	}
	dur := func(key string, or time.Duration) time.Duration {
		v, err := time.ParseDuration(str(key, or.String()))
		if err != nil {
			d.Fatalf(t, "%v", err)
		}
		return v
	}
	num := func(key string, or int64) int64 {
		v, err := strconv.ParseInt(str(key, fmt.Sprint(or)), 10, 64)
		if err != nil {
			d.Fatalf(t, "%v", err)
		}
		return v
	}
	name := ""
	if len(d.CmdArgs) > 0 && len(d.CmdArgs[0].Vals) == 0 {
		name = d.CmdArgs[0].Key
	}
	var instance *string
	if d.HasArg("instance") {
		instance = ptr(str("instance", ""))
	}
	gen := int32(num("gen", int64(s.gens[name])))
	id := str("id", s.ids[name])
	if d.HasArg("no-id") {
		id = ""
	}
	tp := model.TopicPartition{Topic: str("topic", "t"), Partition: int32(num("partition", 0))}
	switch d.Cmd {
	case "config": // config delay=3s max-size=2 retention=1h
		s.cfg.InitialRebalanceDelay = dur("delay", s.cfg.InitialRebalanceDelay)
		s.cfg.MaxSize = int(num("max-size", int64(s.cfg.MaxSize)))
		s.cfg.OffsetsRetention = dur("retention", s.cfg.OffsetsRetention)
		s.core = New(s.cfg)
	case "join": // join A [instance=i] [protocols=(range,sticky)] [topics=(t)] [session=10s] [rebalance=60s] [confirm] [skip]
		s.join(t, d, name, id, instance, dur("session", 10*time.Second), dur("rebalance", time.Minute))
	case "sync": // sync A [gen=1] [assign=(A:x,B:y)]
		r := Sync{Group: "g", Member: id, Instance: instance, Generation: gen}
		if d.HasArg("protocol") {
			r.Protocol = ptr(str("protocol", ""))
		}
		for _, a := range list(t, d, "assign") {
			who, what, _ := strings.Cut(a, ":")
			r.Assignments = append(r.Assignments, Assignment{s.ids[who], []byte(what)})
		}
		s.perform(s.core.Sync(s.ask("sync "+name), r, s.now))
	case "heartbeat": // heartbeat A [gen=1]
		s.p("%s", s.core.Heartbeat(Heartbeat{Group: "g", Member: id, Instance: instance, Generation: gen}, s.now))
	case "leave": // leave A | leave A instance=i no-id
		s.perform(s.core.Leave(s.ask("leave "+name), Leave{"g", []LeavingMember{{id, instance}}}, s.now))
	case "commit": // commit [A] [topic=t] [partition=0] offset=10 [gen=1] [retention=1m] [metadata=x]
		if name == "" {
			gen = int32(num("gen", -1))
		}
		s.perform(s.core.Commit(s.ask(strings.TrimSpace("commit "+name)), Commit{
			Group: "g", Member: id, Instance: instance, Generation: gen, Retention: dur("retention", -1),
			Offsets: []CommitOffset{{Partition: tp, Offset: model.Offset(num("offset", 0)), LeaderEpoch: -1, Metadata: str("metadata", "")}},
		}, s.now))
	case "committed": // committed: everything appended so far is committed
		s.committed()
	case "refused": // refused code=NOT_COORDINATOR: what was appended last is lost
		w := s.writes[len(s.writes)-1]
		s.writes = s.writes[:len(s.writes)-1]
		s.perform(s.core.Finished(w.ID, Code(slices.Index(codeNames[:], str("code", ""))), s.now))
	case "wait": // wait 3s
		s.wait(t, d)
	case "offsets":
		for _, o := range s.core.AllOffsets("g") {
			s.p("%s at %d", o.Partition, o.Offset.Offset)
		}
	case "status":
		s.status()
	case "restart": // a new coordinator reads what is committed
		s.restart(t, d)
	case "expire":
		s.perform(s.core.Expire(s.now))
	case "delete-group":
		s.perform(s.core.DeleteGroup(s.ask("delete group"), "g", s.now))
	case "delete-offset": // delete-offset [topic=t] [partition=0]
		s.perform(s.core.DeleteOffsets(s.ask("delete offset"), DeleteOffsets{"g", []model.TopicPartition{tp}}, s.now))
	case "topic-deleted": // topic-deleted topic=t
		s.perform(s.core.TopicsDeleted(map[string]bool{tp.Topic: true}))
	case "list":
		for _, l := range s.core.List(list(t, d, "states"), list(t, d, "types")) {
			s.p("%s %s %q", l.Group, l.State, l.ProtocolType)
		}
	default:
		d.Fatalf(t, "unknown command %s", d.Cmd)
	}
}

func list(t *testing.T, d *datadriven.TestData, key string) []string {
	for _, a := range d.CmdArgs {
		if a.Key == key {
			return a.Vals
		}
	}
	return nil
}

func (s *story) join(t *testing.T, d *datadriven.TestData, name, id string, instance *string, session, rebalance time.Duration) {
	s.fresh++
	r := Join{
		Group: "g", Member: id, NewID: fmt.Sprintf("%s%d", name, s.fresh), Instance: instance, ClientID: name, ClientHost: "/127.0.0.1",
		Session: session, Rebalance: rebalance, ProtocolType: "consumer",
		RequireID: d.HasArg("confirm"), CanSkipAssignment: d.HasArg("skip"),
	}
	if instance != nil && d.HasArg("no-id") {
		r.Member = ""
	}
	meta := []byte{0, 1, 0, 0, 0, 0}
	topics := list(t, d, "topics")
	meta[5] = byte(len(topics))
	for _, x := range topics {
		meta = appendString(meta, x)
	}
	protocols := list(t, d, "protocols")
	if protocols == nil {
		protocols = []string{"range"}
	}
	for _, p := range protocols {
		r.Protocols = append(r.Protocols, Protocol{p, meta})
	}
	s.perform(s.core.Join(s.ask("join "+name), r, s.now))
}

func (s *story) committed() {
	writes := s.writes
	s.writes = nil
	for _, w := range writes {
		for _, r := range w.Records {
			s.log = append(s.log, r)
			if err := s.core.Apply(r); err != nil {
				s.p("%v", err)
			}
		}
		s.perform(s.core.Finished(w.ID, OK, s.now))
	}
}

// wait lets time pass, one deadline after the other.
func (s *story) wait(t *testing.T, d *datadriven.TestData) {
	span, err := time.ParseDuration(d.CmdArgs[0].Key)
	if err != nil {
		d.Fatalf(t, "%v", err)
	}
	s.pass(span)
}

func (s *story) pass(span time.Duration) {
	until, start := s.now.Add(span), s.now
	for {
		next := s.core.NextTick()
		if next.IsZero() || next.After(until) {
			break
		}
		if next.After(s.now) {
			s.now = next
		}
		e := s.core.Tick(s.now)
		if span > 0 && len(e.Replies)+len(e.Writes) > 0 {
			s.p("after %s:", s.now.Sub(start))
		}
		s.perform(e)
	}
	s.now = until
}

func (s *story) status() {
	g := s.core.groups["g"]
	if g == nil {
		s.p("no group")
		return
	}
	s.p("%s generation=%d protocol=%q leader=%q offsets=%d", g.state, g.generation, g.protocol, g.leader, len(g.offsets))
	for _, m := range g.members {
		line := fmt.Sprintf("  %s assignment=%q", m.id, m.assignment)
		if m.instance != nil {
			line += " instance=" + *m.instance
		}
		if m.joining.on {
			line += " joining"
		}
		if m.syncing.on {
			line += " syncing"
		}
		s.p("%s", line)
	}
}

func (s *story) restart(t *testing.T, d *datadriven.TestData) {
	before := s.core.AllOffsets("g")
	s.core, s.writes, s.asked = New(s.cfg), nil, map[Ticket]string{}
	for _, r := range s.log {
		if err := s.core.Replay(r); err != nil {
			d.Fatalf(t, "%v", err)
		}
	}
	s.perform(s.core.Loaded(s.now))
	if after := s.core.AllOffsets("g"); !slices.Equal(before, after) && !d.HasArg("lossy") {
		d.Fatalf(t, "offsets changed by the move: %v, then %v", before, after) // invariant 1
	}
}
