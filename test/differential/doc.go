// Package differential plays one seeded trace of client requests to a real
// Apache Kafka 4.3.1 node and to a Tidemark node, and compares every field of
// every answer.
//
// A difference is either a bug or a row of the allow-list in allow_test.go.
// A row names the field, the values and the situation; docs/PROTOCOL.md tells
// its reason, and TestDocumented compares the two. The long form fails if no
// request of any seed needs a row.
//
// Both nodes know a second broker that never runs, so that topics can have too
// few in-sync replicas and a high watermark that stands still, and the trace can
// fetch as a follower. Twice both are started anew, once cleanly and once after
// kill -9.
//
// The trace learns only from what Apache Kafka answers, so that a seed gives one
// trace. After a difference the topics that it touched are compared, and
// replaced if their logs differ, so that one cause is reported once. The
// report names the request, and how to play the trace up to it again.
package differential
