package packaging

import (
	"regexp"
	"strings"
	"testing"

	"tidemark/internal/replica"
)

// TestJournalWords: every kind of event and every cause that the journal may hold is
// explained in OPERATIONS.md, and none besides.
func TestJournalWords(t *testing.T) {
	doc := read(t, "docs/OPERATIONS.md")
	_, list, _ := strings.Cut(doc, "Kinds: ")
	list, _, _ = strings.Cut(list, ".\n")
	told := map[string]bool{}
	for _, k := range strings.FieldsFunc(list, func(r rune) bool { return r == ',' || r == ' ' || r == '\n' }) {
		told[k] = true
	}
	kinds := regexp.MustCompile(`(?m)^\t\w+ +(?:Kind )?= "([a-z-]+)"$`).FindAllStringSubmatch(read(t, "internal/journal/event.go"), -1)
	if len(kinds) < 30 {
		t.Fatalf("%d kinds in event.go", len(kinds))
	}
	for _, k := range kinds {
		if !told[k[1]] {
			t.Errorf("docs/OPERATIONS.md lists no kind %s", k[1])
		}
		delete(told, k[1])
	}
	for k := range told {
		t.Errorf("docs/OPERATIONS.md lists kind %s, which doesn't exist", k)
	}
	for _, c := range replica.Causes() {
		if !strings.Contains(doc, "`"+string(c)+"`") {
			t.Errorf("docs/OPERATIONS.md doesn't explain cause %s", c)
		}
	}
}
