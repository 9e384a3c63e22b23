// Command gen writes the record structs and their codec from the field tables
// in this directory. Run it with "go generate ./internal/metadata".
package main

import (
	"fmt"
	"os"
)

func main() {
	for name, build := range outputs {
		src, err := build()
		if err == nil {
			err = os.WriteFile(name, src, 0o644)
		}
		if err != nil {
			fmt.Fprintln(os.Stderr, "gen:", err)
			os.Exit(1)
		}
	}
}
