// Package server accepts connections, cuts their bytes into requests, hands
// each to a Handler and sends the answers, in the order of the requests of a
// connection.
//
// It is not where requests are understood: it reads the header, no more.
//
// # How a connection runs
//
// One goroutine per connection reads what is there, calls Handler.Handle for
// every whole frame and, when nothing is left to read or after 256 KiB,
// Handler.Drained once. Answers may come from any
// goroutine and in any order. Each is put into its place; what has become
// sendable is sent by whoever completed it, without waiting: what the socket
// does not take at once is left to the connection's writer goroutine, which
// lives only as long as there is such a rest. Answers given while Handle or
// Drained runs are sent together after Drained.
//
// # Invariants
//
//  1. Memory for a request grows with the bytes that arrived, never with the
//     length that was announced; buffers above 256 KiB have a common budget.
//  2. No goroutine ever waits for another connection's socket.
//  3. Requests accepted and not yet answered, and bytes waiting to be sent, are
//     bounded per connection; at the bound the reader stops reading.
//  4. Drained has run before the reader waits for anything.
//  5. Every slice handed to Respond is released exactly once.
//  6. A response is written whole or the connection is closed.
//
// # Ownership
//
// A Conn's buffer and Attachment belong to its reader goroutine. Conn.out.mu
// is a leaf lock: nothing else is locked, read or written under it.
package server
