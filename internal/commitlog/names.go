package commitlog

import (
	"fmt"
	"path/filepath"
	"strconv"
	"strings"

	"tidemark/internal/model"
)

// Suffixes of the files in a partition's directory.
const (
	logSuffix      = ".log"
	indexSuffix    = ".index"
	timeSuffix     = ".timeindex"
	txnSuffix      = ".txnindex"
	snapshotSuffix = ".snapshot"
	deletedSuffix  = ".deleted"
	cleanedSuffix  = ".cleaned"
	swapSuffix     = ".swap"
)

// segmentSuffixes are the files that belong to one segment; the log itself is
// first, because everything else can be rebuilt from it.
var segmentSuffixes = [...]string{logSuffix, indexSuffix, timeSuffix, txnSuffix}

// segmentName is the path of one file of the segment that begins at base.
func segmentName(dir string, base model.Offset, suffix string) string {
	return filepath.Join(dir, fmt.Sprintf("%020d%s", base, suffix))
}

// parseSegmentName splits "00000000000000000042.index" into 42 and ".index".
func parseSegmentName(name string) (base model.Offset, suffix string, ok bool) {
	digits, rest, found := strings.Cut(name, ".")
	if !found || len(digits) != 20 {
		return 0, "", false
	}
	n, err := strconv.ParseInt(digits, 10, 64)
	if err != nil || n < 0 {
		return 0, "", false
	}
	return model.Offset(n), "." + rest, true
}

// DirKind says what a directory in a log dir's root holds.
type DirKind int8

// Kinds of directories.
const (
	// DirPartition is a hosted replica.
	DirPartition DirKind = iota
	// DirDeleted waits for its removal (topic deletion).
	DirDeleted
	// DirFuture is being filled by a move between log directories.
	DirFuture
	// DirStray was kept because the metadata doesn't know it.
	DirStray
)

var kindSuffix = [...]string{"", "-delete", "-future", "-stray"}

// maxDirName is the longest name of a directory that Kafka makes.
const maxDirName = 255

// PartitionDirName is the name of a replica's directory. For kinds other than
// DirPartition id makes the name unique, and the topic is shortened if the
// name would become too long for a file system.
func PartitionDirName(tp model.TopicPartition, kind DirKind, id model.UUID) string {
	if kind == DirPartition {
		return tp.String()
	}
	tail := fmt.Sprintf("-%d.%x%s", tp.Partition, id[:], kindSuffix[kind])
	return tp.Topic[:min(len(tp.Topic), maxDirName-len(tail))] + tail
}

// ParsePartitionDir reads the name of a directory in a log dir's root. The
// topic of a deleted or future directory may have been shortened. ok is false
// for names that Kafka would not have made, such as lost+found.
func ParsePartitionDir(name string) (tp model.TopicPartition, kind DirKind, ok bool) {
	if dot := strings.LastIndexByte(name, '.'); dot >= 0 {
		for k := DirDeleted; k <= DirStray; k++ {
			id, found := strings.CutSuffix(name[dot+1:], kindSuffix[k])
			if found && len(id) == 32 && strings.Trim(id, "0123456789abcdef") == "" {
				name, kind = name[:dot], k
				break
			}
		}
	}
	dash := strings.LastIndexByte(name, '-')
	if dash <= 0 {
		return tp, 0, false
	}
	digits := name[dash+1:]
	n, err := strconv.ParseInt(digits, 10, 32)
	if err != nil || n < 0 || strconv.FormatInt(n, 10) != digits {
		return tp, 0, false
	}
	return model.TopicPartition{Topic: name[:dash], Partition: int32(n)}, kind, true
}
