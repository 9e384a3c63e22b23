package vfs

import (
	"io"
	"io/fs"
	"maps"
	"path"
	"slices"
	"strings"
	"sync"
	"time"
)

// Mem is a file system on the heap that remembers what has been synced, so
// that a test can crash it. Its modification times come from a counter: every
// change is one second later than the last, starting at the Unix epoch.
type Mem struct {
	mu    sync.Mutex
	root  *memNode
	locks map[string]bool
	clock int64 // seconds
}

// memNode is a file or a directory.
type memNode struct {
	mod time.Time

	data   []byte // file: what readers see
	synced []byte // file: what survives any crash

	dir     bool
	entries map[string]*memNode // directory: what readers see
	durable map[string]*memNode // directory: what survives any crash
	pending []dirOp             // directory: changes since the last SyncDir
}

// dirOp is one change of a directory: names set to a node, or removed (nil).
type dirOp []dirSet

type dirSet struct {
	name string
	node *memNode
}

// NewMem returns an empty file system with a root directory.
func NewMem() *Mem { return &Mem{root: newMemDir(), locks: map[string]bool{}} }

func newMemDir() *memNode {
	return &memNode{dir: true, entries: map[string]*memNode{}, durable: map[string]*memNode{}}
}

func (d *memNode) apply(op dirOp) {
	for _, s := range op {
		setEntry(d.entries, s)
	}
	d.pending = append(d.pending, op)
}

func setEntry(m map[string]*memNode, s dirSet) {
	if s.node == nil {
		delete(m, s.name)
	} else {
		m[s.name] = s.node
	}
}

func (m *Mem) now() time.Time {
	m.clock++
	return time.Unix(m.clock, 0)
}

// next splits off the first element of a clean path without leading slash.
func next(name string) (elem, rest string) {
	elem, rest, _ = strings.Cut(name, "/")
	return elem, rest
}

// clean is name without leading and trailing slashes; "" is the root.
func clean(name string) string {
	if strings.Contains(name, "//") || strings.Contains(name, "./") || strings.HasSuffix(name, ".") {
		name = path.Clean("/" + name)
	}
	return strings.Trim(name, "/")
}

func (m *Mem) walk(op, name string) (*memNode, error) {
	n, p := m.root, ""
	for rest := clean(name); rest != ""; {
		p, rest = next(rest)
		if !n.dir || n.entries[p] == nil {
			return nil, pathError(op, name, fs.ErrNotExist)
		}
		n = n.entries[p]
	}
	return n, nil
}

func (m *Mem) parent(op, name string) (*memNode, string, error) {
	c := clean(name)
	i := strings.LastIndexByte(c, '/')
	d, err := m.walk(op, c[:max(i, 0)])
	if err != nil {
		return nil, "", pathError(op, name, fs.ErrNotExist)
	}
	return d, c[i+1:], nil
}

func (m *Mem) open(name string, create, empty bool) (File, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	d, base, err := m.parent("open", name)
	if err != nil {
		return nil, err
	}
	n := d.entries[base]
	switch {
	case n == nil && !create:
		return nil, pathError("open", name, fs.ErrNotExist)
	case n == nil:
		n = &memNode{mod: m.now()}
		d.apply(dirOp{{base, n}})
	case n.dir:
		return nil, pathError("open", name, fs.ErrInvalid)
	case empty:
		n.data, n.mod = nil, m.now()
	}
	return &memFile{m: m, n: n, name: name}, nil
}

// Open implements FS.
func (m *Mem) Open(name string) (File, error) { return m.open(name, false, false) }

// Create implements FS.
func (m *Mem) Create(name string) (File, error) { return m.open(name, true, true) }

// OpenOrCreate implements FS.
func (m *Mem) OpenOrCreate(name string) (File, error) { return m.open(name, true, false) }

// Remove implements FS.
func (m *Mem) Remove(name string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	d, base, err := m.parent("remove", name)
	if err != nil {
		return err
	}
	n := d.entries[base]
	if n == nil {
		return pathError("remove", name, fs.ErrNotExist)
	}
	if n.dir && len(n.entries) > 0 {
		return pathError("remove", name, fs.ErrInvalid)
	}
	d.apply(dirOp{{base, nil}})
	return nil
}

// RemoveAll implements FS.
func (m *Mem) RemoveAll(name string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	d, base, err := m.parent("remove", name)
	if err != nil || d.entries[base] == nil {
		return nil
	}
	d.apply(dirOp{{base, nil}})
	return nil
}

// Rename implements FS.
func (m *Mem) Rename(oldName, newName string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	from, oldBase, err := m.parent("rename", oldName)
	if err != nil {
		return err
	}
	to, newBase, err := m.parent("rename", newName)
	if err != nil {
		return err
	}
	n := from.entries[oldBase]
	if n == nil {
		return pathError("rename", oldName, fs.ErrNotExist)
	}
	if from == to {
		from.apply(dirOp{{oldBase, nil}, {newBase, n}})
		return nil
	}
	to.apply(dirOp{{newBase, n}})
	from.apply(dirOp{{oldBase, nil}})
	return nil
}

// MkdirAll implements FS.
func (m *Mem) MkdirAll(dir string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	n, p := m.root, ""
	for rest := clean(dir); rest != ""; {
		p, rest = next(rest)
		c := n.entries[p]
		if c == nil {
			c = newMemDir()
			c.mod = m.now()
			n.apply(dirOp{{p, c}})
		}
		if !c.dir {
			return pathError("mkdir", dir, fs.ErrExist)
		}
		n = c
	}
	return nil
}

// List implements FS.
func (m *Mem) List(dir string) ([]Entry, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	n, err := m.walk("list", dir)
	if err != nil {
		return nil, err
	}
	out := make([]Entry, 0, len(n.entries))
	for _, name := range sortedNames(n.entries) {
		out = append(out, n.entries[name].entry(name))
	}
	return out, nil
}

func (n *memNode) entry(name string) Entry {
	return Entry{Name: name, IsDir: n.dir, Size: int64(len(n.data)), ModTime: n.mod}
}

// Stat implements FS.
func (m *Mem) Stat(name string) (Entry, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	n, err := m.walk("stat", name)
	if err != nil {
		return Entry{}, err
	}
	return n.entry(path.Base(name)), nil
}

// SyncDir implements FS.
func (m *Mem) SyncDir(dir string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	n, err := m.walk("syncdir", dir)
	if err != nil {
		return err
	}
	for _, op := range n.pending { // what is durable and pending is what is there
		for _, e := range op {
			setEntry(n.durable, e)
		}
	}
	n.pending = n.pending[:0]
	return nil
}

// Lock implements FS.
func (m *Mem) Lock(name string) (io.Closer, error) {
	f, err := m.OpenOrCreate(name)
	if err != nil {
		return nil, err
	}
	f.Close()
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.locks[name] {
		return nil, pathError("lock", name, ErrLocked)
	}
	m.locks[name] = true
	return memLock{m, name}, nil
}

type memLock struct {
	m    *Mem
	name string
}

func (l memLock) Close() error {
	l.m.mu.Lock()
	defer l.m.mu.Unlock()
	delete(l.m.locks, l.name)
	return nil
}

// DiskFree implements FS: always 1 TiB of 2.
func (m *Mem) DiskFree(string) (free, total uint64, err error) { return 1 << 40, 2 << 40, nil }

type memFile struct {
	m      *Mem
	n      *memNode
	name   string
	closed bool // guarded by m.mu
}

func (f *memFile) lock(op string) error {
	f.m.mu.Lock()
	if f.closed {
		f.m.mu.Unlock()
		return pathError(op, f.name, ErrClosed)
	}
	return nil
}

func (f *memFile) ReadAt(p []byte, off int64) (int, error) {
	if err := f.lock("read"); err != nil {
		return 0, err
	}
	defer f.m.mu.Unlock()
	n := copy(p, f.n.data[min(off, int64(len(f.n.data))):])
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

func (f *memFile) WriteAt(p []byte, off int64) (int, error) {
	if err := f.lock("write"); err != nil {
		return 0, err
	}
	defer f.m.mu.Unlock()
	f.n.resize(max(off+int64(len(p)), int64(len(f.n.data))))
	f.n.mod = f.m.now()
	return copy(f.n.data[off:], p), nil
}

// resize sets the length; what lies beyond the old one is zero.
func (n *memNode) resize(size int64) {
	if have := int64(len(n.data)); size > have {
		n.data = slices.Grow(n.data, int(size-have))[:size]
		clear(n.data[have:])
	} else {
		n.data = n.data[:size]
	}
}

func (f *memFile) Size() (int64, error) {
	if err := f.lock("size"); err != nil {
		return 0, err
	}
	defer f.m.mu.Unlock()
	return int64(len(f.n.data)), nil
}

func (f *memFile) Truncate(size int64) error {
	if err := f.lock("truncate"); err != nil {
		return err
	}
	defer f.m.mu.Unlock()
	f.n.resize(size)
	f.n.mod = f.m.now()
	return nil
}

func (f *memFile) Sync() error {
	if err := f.lock("sync"); err != nil {
		return err
	}
	defer f.m.mu.Unlock()
	f.n.synced = append(f.n.synced[:0], f.n.data...)
	return nil
}

func (f *memFile) Close() error {
	if err := f.lock("close"); err != nil {
		return err
	}
	defer f.m.mu.Unlock()
	f.closed = true
	return nil
}

func (f *memFile) Fd() (uintptr, bool) { return 0, false }

// sortedNames returns the keys of a directory in order, so that a seed always
// meets the same names.
func sortedNames(m map[string]*memNode) []string {
	return slices.Sorted(maps.Keys(m))
}
