package main

import (
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestTableFitsTheTree keeps the table honest: a mutation whose text has gone
// would test nothing.
func TestTableFitsTheTree(t *testing.T) {
	all, err := parseTable(tableText)
	if err != nil {
		t.Fatal(err)
	}
	if len(all) < 25 {
		t.Fatalf("%d mutations", len(all))
	}
	names := map[string]bool{}
	for _, m := range all {
		if names[m.name] {
			t.Errorf("%s is there twice", m.name)
		}
		names[m.name] = true
		if !strings.HasSuffix(m.rule, ".") || strings.Contains(m.rule, "|") {
			t.Errorf("%s: %q is no sentence for a table", m.name, m.rule)
		}
		_, becomes, err := m.mutate("../..")
		if err != nil {
			t.Error(err)
			continue
		}
		if _, err := parser.ParseFile(token.NewFileSet(), m.file, becomes, 0); err != nil {
			t.Errorf("%s: %v", m.name, err)
		}
	}
}

func TestStaleTableIsAnError(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "a.go"), []byte("x := 1\nx := 1\ny := 2\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		find, replace string
		ok            bool
	}{
		{"y := 2", "y := 3", true},
		{"y := 2", "y := 2", false}, // changes nothing
		{"x := 1", "x := 3", false}, // twice
		{"z := 1", "z := 3", false}, // gone
		{"", "z", false},
	} {
		_, _, err := mutation{name: "m", file: "a.go", find: tc.find, replace: tc.replace}.mutate(dir)
		if (err == nil) != tc.ok {
			t.Errorf("%q to %q: %v", tc.find, tc.replace, err)
		}
	}
}

func TestVerdictOfOutput(t *testing.T) {
	sim := "--- FAIL: TestCluster (1.00s)\n    cluster_test.go:40: go test ./internal/sim -run TestCluster -seed=17\n" +
		"        \tAckedRecordsSurvive: record 5 | lost\n    cluster_test.go:40: go test ./internal/sim -run TestCluster -seed=9\n" +
		"        \tother\nFAIL\n"
	unit := "time=x level=WARN\n--- FAIL: TestA (0.00s)\n    --- FAIL: TestA/case (0.00s)\n        a_test.go:4: want 1\nFAIL\n"
	story := "--- FAIL: TestStories (0.00s)\n    --- FAIL: TestStories/b (0.00s)\n        datadriven.go:1:\n" +
		"            testdata/b.txt:26:\n            flush\n"
	for _, tc := range []struct {
		name, out, by, event string
	}{
		{"story", story, "`TestStories/b` (x)", "testdata/b.txt:26:"},
		{"simulation", sim, "`TestCluster`, 2 of 100 seeds, first 9", "other"},
		{"unit test", unit, "`TestA/case` (x)", "want 1"},
		{"panic in a test", "panic: offset 5\n\ngoroutine 1\nFAIL\ttidemark/internal/x\n", "panic (x)", "offset 5"},
		{"hang", "panic: test timed out after 1s\n\trunning tests:\n\t\tTestB (1s)\n", "`TestB` (x)", "test timed out after 1s"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if by, event := read(tc.out, "x", 100); by != tc.by || event != tc.event {
				t.Errorf("got %q, %q", by, event)
			}
		})
	}
}
