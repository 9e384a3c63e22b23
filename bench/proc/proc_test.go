package proc

import (
	"os"
	"testing"
	"time"
)

func TestParseStatWithAnOddName(t *testing.T) {
	line := "42 (a ) b) S 1 1 1 0 -1 4194304 100 0 0 0 250 50 0 0 20 0 9 0 100 1 1"
	if d, err := parseStat(line); err != nil || d != 3*time.Second {
		t.Fatalf("%v, %v; want 3s", d, err)
	}
	for _, bad := range []string{"", "42 (x) S", "42 (x) S 1 1 1 0 -1 4194304 100 0 0 0 a b 0"} {
		if _, err := parseStat(bad); err == nil {
			t.Errorf("%q was taken", bad)
		}
	}
}

func TestFieldMatchesWholeKeys(t *testing.T) {
	s := "VmHWM:\t   20 kB\nVmRSS:\t   10 kB\nvoluntary_ctxt_switches:\t7\nnonvoluntary_ctxt_switches:\t9\n"
	if field(s, "VmRSS:") != 10 || field(s, "voluntary_ctxt_switches:") != 7 || field(s, "none:") != 0 {
		t.Fatal("wrong field")
	}
}

func TestOwnProcessHasACost(t *testing.T) {
	rss, peak := Memory(os.Getpid())
	if rss <= 0 || peak < rss || ContextSwitches(os.Getpid()) <= 0 || OpenFiles(os.Getpid()) <= 0 {
		t.Fatalf("rss %d peak %d", rss, peak)
	}
}

func TestStopAndKillEndAProcess(t *testing.T) {
	for _, end := range []func(*Process){func(p *Process) { _ = p.Stop(10 * time.Second) }, (*Process).Kill} {
		p, err := Start(t.TempDir()+"/log", nil, "sleep", "60")
		if err != nil {
			t.Fatal(err)
		}
		if !p.Running() {
			t.Fatal("it ended at once")
		}
		if end(p); p.Running() {
			t.Fatal("it still runs")
		}
	}
}
