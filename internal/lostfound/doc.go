// Package lostfound keeps, for a while, the bytes that a replica's log lost: to
// a truncation, or because they were damaged and fetched again.
//
// It decides nothing, and gives nothing back to a log by itself: what it holds
// was not committed, or is damaged, or both. People look at it.
//
// # Invariants
//
//  1. All items together hold at most the limit of bytes: the oldest ones go
//     first, and an item larger than the limit is cut short (Item.Whole).
//  2. A manifest is written after its bytes are complete: what has no manifest
//     is no item, and is removed at the next Open.
//
// # Files
//
//	ID.batches  raw batches in Kafka's format, damage included
//	ID.json     the Item
//
// ID begins with the time, so that names sort by age. Methods are safe for
// concurrent use by one process; another one may only read.
package lostfound
