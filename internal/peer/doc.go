// Package peer holds the connections that this node opens to other brokers
// and controllers: dialling, ApiVersions, pipelined requests, and one typed
// call per API, so that no package above needs to know kmsg.
//
// It is not a pool and has no retry: who calls knows which node to ask next.
//
// # Invariants
//
//  1. A response is handed to the request at the head of the pipeline; another
//     correlation id breaks the connection.
//  2. A length announced by the peer is compared with Options.ResponseMax, and
//     memory is taken only a bounded step ahead of the bytes that arrived.
//  3. A caller's buffer is not touched after DoRaw returned.
//  4. Once broken, a connection stays broken; it leaves no goroutine behind.
//
// # Ownership
//
// A Conn owns its socket and one reader goroutine. Writes happen in the
// caller's goroutine, one at a time. A sequential Conn (Options.Sequential) has
// no goroutine: its callers read their answers themselves.
package peer
