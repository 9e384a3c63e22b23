package group

import "testing"

// TestPartitionOf compares with Apache Kafka 4.3.1.
func TestPartitionOf(t *testing.T) {
	for id, want := range map[string]int32{
		"orders": 31, "a": 47, "": 0, "my-consumer-group": 13, "größe": 7, "Aa": 12, "polygenelubricants": 0,
	} {
		if got := PartitionOf(id, 50); got != want {
			t.Errorf("%q: %d, want %d", id, got, want)
		}
	}
	if got := PartitionOf("\U0001f600", 1<<30); got != 1772899 {
		t.Errorf("surrogates: %d", got)
	}
}
