package commitlog

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"strconv"
	"strings"

	"tidemark/internal/model"
	"tidemark/internal/vfs"
)

// Names of the checkpoint files in a log dir's root.
const (
	RecoveryPointCheckpoint = "recovery-point-offset-checkpoint"
	HighWatermarkCheckpoint = "replication-offset-checkpoint"
	LogStartCheckpoint      = "log-start-offset-checkpoint"
	CleanerCheckpoint       = "cleaner-offset-checkpoint"
)

// checkpointLines parses "version, count, lines": the form of every checkpoint.
// A missing file has no lines; a malformed one is ErrCorrupt.
func checkpointLines(fsys vfs.FS, name string) ([]string, error) {
	p, err := vfs.ReadFile(fsys, name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, ioError(err)
	}
	lines := strings.Split(strings.TrimRight(string(p), "\n"), "\n")
	if len(lines) < 2 || lines[0] != "0" {
		return nil, fmt.Errorf("%s: unknown version %.20q: %w", name, lines[0], ErrCorrupt)
	}
	if n, err := strconv.Atoi(lines[1]); err != nil || n != len(lines)-2 {
		return nil, fmt.Errorf("%s: count is %.20q, found %d entries: %w", name, lines[1], len(lines)-2, ErrCorrupt)
	}
	return lines[2:], nil
}

// ReadCheckpoint reads a file of offsets by partition. A missing file is an
// empty map; a malformed one is ErrCorrupt, on which Kafka takes the directory
// offline.
func ReadCheckpoint(fsys vfs.FS, name string) (map[model.TopicPartition]model.Offset, error) {
	lines, err := checkpointLines(fsys, name)
	if err != nil {
		return nil, err
	}
	m := make(map[model.TopicPartition]model.Offset, len(lines))
	for _, line := range lines {
		f := strings.Fields(line)
		if len(f) != 3 {
			return nil, fmt.Errorf("%s: line %.80q: %w", name, line, ErrCorrupt)
		}
		part, err1 := strconv.ParseInt(f[1], 10, 32)
		off, err2 := strconv.ParseInt(f[2], 10, 64)
		if err1 != nil || err2 != nil {
			return nil, fmt.Errorf("%s: line %.80q: %w", name, line, ErrCorrupt)
		}
		m[model.TopicPartition{Topic: f[0], Partition: int32(part)}] = model.Offset(off)
	}
	return m, nil
}

// WriteCheckpoint replaces a file of offsets by partition, atomically.
func WriteCheckpoint(fsys vfs.FS, name string, m map[model.TopicPartition]model.Offset) error {
	var b bytes.Buffer
	fmt.Fprintf(&b, "0\n%d\n", len(m))
	for _, tp := range slices.SortedFunc(maps.Keys(m), model.TopicPartition.Compare) {
		fmt.Fprintf(&b, "%s %d %d\n", tp.Topic, tp.Partition, m[tp])
	}
	return ioError(vfs.WriteFileAtomic(fsys, name, b.Bytes()))
}

// ioError adds the class ErrIO to a file system's error.
func ioError(err error) error {
	if err == nil || errors.Is(err, ErrIO) {
		return err
	}
	return fmt.Errorf("%w: %w", ErrIO, err)
}
