package api

import "math"

// Sets of ACL operations, one bit per operation code, as Metadata and
// DescribeCluster report them (KIP-430).
const (
	// noOperations means that the client didn't ask.
	noOperations int32 = math.MinInt32
	// topicOperations: read, write, create, delete, alter, describe,
	// describe and alter configs.
	topicOperations int32 = 1<<3 | 1<<4 | 1<<5 | 1<<6 | 1<<7 | 1<<8 | 1<<10 | 1<<11
	// clusterOperations: create, alter, describe, cluster action, describe and
	// alter configs, idempotent write.
	clusterOperations int32 = 1<<5 | 1<<7 | 1<<8 | 1<<9 | 1<<10 | 1<<11 | 1<<12
)
