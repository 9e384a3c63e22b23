// Package invariants says whether this binary checks the invariants that the
// packages document. It holds no checks itself: they stand beside the state
// that they are about.
package invariants
