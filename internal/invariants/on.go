//go:build invariants

package invariants

// Enabled is true in binaries built with -tags invariants.
const Enabled = true
