package group

import (
	"time"

	"tidemark/internal/model"
)

// Ticket names a request that waits; its answer carries it.
type Ticket uint64

// Protocol is one way of assigning that a member supports.
type Protocol struct {
	Name     string
	Metadata []byte
}

// Join asks to become a member, or to remain one in the next generation.
type Join struct {
	Group string
	// Member is empty for a new member; NewID is the id that it then gets,
	// unique and made by the caller.
	Member, NewID        string
	Instance             *string // group.instance.id of a static member
	ClientID, ClientHost string
	Session, Rebalance   time.Duration
	ProtocolType         string
	Protocols            []Protocol // in order of preference
	RequireID            bool       // v4 and later: a new dynamic member joins in two steps (KIP-394)
	CanSkipAssignment    bool       // v9 and later (KIP-814)
}

// Joined answers Join. Members is for the leader only.
type Joined struct {
	Code           Code
	Generation     int32 // -1 with an error
	ProtocolType   *string
	Protocol       *string
	Leader, Member string
	SkipAssignment bool
	Members        []JoinedMember
}

// JoinedMember tells the leader about a member.
type JoinedMember struct {
	ID       string
	Instance *string
	Metadata []byte
}

// Sync asks for the member's assignment, and brings all of them if it is the leader.
type Sync struct {
	Group, Member          string
	Instance               *string
	Generation             int32
	ProtocolType, Protocol *string // nil: not checked
	Assignments            []Assignment
}

// Assignment is what one member is assigned.
type Assignment struct {
	Member string
	Data   []byte
}

// Synced answers Sync.
type Synced struct {
	Code                   Code
	ProtocolType, Protocol *string
	Assignment             []byte
}

// Heartbeat keeps a member's session.
type Heartbeat struct {
	Group, Member string
	Instance      *string
	Generation    int32
}

// Leave removes members.
type Leave struct {
	Group   string
	Members []LeavingMember
}

// LeavingMember names a member by id or, if that is empty, by instance.
type LeavingMember struct {
	ID       string
	Instance *string
}

// Left answers Leave; Members is in the order of the request.
type Left struct {
	Code    Code
	Members []Code
}

// Commit stores offsets.
type Commit struct {
	Group, Member string
	Instance      *string
	Generation    int32         // -1: not as a member
	Retention     time.Duration // < 0: the broker's
	// NotFoundCode: a generation of a group that doesn't exist is
	// GROUP_ID_NOT_FOUND, not ILLEGAL_GENERATION (v9 and later).
	NotFoundCode bool
	Offsets      []CommitOffset
}

// CommitOffset is the offset of one partition.
type CommitOffset struct {
	Partition   model.TopicPartition
	TopicID     model.TopicID // zero if unknown
	Offset      model.Offset
	LeaderEpoch model.LeaderEpoch // -1 if unknown
	Metadata    string
}

// Committed answers Commit; Partitions is in the order of the request and nil
// if Code counts for all of them.
type Committed struct {
	Code       Code
	Partitions []Code
}

// Offset is a committed offset.
type Offset struct {
	Offset      model.Offset
	LeaderEpoch model.LeaderEpoch
	Metadata    string
	CommitTime  int64 // ms
	ExpireTime  int64 // ms, -1: by the group's retention
	TopicID     model.TopicID
}

// PartitionOffset is a committed offset and its partition. Offset.Offset is -1
// if there is none.
type PartitionOffset struct {
	Partition model.TopicPartition
	Offset
}

// Description is what DescribeGroups tells.
type Description struct {
	Code                   Code
	State                  State
	ProtocolType, Protocol string
	Members                []MemberDescription
}

// MemberDescription describes a member. Metadata and Assignment are empty
// unless the group is stable.
type MemberDescription struct {
	ID                   string
	Instance             *string
	ClientID, ClientHost string
	Metadata, Assignment []byte
}

// Listing is one group in a list.
type Listing struct {
	Group, ProtocolType string
	State               State
}

// DeleteOffsets removes the committed offsets of partitions.
type DeleteOffsets struct {
	Group      string
	Partitions []model.TopicPartition
}

// DeletedOffsets answers DeleteOffsets; Partitions is in the order of the request.
type DeletedOffsets struct {
	Code       Code
	Partitions []Code
}

// Deleted answers the deletion of a group.
type Deleted struct{ Code Code }
