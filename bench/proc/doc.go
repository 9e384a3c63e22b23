// Package proc starts the processes that a benchmark measures and reads what
// they cost from /proc. It knows nothing of brokers.
//
// Invariants:
//  1. A process that was started is ended by Kill or Stop, or dies with this
//     one (parent-death signal).
package proc
