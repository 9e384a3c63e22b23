package lint

import (
	"strings"
	"testing"
)

// TestRepository is the gate: the repository itself breaks no rule.
func TestRepository(t *testing.T) {
	files, err := Load("../..")
	if err != nil {
		t.Fatal(err)
	}
	if len(files) < 4 {
		t.Fatalf("found %d Go files; is the root wrong?", len(files))
	}
	for _, v := range Check(files) {
		t.Error(v)
	}
}

// TestPlantedViolations shows that each rule bites.
func TestPlantedViolations(t *testing.T) {
	long := "package broker\nfunc f() {\n" + strings.Repeat("\tf()\n", maxFuncLines) + "}\n"
	for _, tc := range []struct{ name, path, src, rule string }{
		{"upward import", "internal/commitlog/x.go", `package commitlog; import _ "tidemark/internal/partition"`, "layers"},
		{"sideways import", "internal/observer/x.go", `package observer; import _ "tidemark/internal/quorum"`, "layers"},
		{"unknown package", "internal/stuff/x.go", `package stuff`, "layers"},
		{"pure os", "internal/replica/x.go", `package replica; import _ "os"`, "pure"},
		{"pure sync", "internal/controller/x.go", `package controller; import _ "sync"`, "pure"},
		{"pure clock", "internal/group/x.go", `package group; import "time"; var _ = time.Now`, "pure"},
		{"pure goroutine", "internal/producer/x.go", `package producer; func f() { go f() }`, "pure"},
		{"log knows roles", "internal/commitlog/x.go", `package commitlog; import _ "tidemark/internal/replica"`, "roles"},
		{"core sees bytes", "internal/replica/x.go", `package replica; import _ "tidemark/internal/record"`, "roles"},
		{"kmsg in the engine", "internal/partition/x.go", `package partition; import _ "github.com/twmb/franz-go/pkg/kmsg"`, "kmsg"},
		{"bucket package", "internal/api/util/x.go", `package util`, "names"},
		{"sleep in a test", "internal/api/x_test.go", `package api; import "time"; var _ = time.Sleep`, "sleep"},
		{"long function", "internal/broker/x.go", long, "size"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			f, err := Parse(tc.path, tc.path, tc.src)
			if err != nil {
				t.Fatal(err)
			}
			got := Check([]*File{f})
			if len(got) != 1 || got[0].Rule != tc.rule {
				t.Fatalf("got %v, want one violation of %q", got, tc.rule)
			}
		})
	}
}

func TestFlatSwitchExcusesLength(t *testing.T) {
	src := "package broker\n\n// f is one. flat switch\nfunc f() {\n" + strings.Repeat("\tf()\n", maxFuncLines) + "}\n"
	f, err := Parse("internal/broker/x.go", "x.go", src)
	if err != nil {
		t.Fatal(err)
	}
	if got := Check([]*File{f}); len(got) != 0 {
		t.Fatalf("got %v", got)
	}
}
