// Package config turns an ordinary Kafka server.properties, the environment and
// the command line into one typed, checked value. Nothing looks a setting up by
// name after the start.
//
// It is not a store of dynamic settings: topic and broker settings that change
// at run time live in the metadata image.
//
// Layers, later wins: default, file, environment (KAFKA_FOO_BAR), --override.
//
// Every known key stands in keys.tsv with kind, default, range and a status:
//
//	honoured    the code follows it
//	quiet       tunes machinery that this implementation doesn't have; accepted silently
//	later       Kafka knows it, this implementation doesn't yet: a warning
//	protective  its absence would weaken protection or durability: a refusal to start
//	removed     Kafka 4 has removed it: a warning
//
// Invariants:
//  1. A Config that Load returned is complete and within its ranges.
//  2. A bad value of a known key is an error that names value, range and place;
//     an unknown key is only a warning that names the nearest known one.
package config
