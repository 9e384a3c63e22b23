package replica

import (
	"fmt"
	"slices"
	"strings"

	"tidemark/internal/model"
)

// ISRState is what the leader knows of its in-sync set. It is one of Committed,
// PendingExpand and PendingShrink; there is no fourth.
//
//	Committed(I)         --propose r-->  PendingExpand(I, r)
//	Committed(I)         --propose I\R-> PendingShrink(I, R)
//	Pending*(I)          --accepted-->   Committed(answer)
//	Pending*(I)          --ineligible--> Committed(I)
//	Pending*(I)          --newer metadata--> Committed(metadata)
//	Pending*(I)          --any other refusal--> unchanged, see ISRRejected
type ISRState interface {
	// CommittedISR is the set that the controller has agreed to. It decides
	// whether acks=all is admitted and whether the high watermark may move.
	CommittedISR() []model.BrokerID
	// MaximalISR is the largest set that may be in force at the controller.
	// The high watermark waits for all of it.
	MaximalISR() []model.BrokerID
	// Proposal is the change in flight, nil when there is none.
	Proposal() *ISRChange
	fmt.Stringer
}

// Committed means that no change is in flight.
type Committed struct{ ISR []model.BrokerID }

// PendingExpand means that the leader has asked to add Adding.
type PendingExpand struct {
	ISR    []model.BrokerID // still committed
	Adding model.BrokerID
	Sent   *ISRChange
}

// PendingShrink means that the leader has asked to remove Removing.
type PendingShrink struct {
	ISR      []model.BrokerID // still committed
	Removing []model.BrokerID
	Sent     *ISRChange
}

// CommittedISR returns the set itself.
func (s Committed) CommittedISR() []model.BrokerID { return s.ISR }

// MaximalISR returns the set itself.
func (s Committed) MaximalISR() []model.BrokerID { return s.ISR }

// Proposal returns nil.
func (s Committed) Proposal() *ISRChange { return nil }

func (s Committed) String() string { return "isr=" + ids(s.ISR) }

// CommittedISR returns the set without the candidate.
func (s PendingExpand) CommittedISR() []model.BrokerID { return s.ISR }

// MaximalISR includes the candidate.
func (s PendingExpand) MaximalISR() []model.BrokerID {
	return append(slices.Clone(s.ISR), s.Adding)
}

// Proposal returns the change in flight.
func (s PendingExpand) Proposal() *ISRChange { return s.Sent }

func (s PendingExpand) String() string {
	return fmt.Sprintf("isr=%s pending=+%d", ids(s.ISR), s.Adding)
}

// CommittedISR returns the set with those who are to leave.
func (s PendingShrink) CommittedISR() []model.BrokerID { return s.ISR }

// MaximalISR still includes those who are to leave.
func (s PendingShrink) MaximalISR() []model.BrokerID { return s.ISR }

// Proposal returns the change in flight.
func (s PendingShrink) Proposal() *ISRChange { return s.Sent }

func (s PendingShrink) String() string {
	return fmt.Sprintf("isr=%s pending=-%s", ids(s.ISR), ids(s.Removing))
}

// ISRMember is one member of a proposed in-sync set.
type ISRMember struct {
	ID model.BrokerID
	// Epoch is the registration that the leader saw fetching, NoBrokerEpoch if
	// unknown. The controller refuses a member that has restarted (KIP-903).
	Epoch model.BrokerEpoch
}

// ISRChange is a proposal for AlterPartition. Immutable once made.
type ISRChange struct {
	// Proposal tells one proposal of this leadership from the next, so that the
	// answer to an older one is not taken for the answer to a newer one.
	Proposal       uint64
	LeaderEpoch    model.LeaderEpoch
	PartitionEpoch model.PartitionEpoch // compare-and-set base
	ISR            []ISRMember          // in replica order; the leader's own epoch is left to the sender
}

// IDs returns the proposed members.
func (c *ISRChange) IDs() []model.BrokerID {
	out := make([]model.BrokerID, len(c.ISR))
	for i, m := range c.ISR {
		out[i] = m.ID
	}
	return out
}

// Refusal classifies how AlterPartition failed, by what the leader must do.
type Refusal uint8

const (
	// RefusedRetry: the controller did not decide (NOT_CONTROLLER, a time-out).
	// The same proposal is sent again.
	RefusedRetry Refusal = iota
	// RefusedIneligible: INELIGIBLE_REPLICA or OPERATION_NOT_ATTEMPTED. Nothing
	// was changed and nothing will be: back to the committed set.
	RefusedIneligible
	// RefusedStale: the controller's state is not what the leader believes, or
	// the leader is no longer leader. The proposal stays pending, with all its
	// caution, until metadata brings the new state.
	RefusedStale
)

func (r Refusal) String() string {
	switch r {
	case RefusedRetry:
		return "retry"
	case RefusedIneligible:
		return "ineligible"
	case RefusedStale:
		return "stale"
	}
	return fmt.Sprintf("Refusal(%d)", uint8(r))
}

func ids(b []model.BrokerID) string {
	var s strings.Builder
	s.WriteByte('[')
	for i, id := range b {
		if i > 0 {
			s.WriteByte(' ')
		}
		fmt.Fprintf(&s, "%d", id)
	}
	s.WriteByte(']')
	return s.String()
}
