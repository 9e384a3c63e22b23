// Package faultproxy is a TCP proxy for Kafka's protocol that breaks what
// passes through it: delay, jitter, bandwidth, stalls, silence, resets, half-open
// connections, frames cut in the middle, single requests held back. Everything can
// be changed while connections run, for all of them or for those of one client
// id, so that one listener per broker is enough to break single pairs: brokers
// name themselves in it ("broker-2-fetcher-0").
//
// It isn't a network emulator: it sees bytes, not packets, and lost packets have
// to be made elsewhere (package cluster's namespaces).
//
// # Invariants
//
//  1. Bytes of one direction of one connection are delivered in order or not at
//     all, and each at most once.
//  2. What waits in the proxy is bounded (queueBytes per direction and
//     connection); behind that the sender feels back-pressure.
//  3. Without faults nothing is held: a frame is passed on when its last byte has
//     arrived.
//  4. What was taken from a client reaches the target even when the client is
//     gone, as with a network.
//
// A Proxy owns its listener, its connections and two goroutines for each
// direction; Close ends all of them.
package faultproxy
