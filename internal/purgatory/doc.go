// Package purgatory keeps requests that wait: for a high watermark, for data,
// for a low watermark, or for their deadline, whichever comes first.
//
// It knows no partition and no protocol. A Request is parked once and completed
// once, by whoever brings the last value that it waits for, or by the timer. A
// Watch is the place at one partition where requests wait for one value.
//
// # Invariants
//
//  1. The completion function of a Request runs exactly once, and never under
//     a lock of this package.
//  2. A value that was reached is not lost: Add resolves at once if it comes
//     after Reach.
//  3. A Request added under a leadership that has ended is Lost, whichever of
//     Add and Lose comes first.
//  4. At most max requests are parked; more are refused with ErrFull.
//
// # Ownership
//
// One timer serves all deadlines; while nothing is parked it is not armed.
// Purgatory.mu and Watch.mu are leaves, never held together.
package purgatory
