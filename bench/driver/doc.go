// Package driver loads a broker that speaks Kafka's protocol and measures it:
// prebuilt requests over raw connections, so that what is measured is the
// broker and not a client library.
//
// It is not a client: it never retries, follows no leadership change except in
// Failover, and stops at the first error code. It knows nothing of any
// particular broker; whatever frames requests and answers by a four-byte length
// can be loaded with Produce and Consume.
//
// Invariants:
//  1. Inside a measuring window nothing is encoded or allocated per request.
//  2. Latency runs from the moment before the request's write to the moment
//     after the answer's read; in EndToEnd from the moment the record was due.
//     Result.Own is how much of it is this process's own delay.
//  3. A window's bytes and its CPU time are taken at the same two moments.
package driver
