package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"tidemark/test/apachekafka"
	"tidemark/test/cluster"
)

// The page, drawn by a real browser: every partition while all is well, and
// with one broker killed which broker is missing, which partitions lost a
// replica, and since when.
func TestPageInABrowser(t *testing.T) {
	c := cluster.New(t, cluster.Options{Nodes: 3})
	cluster.CreateTopic(t, c.Bootstrap(), "orders", 3, 3, nil)
	cluster.WaitISR(t, c.Bootstrap(), "orders", 3, healed)
	wantOnPage(t, c.Node(1), "Every replica of every partition is in sync", "rack a", "rack b", "rack c", "orders-0", "orders-1", "orders-2")
	c.Node(3).Kill()
	cluster.WaitISR(t, c.Bootstrap(), "orders", 2, healed)
	wantOnPage(t, c.Node(1), "Working, with less protection", "Broker 3 (rack c) is missing: fenced", "3 partitions have lost a replica",
		"missing (fenced) since", "lost 3", "3 is offline: controller fenced")
	c.Node(2).Kill()
	wantOnPage(t, c.Node(1), "no active controller is known")
}

// wantOnPage loads the page until it shows every text.
func wantOnPage(t *testing.T, n *cluster.Node, texts ...string) {
	t.Helper()
	cluster.Eventually(t, healed, func() error {
		dom := pageDOM(t, n.URL("/"))
		for _, want := range texts {
			if !strings.Contains(dom, want) {
				return fmt.Errorf("the page doesn't show %q:\n%.4000s", want, dom)
			}
		}
		return nil
	})
}

// pageDOM is what a browser has made of a page after two seconds of its time.
func pageDOM(t *testing.T, url string) string {
	t.Helper()
	bin, err := exec.LookPath("chromium")
	if err != nil {
		apachekafka.Missing(t, "chromium", err)
	}
	profile, err := os.MkdirTemp("", "tidemark-page-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(profile) }) // the browser's own helpers may still write a moment
	cmd := exec.CommandContext(t.Context(), bin, "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-sync",
		"--disable-quic", "--disable-background-networking", "--disable-component-update", "--user-data-dir="+profile,
		"--virtual-time-budget=2000", "--dump-dom", url)
	cmd.WaitDelay = 5 * time.Second
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("chromium: %v", err)
	}
	return string(out)
}
