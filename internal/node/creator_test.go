package node

import (
	"slices"
	"testing"

	"tidemark/internal/api"
)

// What brokers forward is exactly what the controllers have a handler for.
func TestForwardedKeysAreServed(t *testing.T) {
	h := api.New(api.Options{Controller: true})
	api.RegisterController(h, nil)
	api.RegisterDescribeQuorum(h, nil)
	var served []int16
	for _, a := range h.APIs() {
		if a.Forward {
			served = append(served, a.Key)
		}
	}
	if !slices.Equal(served, implementedByControllers) {
		t.Fatalf("controllers serve %v, brokers forward %v", served, implementedByControllers)
	}
}
