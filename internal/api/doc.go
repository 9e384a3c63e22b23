// Package api answers Kafka's requests: one file per API key, each of which
// decodes, asks the part of the node that knows, and encodes. It is the only
// package where Kafka's error codes appear.
//
// It is not where decisions are made. A handler that needs more than a lookup
// declares a small interface for what it needs and gets an implementation.
//
// # How a request passes
//
// Handlers.Handle finds the handler of the key, refuses versions that are not
// served, decodes, and passes every request through one authorise step and one
// admission step before the handler sees it. A handler must not block: it runs
// in the reader goroutine of its connection. Async moves one that waits to a
// goroutine of its own; server bounds how many requests a connection has open.
//
// # Invariants
//
//  1. An API without a registered handler is neither advertised nor answered.
//  2. Every request that was decoded is answered exactly once, or its
//     connection is closed.
//  3. Call.Body is not used after the handler has returned; Call.Msg may be.
package api
