// Command run measures Tidemark beside Apache Kafka and beside the ceiling, on
// one machine, in turns, so that the machine's drift hits all of them.
//
//	go run ./bench/run -list
//	go run ./bench/run -systems tidemark,ceiling -scenarios produce-1m,one-1 -rounds 3 -seconds 5
//	go run ./bench/run -systems tidemark,kafka,ceiling -json results.json -md docs/BENCHMARKS.md
//
// Each round starts every system anew on an empty directory (tmpfs if there is
// one), runs the chosen scenarios in the listed order, and deletes everything.
// Tidemark runs from bin/tidemark (make build), Apache Kafka from the artifacts
// that test/apachekafka/fetch downloads, the ceiling from this very program.
//
// It is not a test: nothing here passes or fails by a time.
//
// Invariants:
//  1. All systems get the same topics, layout, batches, windows and byte limits.
//  2. One system runs at a time.
//  3. The ceiling is measured in every mode it has, and its best one counts.
//  4. A scenario that fails is reported as failed; its numbers are not.
package main
