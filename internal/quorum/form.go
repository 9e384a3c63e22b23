package quorum

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"tidemark/internal/metadata"
	"tidemark/internal/model"
)

// Formation: how controllers that don't know each other's identities agree on
// the first configuration, and how a node without a WAL joins a quorum that
// exists. The protocol and why it is safe: docs/design/0001-quorum-formation.md.

const (
	formFirst   = 10 * time.Millisecond  // between the first rounds: a start of all takes milliseconds
	formRetry   = 100 * time.Millisecond // between later ones
	askInterval = 500 * time.Millisecond
)

var errActive = errors.New("already part of a quorum")

// form returns once this node is active: as a first member, or as a joiner.
func (n *Node) form() error {
	reason := ""
	for pause := formFirst; ; pause = min(pause*5/4, formRetry) {
		why, err := n.formOnce()
		if err != nil {
			return err
		}
		if n.wal.state().form.Active {
			return nil
		}
		if why != reason {
			reason = why
			n.cfg.Log.Info("waiting for a quorum", "node", n.cfg.NodeID, "reason", why)
		}
		select {
		case <-time.After(pause):
		case <-n.ctx.Done():
			return ErrClosed
		}
	}
}

// formOnce is one round; why says what it waits for.
func (n *Node) formOnce() (why string, err error) {
	answers, missing := n.gather()
	for _, a := range answers {
		if f := a.Form; f != nil && f.Active {
			return n.follow(*f)
		}
	}
	if !n.mayForm() {
		return "not one of the configured voters: waiting for a quorum to join", nil
	}
	if missing > 0 {
		return fmt.Sprintf("%d of %d voters not reached", missing, len(n.cfg.Voters)), nil
	}
	if n.cfg.NodeID != n.coordinator() {
		return fmt.Sprintf("node %d prepares the quorum", n.coordinator()), nil
	}
	return n.coordinate(answers)
}

// mayForm: only a configured voter, with the directory that was configured if
// one was, may be a first member.
func (n *Node) mayForm() bool {
	i := slices.IndexFunc(n.cfg.Voters, func(v Voter) bool { return v.ID == n.cfg.NodeID })
	return i >= 0 && (n.cfg.Voters[i].Dir.IsZero() || n.cfg.Voters[i].Dir == n.cfg.DirectoryID)
}

func (n *Node) coordinator() (lowest brokerID) {
	return slices.MinFunc(n.cfg.Voters, func(a, b Voter) int { return cmp.Compare(a.ID, b.ID) }).ID
}

// gather says hello to every other configured voter.
func (n *Node) gather() (answers []envelope, missing int) {
	var mu sync.Mutex
	var wg sync.WaitGroup
	for _, v := range n.cfg.Voters {
		if v.ID == n.cfg.NodeID {
			continue
		}
		wg.Go(func() {
			a, _, err := n.ask(n.ctx, Peer{Node: v.ID, Endpoint: v.Endpoint}, n.envelope(frameHello))
			mu.Lock()
			defer mu.Unlock()
			other := a.From.Node != v.ID && v.ID != model.NoBroker
			if err != nil || other || a.From == n.self || (!v.Dir.IsZero() && a.From.Dir != v.Dir && !isActive(a)) {
				missing++
				return
			}
			answers = append(answers, a)
		})
	}
	wg.Wait()
	slices.SortFunc(answers, func(a, b envelope) int { return cmp.Compare(a.From.Node, b.From.Node) })
	return answers, missing
}

func isActive(e envelope) bool { return e.Form != nil && e.Form.Active }

// follow belongs to a quorum that is active. If it counts this very WAL among
// its first members, this node prepared for it and may vote; otherwise it joins
// with nothing and votes when it is made a voter.
func (n *Node) follow(f formation) (string, error) {
	first, err := newMembers(f.Members)
	if err != nil {
		return "", err
	}
	if _, mine := first[n.id]; mine {
		return "", n.activate(f.Group, f.Members)
	}
	n.cfg.Log.Info("joining a quorum", "node", n.cfg.NodeID, "as", n.self.String())
	// The first members are kept, to point the next joiner here when all of them
	// have been replaced.
	return "", n.wal.start(formation{Group: f.Group, Members: f.Members, Active: true, Joining: true}, checkpoint{})
}

// coordinate runs on the lowest voter when every voter has answered and none is
// active.
func (n *Node) coordinate(answers []envelope) (string, error) {
	first := []Member{n.self}
	for _, a := range answers {
		first = append(first, a.From)
	}
	slices.SortFunc(first, func(a, b Member) int { return cmp.Compare(a.Node, b.Node) })
	ms, err := newMembers(first)
	if err != nil {
		return "", err
	}
	if len(first) != len(n.cfg.Voters) {
		return "a voter is listed twice", nil
	}
	earlier := []formation{n.wal.state().form}
	for _, a := range answers {
		if a.Form != nil {
			earlier = append(earlier, *a.Form)
		}
	}
	if lost := lostMajority(earlier, ms); lost != "" {
		return lost, nil
	}
	group := groupOf(n.cfg.ClusterID, first)
	if err := n.prepare(formation{Group: group, Members: first}); err != nil {
		return "", err
	}
	for _, a := range answers {
		e := n.envelope(framePrepare)
		e.Form = &formation{Group: group, Members: first}
		if _, _, err := n.ask(n.ctx, n.address(a.From), e); err != nil {
			return err.Error(), nil
		}
	}
	return "", n.activate(group, first)
}

// lostMajority refuses to form anew when a quorum that was prepared earlier may
// have worked: more of its members are gone than could have been idle.
func lostMajority(earlier []formation, now members) string {
	for _, f := range earlier {
		gone := 0
		for _, m := range f.Members {
			if _, here := now[m.RaftID()]; !here {
				gone++
			}
		}
		if gone > len(f.Members)/2 {
			return fmt.Sprintf("%d of %d members of an earlier quorum lost their disks; format its remaining members too",
				gone, len(f.Members))
		}
	}
	return ""
}

// groupOf identifies a quorum by its cluster and first members.
func groupOf(cluster string, first []Member) uint64 {
	h := sha256.New()
	h.Write([]byte(cluster))
	for _, m := range first {
		h.Write(binary.BigEndian.AppendUint64(nil, m.RaftID()))
	}
	return binary.BigEndian.Uint64(h.Sum(nil)) | 1
}

// prepare records durably that this node may become a first member.
func (n *Node) prepare(f formation) error {
	n.forming.Lock()
	defer n.forming.Unlock()
	have := n.wal.state().form
	if have.Active {
		return errActive
	}
	if have.Group == f.Group {
		return nil
	}
	return n.wal.saveFormation(f)
}

// activate lets this node vote: every first member has prepared.
func (n *Node) activate(group uint64, first []Member) error {
	n.forming.Lock()
	defer n.forming.Unlock()
	if n.wal.state().form.Active {
		return nil
	}
	conf := confState{}
	for _, m := range first {
		conf.Voters = append(conf.Voters, m.RaftID())
	}
	slices.Sort(conf.Voters)
	n.cfg.Log.Info("quorum formed", "node", n.cfg.NodeID, "voters", len(first), "group", fmt.Sprintf("%016x", group))
	return n.wal.start(formation{Group: group, Members: first, Active: true},
		checkpoint{Index: 1, Term: 1, Conf: conf, Members: first})
}

// answerHello tells who this node is; on the leader it is also how a joiner
// makes itself known.
func (n *Node) answerHello(e envelope, out *envelope) {
	f := n.wal.state().form
	out.Form = &f
	p, _ := n.board.look()
	if p.leader >= 0 {
		out.Leader, _, _ = p.members.byNode(p.leader, p.conf.Voters)
	}
	if e.Form != nil && e.Form.Joining && e.Group == f.Group && f.Active {
		id := e.From.RaftID()
		n.calls.put(func() { n.meetJoiner(id, e.From) })
	}
}

func (n *Node) answerPrepare(e envelope, out *envelope) {
	f := e.Form
	if f == nil || e.From.Node != n.coordinator() || !slices.Contains(f.Members, n.self) || !n.mayForm() ||
		len(f.Members) != len(n.cfg.Voters) || f.Group != groupOf(n.cfg.ClusterID, f.Members) {
		out.Error = fmt.Sprintf("node %d is configured with other voters", n.cfg.NodeID)
		return
	}
	if err := n.prepare(formation{Group: f.Group, Members: f.Members}); err != nil {
		out.Error = err.Error()
	}
}

// keepAsking makes a node that isn't a voter known to the leader.
func (n *Node) keepAsking() {
	if !n.wal.state().form.Joining {
		return
	}
	tick := time.NewTicker(askInterval)
	defer tick.Stop()
	for {
		p, _ := n.board.look()
		if !contains(p.conf.Voters, n.id) {
			n.announce(p.members)
		}
		select {
		case <-tick.C:
		case <-n.ctx.Done():
			return
		}
	}
}

func (n *Node) announce(ms members) {
	e := n.envelope(frameHello)
	e.Form = &formation{Group: e.Group, Joining: true}
	to := map[metadata.Endpoint]Peer{}
	for _, m := range ms {
		to[m.Endpoint] = n.address(m)
	}
	for _, v := range n.cfg.Voters {
		to[v.Endpoint] = Peer{Node: v.ID, Endpoint: v.Endpoint}
	}
	delete(to, n.self.Endpoint)
	var wg sync.WaitGroup
	ctx, cancel := context.WithTimeout(n.ctx, callTimeout)
	defer cancel()
	for _, p := range to {
		wg.Go(func() { _, _, _ = n.ask(ctx, p, e) }) // asked again soon
	}
	wg.Wait()
}

// address is where a member listens: the configured endpoint if there is one,
// as it may have moved since it became a member.
func (n *Node) address(m Member) Peer {
	for _, v := range n.cfg.Voters {
		if v.ID == m.Node && v.Endpoint.Host != "" {
			return Peer{Node: m.Node, Endpoint: v.Endpoint}
		}
	}
	return peerOf(m)
}
