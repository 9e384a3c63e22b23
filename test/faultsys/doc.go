// Package faultsys makes the kernel fail or delay chosen file operations of a real
// process: reads, writes and syncs of paths under a prefix, once or for ever,
// switched while the process runs. It uses seccomp's user notification, so it
// needs neither root nor a debugger, and costs nothing but for those calls.
//
// It isn't a file system: it can't tear a write or lose what wasn't synced
// (vfs.Mem does), and calls that touch no data (open, rename) pass.
//
// # How
//
// The process is started by this test binary (Wrap, init), which installs a
// filter that asks the Supervisor about each call in question, hands it the
// listening end over a Unix socket, and becomes the process. The filter is
// inherited over exec and by every thread; a restarted process has a new one.
//
// # Invariants
//
//  1. A call that no rule names is carried out unchanged.
//  2. A failed call has no effect: the kernel never sees it.
//  3. A rule with Times n fires n times, whichever thread comes.
//
// A Supervisor lives as long as its test.
package faultsys
