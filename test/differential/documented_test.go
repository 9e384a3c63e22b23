package differential

import (
	"os"
	"slices"
	"strings"
	"testing"
)

// TestDocumented compares the allow-list with the table in docs/PROTOCOL.md,
// both ways and in order.
func TestDocumented(t *testing.T) {
	doc, err := os.ReadFile("../../docs/PROTOCOL.md")
	if err != nil {
		t.Fatal(err)
	}
	_, section, found := strings.Cut(string(doc), "\n## Answers that differ\n")
	if !found {
		t.Fatal("docs/PROTOCOL.md has no section 'Answers that differ'")
	}
	section, _, _ = strings.Cut(section, "\n## ")
	var documented, allowed []string
	for line := range strings.Lines(section) {
		cells := strings.Split(strings.Trim(strings.TrimSpace(line), "|"), "|")
		if !strings.HasPrefix(line, "| ") || len(cells) != 3 || strings.HasPrefix(cells[0], " difference") || strings.HasPrefix(cells[0], " ---") {
			continue
		}
		for i, c := range cells {
			if strings.TrimSpace(c) == "" {
				t.Errorf("column %d is empty: %s", i+1, line)
			}
		}
		documented = append(documented, strings.ReplaceAll(strings.TrimSpace(cells[0]), "`", ""))
	}
	for _, a := range allowList {
		allowed = append(allowed, a.name)
		if !slices.Contains(documented, a.name) {
			t.Errorf("docs/PROTOCOL.md doesn't tell: %s", a.name)
		}
	}
	for _, name := range documented {
		if !slices.Contains(allowed, name) {
			t.Errorf("docs/PROTOCOL.md tells of a difference that the allow-list doesn't have: %s", name)
		}
	}
	if !t.Failed() && !slices.Equal(documented, allowed) {
		t.Errorf("the table is in another order than the allow-list")
	}
}
