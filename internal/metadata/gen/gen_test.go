package main

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"
)

// The generated files are what the tables say.
func TestGeneratedFilesAreCurrent(t *testing.T) {
	for name, build := range outputs {
		want, err := build()
		if err != nil {
			t.Fatal(err)
		}
		got, err := os.ReadFile(filepath.Join("..", name))
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got, want) {
			t.Errorf("%s is stale: run go generate ./internal/metadata", name)
		}
	}
}
