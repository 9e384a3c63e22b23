package lint

import (
	"fmt"
	"go/ast"
	"path"
	"slices"
	"strings"
)

const modulePath = "tidemark"

// layers gives each internal package its layer; a package that is missing here
// is itself a violation.
var layers = map[string]int{
	"model": 0, "record": 0, "invariants": 0,
	"replica": 1, "producer": 1, "group": 1, "txn": 1, "metadata": 1, "controller": 1, "explain": 1,
	"vfs": 2, "commitlog": 2, "lostfound": 2, "wire": 2, "peer": 2, "latency": 2,
	"purgatory": 3, "session": 3, "partition": 3, "fetcher": 3, "quorum": 3, "active": 3,
	"observer": 3, "coordinator": 3, "broker": 3, "journal": 3,
	"api": 4, "auth": 4, "server": 4, "admin": 4, "console": 4,
	"config": 5, "node": 5, "cli": 5,
	"lint": 6, "sim": 6,
}

// sameLayer lists, for layers in which packages may import each other, what each may import.
var sameLayer = map[string][]string{
	"producer": {}, "controller": {"metadata"},
	"commitlog": {"vfs"}, "lostfound": {"vfs"}, "wire": {"vfs"}, "peer": {"wire"},
	"purgatory": {"journal"}, "session": {"journal"},
	"partition":   {"journal", "purgatory", "session"},
	"fetcher":     {"journal", "purgatory", "session", "partition"},
	"coordinator": {"journal", "purgatory", "session", "partition"},
	"quorum":      {"journal"},
	"active":      {"journal", "quorum"},
	"observer":    {"journal"},
	"broker":      {"journal", "purgatory", "session", "partition", "fetcher", "coordinator", "observer"},
	"api":         {"auth", "server"},
	"admin":       {"console", "auth"},
	"node":        {"config"}, "cli": {"config", "node"},
	"explain": {"metadata", "replica"},
}

var impure = []string{"os", "net", "context", "sync", "log/slog", "math/rand", "math/rand/v2", "os/exec", "io/ioutil", "crypto/rand"}

// Check applies every rule to every file.
func Check(files []*File) []Violation {
	var out []Violation
	for _, f := range files {
		out = append(out, checkLayers(f)...)
		out = append(out, checkPure(f)...)
		out = append(out, checkRoles(f)...)
		out = append(out, checkKmsg(f)...)
		out = append(out, checkNames(f)...)
		out = append(out, checkSleep(f)...)
		out = append(out, checkSize(f)...)
	}
	return out
}

func checkLayers(f *File) []Violation {
	from := f.pkg()
	if from == "" || f.Test {
		return nil
	}
	fl, known := layers[from]
	if !known {
		return []Violation{{"layers", f.Path, fmt.Sprintf("package %s has no layer; add it to internal/lint and docs/ARCHITECTURE.md", from)}}
	}
	var out []Violation
	for _, im := range f.Imports {
		to := internalPackage(strings.TrimPrefix(im, modulePath+"/"))
		if to == "" || to == from {
			continue
		}
		tl, ok := layers[to]
		switch {
		case !ok:
			out = append(out, Violation{"layers", f.Path, fmt.Sprintf("imports %s, which has no layer", to)})
		case tl > fl:
			out = append(out, Violation{"layers", f.Path, fmt.Sprintf("%s (L%d) imports %s (L%d)", from, fl, to, tl)})
		case tl == fl && fl > 0 && fl < 6 && !slices.Contains(sameLayer[from], to):
			out = append(out, Violation{"layers", f.Path, fmt.Sprintf("%s may not import %s of its own layer", from, to)})
		}
	}
	return out
}

func isPure(f *File) bool {
	l, ok := layers[f.pkg()]
	return ok && l <= 1 && !f.Test && path.Base(f.Dir) != "gen"
}

func checkPure(f *File) []Violation {
	if !isPure(f) {
		return nil
	}
	var out []Violation
	for _, im := range f.Imports {
		if slices.Contains(impure, im) {
			out = append(out, Violation{"pure", f.Path, fmt.Sprintf("a pure package imports %q", im)})
		}
	}
	ast.Inspect(f.Syntax, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.GoStmt:
			out = append(out, Violation{"pure", f.pos(n), "a pure package starts a goroutine"})
		case *ast.SelectorExpr:
			if isSelector(n, "time", "Now", "After", "Sleep", "Since", "Until", "NewTimer", "NewTicker", "AfterFunc", "Tick") {
				out = append(out, Violation{"pure", f.pos(n), "a pure package reads the clock: time." + n.Sel.Name})
			}
		}
		return true
	})
	return out
}

func isSelector(n *ast.SelectorExpr, pkg string, names ...string) bool {
	id, ok := n.X.(*ast.Ident)
	return ok && id.Name == pkg && slices.Contains(names, n.Sel.Name)
}

func checkRoles(f *File) []Violation {
	forbidden := map[string][]string{"commitlog": {"replica"}, "replica": {"record", "commitlog"}, "quorum": {"partition"}, "observer": {"partition"}}
	if f.Test {
		return nil
	}
	var out []Violation
	for _, to := range forbidden[f.pkg()] {
		if slices.Contains(f.Imports, modulePath+"/internal/"+to) {
			out = append(out, Violation{"roles", f.Path, fmt.Sprintf("%s must not know %s", f.pkg(), to)})
		}
	}
	return out
}

func checkKmsg(f *File) []Violation {
	from := f.pkg()
	if f.Test || from == "" || slices.Contains([]string{"wire", "api", "peer", "cli", "sim"}, from) {
		return nil
	}
	if slices.Contains(f.Imports, "github.com/twmb/franz-go/pkg/kmsg") {
		return []Violation{{"kmsg", f.Path, from + " imports kmsg; only wire, api, peer and the client commands may"}}
	}
	return nil
}

func checkNames(f *File) []Violation {
	if slices.Contains([]string{"common", "util", "utils", "types", "helpers", "manager"}, f.Syntax.Name.Name) {
		return []Violation{{"names", f.Path, fmt.Sprintf("package %s says nothing about what it holds", f.Syntax.Name.Name)}}
	}
	return nil
}

func checkSleep(f *File) []Violation {
	if !f.Test {
		return nil
	}
	var out []Violation
	ast.Inspect(f.Syntax, func(n ast.Node) bool {
		if s, ok := n.(*ast.SelectorExpr); ok && isSelector(s, "time", "Sleep") {
			out = append(out, Violation{"sleep", f.pos(n), "time.Sleep in a test: wait for an event instead"})
		}
		return true
	})
	return out
}

// maxFuncLines is the longest function that needs no excuse.
const maxFuncLines = 70

func checkSize(f *File) []Violation {
	if f.Gen || f.Test {
		return nil
	}
	var out []Violation
	for _, d := range f.Syntax.Decls {
		fn, ok := d.(*ast.FuncDecl)
		if !ok || fn.Body == nil {
			continue
		}
		lines := f.Fset.Position(fn.End()).Line - f.Fset.Position(fn.Pos()).Line + 1
		if lines > maxFuncLines && !flatSwitch(f, fn) {
			out = append(out, Violation{"size", f.pos(fn), fmt.Sprintf("function %s has %d lines; split it at %d", fn.Name.Name, lines, maxFuncLines)})
		}
	}
	return out
}

// flatSwitch reports whether the function carries the mark that excuses its length.
func flatSwitch(f *File, fn *ast.FuncDecl) bool {
	for _, g := range f.Syntax.Comments {
		if g.End() < fn.Body.Pos() && g != fn.Doc || g.Pos() > fn.End() {
			continue
		}
		if strings.Contains(g.Text(), "flat switch") {
			return true
		}
	}
	return false
}
