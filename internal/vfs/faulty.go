package vfs

import (
	"cmp"
	"errors"
	"io"
)

// OpKind says which operation is about to run.
type OpKind int8

// The operations that an injector sees.
const (
	OpOpen OpKind = iota
	OpCreate
	OpRemove
	OpRename
	OpMkdir
	OpList
	OpStat
	OpSyncDir
	OpLock
	OpDiskFree
	OpRead
	OpWrite
	OpSize
	OpTruncate
	OpSync
	OpClose
)

var opNames = [...]string{"open", "create", "remove", "rename", "mkdir", "list", "stat", "syncdir", "lock",
	"diskfree", "read", "write", "size", "truncate", "sync", "close"}

// String is the operation's lower-case name.
func (k OpKind) String() string { return opNames[k] }

// Mutates reports whether the operation can change what a crash leaves behind.
func (k OpKind) Mutates() bool {
	switch k {
	case OpCreate, OpRemove, OpRename, OpMkdir, OpSyncDir, OpWrite, OpTruncate, OpSync:
		return true
	}
	return false
}

// Op is one operation, before it runs. Off and Len are set for reads, writes
// (bytes) and truncations (Off is the new length).
type Op struct {
	Kind OpKind
	Name string
	Off  int64
	Len  int
}

// ShortWrite is what an injector returns to let only the first Done bytes of a
// write reach the file.
type ShortWrite struct {
	Done int
	Err  error
}

// Error implements error.
func (s *ShortWrite) Error() string { return s.Err.Error() }

// Unwrap returns what the write failed with.
func (s *ShortWrite) Unwrap() error { return s.Err }

// NewFaulty returns a view of fsys that calls inject before every operation
// and fails the operation with the error that inject returns. inject is called
// from the caller's goroutine and must be safe for concurrent use.
func NewFaulty(fsys FS, inject func(op Op) error) FS { return &faultyFS{fs: fsys, inject: inject} }

type faultyFS struct {
	fs     FS
	inject func(op Op) error
}

func (y *faultyFS) check(k OpKind, name string) error { return y.inject(Op{Kind: k, Name: name}) }

func (y *faultyFS) file(k OpKind, name string, open func(string) (File, error)) (File, error) {
	if err := y.check(k, name); err != nil {
		return nil, err
	}
	f, err := open(name)
	if err != nil {
		return nil, err
	}
	return &faultyFile{File: f, name: name, inject: y.inject}, nil
}

func (y *faultyFS) Open(name string) (File, error)   { return y.file(OpOpen, name, y.fs.Open) }
func (y *faultyFS) Create(name string) (File, error) { return y.file(OpCreate, name, y.fs.Create) }
func (y *faultyFS) OpenOrCreate(name string) (File, error) {
	return y.file(OpCreate, name, y.fs.OpenOrCreate)
}

func (y *faultyFS) Remove(name string) error {
	if err := y.check(OpRemove, name); err != nil {
		return err
	}
	return y.fs.Remove(name)
}

func (y *faultyFS) RemoveAll(name string) error {
	if err := y.check(OpRemove, name); err != nil {
		return err
	}
	return y.fs.RemoveAll(name)
}

func (y *faultyFS) Rename(oldName, newName string) error {
	if err := y.check(OpRename, newName); err != nil {
		return err
	}
	return y.fs.Rename(oldName, newName)
}

func (y *faultyFS) MkdirAll(dir string) error {
	if err := y.check(OpMkdir, dir); err != nil {
		return err
	}
	return y.fs.MkdirAll(dir)
}

func (y *faultyFS) List(dir string) ([]Entry, error) {
	if err := y.check(OpList, dir); err != nil {
		return nil, err
	}
	return y.fs.List(dir)
}

func (y *faultyFS) Stat(name string) (Entry, error) {
	if err := y.check(OpStat, name); err != nil {
		return Entry{}, err
	}
	return y.fs.Stat(name)
}

func (y *faultyFS) SyncDir(dir string) error {
	if err := y.check(OpSyncDir, dir); err != nil {
		return err
	}
	return y.fs.SyncDir(dir)
}

func (y *faultyFS) Lock(name string) (io.Closer, error) {
	if err := y.check(OpLock, name); err != nil {
		return nil, err
	}
	return y.fs.Lock(name)
}

func (y *faultyFS) DiskFree(dir string) (free, total uint64, err error) {
	if err := y.check(OpDiskFree, dir); err != nil {
		return 0, 0, err
	}
	return y.fs.DiskFree(dir)
}

type faultyFile struct {
	File
	name   string
	inject func(op Op) error
}

func (f *faultyFile) ReadAt(p []byte, off int64) (int, error) {
	if err := f.inject(Op{OpRead, f.name, off, len(p)}); err != nil {
		return 0, err
	}
	return f.File.ReadAt(p, off)
}

func (f *faultyFile) WriteAt(p []byte, off int64) (int, error) {
	if err := f.inject(Op{OpWrite, f.name, off, len(p)}); err != nil {
		if short, ok := errors.AsType[*ShortWrite](err); ok && short.Done < len(p) {
			n, werr := f.File.WriteAt(p[:short.Done], off)
			return n, cmp.Or(werr, short.Err)
		}
		return 0, err
	}
	return f.File.WriteAt(p, off)
}

func (f *faultyFile) Size() (int64, error) {
	if err := f.inject(Op{Kind: OpSize, Name: f.name}); err != nil {
		return 0, err
	}
	return f.File.Size()
}

func (f *faultyFile) Truncate(n int64) error {
	if err := f.inject(Op{Kind: OpTruncate, Name: f.name, Off: n}); err != nil {
		return err
	}
	return f.File.Truncate(n)
}

func (f *faultyFile) Sync() error {
	if err := f.inject(Op{Kind: OpSync, Name: f.name}); err != nil {
		return err
	}
	return f.File.Sync()
}

func (f *faultyFile) Close() error {
	if err := f.inject(Op{Kind: OpClose, Name: f.name}); err != nil {
		f.File.Close()
		return err
	}
	return f.File.Close()
}
