// Package lint holds the rules of this repository as Go code that reads the
// source files in-process: a test that shelled out to the go command would
// still pass from the cache after a rule had been broken.
//
// It is not a general linter (go vet and gofmt run beside it). Each rule has a
// planted violation in its test, so that a rule that stopped biting is noticed.
//
// Rules:
//  1. layers: a package imports only lower layers; within L3 only the listed edges.
//  2. pure: L0 and L1 packages import no os, net, context, sync, log/slog,
//     math/rand, read no clock, start no goroutine.
//  3. roles: commitlog doesn't import replica; replica doesn't import record or commitlog.
//  4. kmsg: imported only by wire, api, peer, and outside internal's server side by
//     tests, benchmarks and the command line's client commands.
//  5. names: no package named common, util, types, helpers, manager.
//  6. sleep: no time.Sleep in tests.
//  7. size: functions of at most 70 lines, unless marked `// flat switch`.
package lint
