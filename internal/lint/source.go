package lint

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path"
	"path/filepath"
	"strconv"
	"strings"
)

// File is one parsed Go source file of the repository.
type File struct {
	Path    string // slash separated, relative to the repository's root
	Dir     string // slash separated directory of Path
	Test    bool
	Gen     bool // carries the "Code generated" mark
	Fset    *token.FileSet
	Syntax  *ast.File
	Imports []string
}

// Violation is one broken rule at one place.
type Violation struct {
	Rule, Pos, Message string
}

// String prints the violation the way compilers print errors.
func (v Violation) String() string { return fmt.Sprintf("%s: [%s] %s", v.Pos, v.Rule, v.Message) }

// Load parses every Go file below root, leaving out hidden and testdata directories.
func Load(root string) ([]*File, error) {
	var files []*File
	err := filepath.WalkDir(root, func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name := d.Name()
		if d.IsDir() {
			if p != root && (strings.HasPrefix(name, ".") || name == "testdata" || name == "node_modules") {
				return filepath.SkipDir
			}
			return nil
		}
		if !strings.HasSuffix(name, ".go") {
			return nil
		}
		rel, err := filepath.Rel(root, p)
		if err != nil {
			return err
		}
		f, err := Parse(filepath.ToSlash(rel), p, nil)
		if err != nil {
			return err
		}
		files = append(files, f)
		return nil
	})
	return files, err
}

// Parse reads one file; src, if not nil, is used in place of the file's content.
func Parse(rel, name string, src any) (*File, error) {
	fset := token.NewFileSet()
	syn, err := parser.ParseFile(fset, name, src, parser.ParseComments|parser.SkipObjectResolution)
	if err != nil {
		return nil, err
	}
	f := &File{Path: rel, Dir: path.Dir(rel), Test: strings.HasSuffix(rel, "_test.go"), Gen: ast.IsGenerated(syn), Fset: fset, Syntax: syn}
	for _, im := range syn.Imports {
		p, err := strconv.Unquote(im.Path.Value)
		if err != nil {
			return nil, err
		}
		f.Imports = append(f.Imports, p)
	}
	return f, nil
}

func (f *File) pos(n ast.Node) string {
	return fmt.Sprintf("%s:%d", f.Path, f.Fset.Position(n.Pos()).Line)
}

// pkg returns the name of the internal package that the file belongs to, or "".
// Sub-packages count as part of their parent: internal/metadata/gen is metadata.
func (f *File) pkg() string { return internalPackage(f.Dir) }

func internalPackage(dir string) string {
	rest, ok := strings.CutPrefix(dir, "internal/")
	if !ok {
		return ""
	}
	name, _, _ := strings.Cut(rest, "/")
	return name
}
