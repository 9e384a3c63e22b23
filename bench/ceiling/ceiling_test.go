package ceiling

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"tidemark/bench/driver"
	"tidemark/bench/proc"
)

func start(t *testing.T, nodes, partitions, rf int) (Config, string) {
	t.Helper()
	ports, err := proc.FreePorts(nodes)
	if err != nil {
		t.Fatal(err)
	}
	cfg, dir := Config{Partitions: partitions, RF: rf}, t.TempDir()
	for _, p := range ports {
		cfg.Addrs = append(cfg.Addrs, fmt.Sprintf("127.0.0.1:%d", p))
	}
	for i := range nodes {
		c := cfg
		c.ID, c.Dir = i+1, filepath.Join(dir, fmt.Sprint(i+1))
		if err := os.Mkdir(c.Dir, 0o755); err != nil {
			t.Fatal(err)
		}
		go func() { _ = Run(c) }()
	}
	for _, a := range cfg.Addrs {
		if err := Ping(a, 10*time.Second); err != nil {
			t.Fatal(err)
		}
	}
	return cfg, dir
}

// Whatever was acknowledged must be in every node's file, the same bytes, and
// be readable.
func TestAcknowledgedBytesAreOnEveryNode(t *testing.T) {
	for _, batchBytes := range []int{1, 16 << 10, 300 << 10} {
		t.Run(fmt.Sprint(batchBytes), func(t *testing.T) {
			cfg, dir := start(t, 3, 6, 3)
			r, err := driver.Produce(t.Context(), cfg.Lanes(-1, batchBytes, 1024), 5, driver.Window{Measure: 10 * time.Second, MaxBytes: 4 << 20})
			if err != nil || r.Bytes == 0 || r.Latency.Count() == 0 {
				t.Fatalf("%d bytes, %d latencies, %v", r.Bytes, r.Latency.Count(), err)
			}
			var least int64
			for p := range 6 {
				var files [][]byte
				for n := 1; n <= 3; n++ {
					b, err := os.ReadFile(filepath.Join(dir, fmt.Sprint(n), fmt.Sprintf("%d.log", p)))
					if err != nil {
						t.Fatal(err)
					}
					files = append(files, b)
				}
				k := min(len(files[0]), len(files[1]), len(files[2]))
				least += int64(k)
				if !bytes.Equal(files[0][:k], files[1][:k]) || !bytes.Equal(files[0][:k], files[2][:k]) {
					t.Fatalf("partition %d differs", p)
				}
			}
			if least < r.Bytes {
				t.Fatalf("%d bytes on all nodes, %d acknowledged", least, r.Bytes)
			}
			c, err := driver.Consume(t.Context(), cfg.Readers(), driver.Window{Measure: 10 * time.Second, MaxBytes: 2 << 20})
			if err != nil || c.Bytes == 0 {
				t.Fatalf("consumed %d bytes, %v", c.Bytes, err)
			}
		})
	}
}

func TestUnreplicatedAcknowledgesAtOnce(t *testing.T) {
	cfg, _ := start(t, 1, 1, 1)
	r, err := driver.Produce(t.Context(), cfg.Lanes(1, 64<<10, 1024), 5, driver.Window{Measure: 10 * time.Second, MaxBytes: 2 << 20})
	if err != nil || r.Bytes == 0 {
		t.Fatalf("%d bytes, %v", r.Bytes, err)
	}
}

// A paced flow arrives whole: as many bytes as were asked for, each late by what
// the generator itself was late, or more.
func TestEndToEnd(t *testing.T) {
	cfg, _ := start(t, 3, 6, 3)
	r, err := cfg.EndToEnd(t.Context(), 10000, 1024, driver.Window{Measure: 10 * time.Second, MaxBytes: 3 << 20})
	if err != nil || r.Bytes < 2<<20 || r.Records != r.Bytes/1024 || r.Latency.Count() == 0 {
		t.Fatalf("%d bytes, %d records, %d latencies, %v", r.Bytes, r.Records, r.Latency.Count(), err)
	}
	if own, all := r.Own.Quantile(0.5), r.Latency.Quantile(0.5); own == 0 || all < own {
		t.Errorf("median %v, of it the generator's %v", all, own)
	}
}

func TestDamageIsRefused(t *testing.T) {
	b := driver.BuildBatch(4096, 1024, time.Now())
	two := append(append([]byte(nil), b...), b...)
	if n, err := wholeBatches(two[:len(two)-1]); err != nil || n != len(b) {
		t.Fatalf("%d, %v; want the first batch of %d", n, err, len(b))
	}
	two[len(two)-1] ^= 1
	if _, err := wholeBatches(two); err == nil {
		t.Fatal("a wrong CRC went unseen")
	}
}
