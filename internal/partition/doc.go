// Package partition hosts one replica: it joins the rules (package replica),
// the bytes (package commitlog) and the producers (package producer) under two
// locks, and is the only package that knows all three.
//
// It sends nothing and waits for nothing. What others wait for is left pending
// by the methods that change state and is handed out by Perform, once for any
// number of changes, so that a connection that drains twenty appends wakes each
// session once.
//
// # Invariants
//
//  1. mu is held for microseconds and never over a system call. appendMu is
//     held by the one who writes, truncates or changes the role.
//  2. No reader sees an offset at or above the log end that was published under
//     mu, nor a consumer one at or above the high watermark.
//  3. Under one appendMu critical section the role does not change: an append
//     that was admitted is published by the same leadership.
//  4. The producer table changes only with both locks held, so that either one
//     is enough to read it.
//  5. After a storage error the replica is offline for good; its log takes no
//     more appends and offsets are not reused (KAFKA-10778).
//  6. What a fetch is refused for leaves no trace in the leader's books
//     (KAFKA-8400).
//
// # Ownership and lock order
//
// session.Serve -> appendMu -> mu -> commitlog's lock. Marks and completions
// run under none of them.
package partition
