package broker

import (
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"

	"tidemark/internal/vfs"
)

// While a crashed broker reads its logs, what is left goes down to nothing; it is
// looked at whenever a segment is read.
func TestRecoveryProgress(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fs := vfs.NewMem()
		n := start(t, fs, 1, nil)
		n.apply(t, true, append(cluster(), topic("a"), part("a", 0, 1, 1), part("a", 1, 1, 1))...)
		for i := range 2 {
			for range 3 {
				n.produce(t, tpOf("a", int32(i)), 5)
				p, err := n.Partition(tpOf("a", int32(i)))
				if err != nil {
					t.Fatal(err)
				}
				if err := p.Log().Roll(); err != nil {
					t.Fatal(err)
				}
			}
		}
		n.Checkpoint()
		after := fs.CrashClone(100, 1)
		n.Broker.Close(false, 0)

		var mu sync.Mutex
		var again *node
		seen := map[string]bool{}
		slow := vfs.NewFaulty(after, func(op vfs.Op) error {
			mu.Lock()
			defer mu.Unlock()
			if again != nil && op.Kind == vfs.OpRead && strings.HasSuffix(op.Name, ".log") {
				r := again.Recovery()[0]
				seen[fmt.Sprintf("%d logs, %d segments", r.Logs, r.Segments)] = true
			}
			return nil
		})
		m := start(t, slow, 1, func(c *Config) { c.RecoveryThreads = 1 })
		mu.Lock()
		again = m
		mu.Unlock()
		m.apply(t, true, append(cluster(), topic("a"), part("a", 0, 1, 1), part("a", 1, 1, 1))...)
		if r := m.Recovery()[0]; r.Logs != 0 || r.Segments != 0 || r.Dir == "" {
			t.Errorf("afterwards %+v", r)
		}
		mu.Lock()
		for _, want := range []string{"2 logs, 4 segments", "2 logs, 2 segments", "1 logs, 4 segments", "1 logs, 2 segments"} {
			if !seen[want] {
				t.Errorf("never %s, but %v", want, seen)
			}
		}
		again = nil
		mu.Unlock()
		m.Broker.Close(false, 0)
	})
}
