// Package model holds the values that every other package speaks in: offsets,
// epochs, identifiers. It is not a home for behaviour: a rule about these
// values lives in the package that owns the rule.
//
// Every type here is a plain value, comparable and safe to copy. The distinct
// integer types exist so that a leader epoch can't be passed where a broker
// epoch is meant (docs/ARCHITECTURE.md, "units are types").
package model
