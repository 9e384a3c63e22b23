// Package node builds one running node out of the other packages, in order,
// and takes it down again; and it formats the directories that a node starts on.
//
// It holds wiring and no rules: what is decided is decided in the cores.
package node
