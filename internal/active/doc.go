// Package active is the shell of the controller core: on the leader of the
// quorum it feeds requests to controller.Core, proposes what it decides, and
// answers when that has been committed and applied.
//
// It decides nothing itself, and it isn't the quorum: leadership, replication
// and the committed image come from package quorum.
//
// # Invariants
//
//  1. One goroutine owns the core. At most one proposal is in flight; requests
//     that arrive meanwhile are decided together afterwards, on the image that
//     the proposal led to.
//  2. A request is answered after every record decided up to it has been
//     applied, so an answer never speaks of something that can still be lost.
//  3. When leadership ends, every waiting request gets ErrNotController: its
//     outcome is unknown to the caller, who asks the new controller again.
//  4. A probe can only speed up a fencing that broker epochs make safe: only a
//     refused connection counts, and only for the registration that was probed.
//  5. The queue is bounded; ErrBusy when it is full.
package active
