package packaging

import (
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// The cases of docs/CORNER-CASES.md: no number is missing, and each has tests that
// exist where it says, or a reason why it has none.
func TestCornerCases(t *testing.T) {
	const cases = 112
	row := regexp.MustCompile(`(?m)^\| (\d+) \| (.+?) \| (.+) \|$`)
	group := regexp.MustCompile("((?:`Test[^`]+`,? ?)+)\\((\\w+)\\)")
	name := regexp.MustCompile("`(Test\\w+)(?:/(\\w+))?`")
	seen := map[int]bool{}
	for _, m := range row.FindAllStringSubmatch(read(t, "docs/CORNER-CASES.md"), -1) {
		n, err := strconv.Atoi(m[1])
		if err != nil || seen[n] || n < 1 || n > cases {
			t.Errorf("row %s: %v, or a number that is there twice, or isn't one of %d", m[1], err, cases)
		}
		seen[n] = true
		found, named := 0, strings.Count(m[3], "`Test")
		for _, g := range group.FindAllStringSubmatch(m[3], -1) {
			for _, at := range name.FindAllStringSubmatch(g[1], -1) {
				found++
				if why := missing(t, g[2], at[1], at[2]); why != "" {
					t.Errorf("case %d: %s", n, why)
				}
			}
		}
		if found != named || named == 0 && !strings.HasPrefix(m[3], "Not here: ") {
			t.Errorf("case %d: %d of %d tests understood in %q", n, found, named, m[3])
		}
	}
	for n := 1; n <= cases; n++ {
		if !seen[n] {
			t.Errorf("case %d is missing", n)
		}
	}
}

// missing says what of a named test isn't there: the function, or the story
// that it is to read.
func missing(t *testing.T, pkg, test, story string) string {
	t.Helper()
	dir := filepath.Join(root, "internal", pkg)
	if _, err := os.Stat(dir); err != nil {
		dir = filepath.Join(root, "test", pkg)
	}
	files, err := filepath.Glob(filepath.Join(dir, "*_test.go"))
	if err != nil {
		t.Fatal(err)
	}
	def, found := regexp.MustCompile(`(?m)^func `+test+`\(t \*testing\.T\) \{`), false
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		found = found || def.Match(b)
	}
	if !found {
		return "no " + test + " in " + pkg
	}
	if story == "" {
		return ""
	}
	for _, at := range []string{"testdata", "testdata/story"} {
		if _, err := os.Stat(filepath.Join(dir, at, story+".txt")); err == nil {
			return ""
		}
	}
	return "no story " + story + " in " + pkg
}
