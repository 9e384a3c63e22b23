package dashboards

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"tidemark/test/cluster"
)

// With hundreds of partitions of three replicas each a scrape is cheap, and has as
// many series as OPERATIONS.md says; without those of partitions it stays small.
func TestScrapeOfManyPartitions(t *testing.T) {
	const partitions = 400
	c := cluster.New(t, cluster.Options{Nodes: 3})
	cluster.CreateTopic(t, c.Bootstrap(), "many", partitions, 3, nil)
	n := c.Node(1)
	cluster.Eventually(t, time.Minute, func() error {
		_, body, err := n.Get("/metrics?partitions=off")
		if line := fmt.Sprintf("\nkafka_server_replicamanager_partitioncount %d\n", partitions); err == nil && !strings.Contains(body, line) {
			err = fmt.Errorf("node 1 doesn't host %d replicas yet", partitions)
		}
		return err
	})
	cluster.WaitISR(t, c.Bootstrap(), "many", 3, time.Minute)
	scrape := func(path string) (series, of int, took time.Duration) {
		took = time.Hour
		for range 5 {
			began := time.Now()
			_, body, err := n.Get(path)
			if err != nil {
				t.Fatal(err)
			}
			took = min(took, time.Since(began))
			series, of = 0, 0
			for line := range strings.Lines(body) {
				if !strings.HasPrefix(line, "#") {
					series++
					if strings.Contains(line, "partition=") {
						of++
					}
				}
			}
		}
		return series, of, took
	}
	for _, path := range []string{"/metrics", "/metrics/kafka?style=confluent"} {
		// 4 of each log, 1 of each followed partition; 6 of each that is led, and 3
		// more for each of its two followers.
		led := partitions / 3 // they are spread evenly
		want := 4*partitions + (partitions - led) + 6*led
		if path == "/metrics" {
			want += 2 * 3 * led
		}
		cluster.Eventually(t, 30*time.Second, func() error { // followers have to fetch once
			series, of, took := scrape(path)
			if of < want*9/10 || of > want*11/10 || took > time.Second/2 {
				return fmt.Errorf("%s: %d series, %d of partitions, want about %d; the fastest of five took %v", path, series, of, want, took)
			}
			t.Logf("%s: %d series, %d of partitions, %v", path, series, of, took)
			return nil
		})
	}
	if series, of, _ := scrape("/metrics?partitions=off"); of != 0 || series > 2500 {
		t.Errorf("%d series without partitions, %d of them with", series, of)
	}
}
