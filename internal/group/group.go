package group

import (
	"bytes"
	"encoding/binary"
	"slices"
	"time"

	"tidemark/internal/model"
)

// State of a group; see the package comment.
type State uint8

// The states.
const (
	Empty State = iota
	PreparingRebalance
	CompletingRebalance
	Stable
	Dead
)

// String returns the name that Kafka's APIs use.
func (s State) String() string {
	return [...]string{"Empty", "PreparingRebalance", "CompletingRebalance", "Stable", "Dead"}[s]
}

// consumerType is the protocol type of consumers.
const consumerType = "consumer"

// group is one group. Offsets are committed ones only. // invariant 1
type group struct {
	id           string
	state        State
	stateTime    int64 // ms, -1 unknown
	initial      bool  // PreparingRebalance came from Empty: more may join
	protocolType string
	protocol     string // chosen one, "" if none
	generation   int32
	leader       string
	members      []*member // in the order of joining
	pending      map[string]bool
	fresh        bool          // a member joined during the initial delay
	remaining    time.Duration // what may be added to the initial delay

	offsets  map[model.TopicPartition]Offset
	inFlight map[model.TopicPartition]int // writes that will change the offset
}

// member is one member of a group.
type member struct {
	id                   string
	instance             *string
	clientID, clientHost string
	session, rebalance   time.Duration
	protocolType         string
	protocols            []Protocol
	assignment           []byte

	joining, syncing ticketSlot
	isNew            bool // its first rebalance is not over
	needSync         bool // has not asked for its assignment
}

// ticketSlot is a parked request, or none.
type ticketSlot struct {
	t  Ticket
	on bool
}

func (m *member) metadata(protocol string) []byte {
	for _, p := range m.protocols {
		if p.Name == protocol {
			return p.Metadata
		}
	}
	return nil
}

// matches tells whether the protocols are those the member has.
func (m *member) matches(ps []Protocol) bool {
	return slices.EqualFunc(m.protocols, ps, func(a, b Protocol) bool {
		return a.Name == b.Name && bytes.Equal(a.Metadata, b.Metadata)
	})
}

// enter changes the state.
func (g *group) enter(s State, now time.Time) {
	g.state, g.stateTime = s, now.UnixMilli()
}

func (g *group) member(id string) *member {
	for _, m := range g.members {
		if m.id == id {
			return m
		}
	}
	return nil
}

func (g *group) static(instance string) *member {
	for _, m := range g.members {
		if m.instance != nil && *m.instance == instance {
			return m
		}
	}
	return nil
}

// check finds the member that a request names, or says what is wrong with it.
func (g *group) check(id string, instance *string) (*member, Code) {
	if instance != nil {
		switch m := g.static(*instance); {
		case m == nil:
			return nil, UnknownMemberID
		case m.id != id:
			return nil, FencedInstanceID
		default:
			return m, OK
		}
	}
	if m := g.member(id); m != nil {
		return m, OK
	}
	return nil, UnknownMemberID
}

func (g *group) add(m *member) {
	if len(g.members) == 0 {
		g.protocolType = m.protocolType
	}
	if g.leader == "" {
		g.leader = m.id
	}
	g.members = append(g.members, m)
}

func (g *group) remove(m *member) {
	g.members = slices.DeleteFunc(g.members, func(x *member) bool { return x == m })
	if g.leader == m.id {
		g.leader = ""
		if len(g.members) > 0 {
			g.leader = g.members[0].id
		}
	}
}

// awaiting counts members that wait for the next generation.
func (g *group) awaiting() (n int) {
	for _, m := range g.members {
		if m.joining.on {
			n++
		}
	}
	return n
}

func (g *group) allJoined() bool {
	return g.awaiting() == len(g.members) && len(g.pending) == 0
}

// rebalanceTimeout is the longest of all members.
func (g *group) rebalanceTimeout() (d time.Duration) {
	for _, m := range g.members {
		d = max(d, m.rebalance)
	}
	return d
}

// candidates are the protocols that every member supports, in the order of the
// first member.
func (g *group) candidates() (out []string) {
	if len(g.members) == 0 {
		return nil
	}
	for _, p := range g.members[0].protocols {
		everyone := !slices.ContainsFunc(g.members, func(m *member) bool { return !m.supports(p.Name) })
		if everyone && !slices.Contains(out, p.Name) {
			out = append(out, p.Name)
		}
	}
	return out
}

func (m *member) supports(protocol string) bool {
	return slices.ContainsFunc(m.protocols, func(p Protocol) bool { return p.Name == protocol })
}

// choose lets every member vote for the first candidate in its list.
func (g *group) choose() string {
	cs := g.candidates()
	votes := make([]int, len(cs))
	for _, m := range g.members {
		for _, p := range m.protocols {
			if n := slices.Index(cs, p.Name); n >= 0 {
				votes[n]++
				break
			}
		}
	}
	best := ""
	for i, most := 0, 0; i < len(cs); i++ {
		if votes[i] > most {
			best, most = cs[i], votes[i]
		}
	}
	return best
}

// accepts tells whether a member with these protocols can be in the group.
func (g *group) accepts(protocolType string, ps []Protocol) bool {
	if protocolType == "" || len(ps) == 0 {
		return false
	}
	if len(g.members) == 0 {
		return true
	}
	if g.protocolType != protocolType {
		return false
	}
	cs := g.candidates()
	return slices.ContainsFunc(ps, func(p Protocol) bool { return slices.Contains(cs, p.Name) })
}

// subscribed returns the topics to which the members of a group of consumers
// subscribe. ok is false if that can't be known.
func (g *group) subscribed() (topics map[string]bool, ok bool) {
	if g.protocolType != consumerType || len(g.members) == 0 || g.protocol == "" {
		return nil, false
	}
	topics = map[string]bool{}
	for _, m := range g.members {
		if !subscription(m.metadata(g.protocol), topics) {
			return nil, false
		}
	}
	return topics, true
}

// subscription reads the topics from the start of a ConsumerProtocolSubscription:
// version, array of names, and more that is of no interest here.
func subscription(p []byte, into map[string]bool) bool {
	r := reader{p: p}
	r.int16()
	n := int(r.int32())
	if n > len(p) {
		return false
	}
	for range max(n, 0) {
		into[r.str()] = true
	}
	return r.err == nil
}

// value is the persistent part of the group.
func (g *group) value(assignments map[string][]byte) groupValue {
	v := groupValue{protocolType: g.protocolType, generation: g.generation, stateTime: g.stateTime}
	if g.protocol != "" {
		v.protocol = &g.protocol
	}
	if g.leader != "" {
		v.leader = &g.leader
	}
	for _, m := range g.members {
		v.members = append(v.members, memberValue{
			id: m.id, instance: m.instance, clientID: m.clientID, clientHost: m.clientHost,
			rebalance: int32(m.rebalance / time.Millisecond), session: int32(m.session / time.Millisecond),
			subscription: m.metadata(g.protocol), assignment: assignments[m.id],
		})
	}
	return v
}

func (g *group) record(assignments map[string][]byte) Record {
	return Record{groupMetadataKey(g.id), groupMetadataValue(g.value(assignments))}
}

// assigned returns the present assignments by member.
func (g *group) assigned() map[string][]byte {
	out := make(map[string][]byte, len(g.members))
	for _, m := range g.members {
		out[m.id] = m.assignment
	}
	return out
}

// keyVersion returns the version that a record's key begins with.
func keyVersion(key []byte) (int16, bool) {
	if len(key) < 2 {
		return 0, false
	}
	return int16(binary.BigEndian.Uint16(key)), true
}
