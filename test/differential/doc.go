// Package differential plays one seeded trace of client requests to a real
// Apache Kafka 4.3.1 node and to a Tidemark node, and compares every field of
// every answer.
//
// A difference is either a bug or a row of the allow-list in allow_test.go,
// with the reason why nobody depends on Kafka's side of it.
package differential
