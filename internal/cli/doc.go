// Package cli is the command line: one file per command, each of which turns
// flags into a call of node or of a Kafka client and prints the result.
//
// It is not a place for rules: what a command shows, the broker decided.
//
// Invariants:
//  1. Commands write results to Out and everything else to Err; with -o json
//     Out carries JSON alone.
//  2. No command calls os.Exit; main maps the returned error to the exit code
//     (0 fine, 1 failure, 2 usage).
package cli
