package main

import (
	_ "embed" // the table
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

//go:embed table.txt
var tableText string

// mutation is one wrong rule: a text of one file, and what to put in its place.
type mutation struct {
	name    string
	file    string // slash-separated, from the root of the repository
	rule    string // the rule that it breaks
	late    bool   // chosen after the tests were written
	find    string // in file exactly once
	replace string
}

// parseTable reads table.txt; the format is described there.
func parseTable(text string) ([]mutation, error) {
	var all []mutation
	var find, replace []string
	finish := func() {
		if n := len(all); n > 0 {
			all[n-1].find, all[n-1].replace = strings.Join(find, "\n"), strings.Join(replace, "\n")
		}
		find, replace = nil, nil
	}
	for i, line := range strings.Split(text, "\n") {
		word, rest, _ := strings.Cut(line, " ")
		last := len(all) - 1
		switch {
		case line == "" || line[0] == '#':
		case word == "mutation":
			finish()
			all = append(all, mutation{name: rest})
		case last < 0:
			return nil, fmt.Errorf("line %d: %q before the first mutation", i+1, line)
		case line[0] == '-':
			find = append(find, line[1:])
		case line[0] == '+':
			replace = append(replace, line[1:])
		case word == "file":
			all[last].file = rest
		case word == "rule":
			all[last].rule = rest
		case line == "late":
			all[last].late = true
		default:
			return nil, fmt.Errorf("line %d: %q", i+1, line)
		}
	}
	finish()
	return all, nil
}

// mutate returns the file as it is and as it becomes. A text that isn't there
// exactly once is an error: the table is older than the code.
func (m mutation) mutate(root string) (was, becomes string, err error) {
	data, err := os.ReadFile(filepath.Join(root, filepath.FromSlash(m.file)))
	if err != nil {
		return "", "", fmt.Errorf("%s: %w", m.name, err)
	}
	was = string(data)
	if n := strings.Count(was, m.find); m.find == "" || n != 1 {
		return "", "", fmt.Errorf("%s: its text is %d times in %s, not once; bring test/mutants/table.txt up to date",
			m.name, n, m.file)
	}
	becomes = strings.Replace(was, m.find, m.replace, 1)
	if becomes == was {
		return "", "", fmt.Errorf("%s changes nothing", m.name)
	}
	return was, becomes, nil
}
