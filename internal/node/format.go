package node

import (
	"crypto/rand"
	"errors"
	"fmt"
	"maps"
	"net"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"tidemark/internal/commitlog"
	"tidemark/internal/config"
	"tidemark/internal/controller"
	"tidemark/internal/metadata"
	"tidemark/internal/model"
	"tidemark/internal/record"
	"tidemark/internal/vfs"
)

// Names of the files that formatting writes besides meta.properties.
const (
	bootstrapCheckpoint = "bootstrap.checkpoint"
	metadataDirName     = "__cluster_metadata-0"
	zeroCheckpoint      = "00000000000000000000-0000000000.checkpoint"
)

// FormatOptions are the flags of `storage format`; the same exclusions as
// Kafka's hold between them.
type FormatOptions struct {
	Config               *config.Config
	ClusterID            string
	IgnoreFormatted      bool
	ReleaseVersion       string
	Features             []string
	Standalone           bool
	NoInitialControllers bool
	InitialControllers   string // id@host:port:directory,...
}

// RandomUUID returns a fresh random id that is not reserved and whose text
// doesn't begin with a dash, which command lines would take for a flag.
func RandomUUID() model.UUID {
	for {
		var u model.UUID
		_, _ = rand.Read(u[:]) // never fails (crypto/rand)
		u[6], u[8] = u[6]&0x0f|0x40, u[8]&0x3f|0x80
		if !u.IsReserved() && u.String()[0] != '-' {
			return u
		}
	}
}

// Format formats the directories of one node. It returns what it did, a line
// each. It changes nothing unless every check passes.
func Format(o FormatOptions) ([]string, error) {
	cluster, err := model.ParseUUID(o.ClusterID)
	if err != nil || cluster.IsReserved() {
		return nil, fmt.Errorf("cluster id %q does not appear to be a valid UUID of 22 characters; make one with: tidemark storage random-uuid", o.ClusterID)
	}
	voters, err := formatVoters(o)
	if err != nil {
		return nil, err
	}
	features, err := formatFeatures(o)
	if err != nil {
		return nil, err
	}
	todo, lines, err := unformatted(o)
	if err != nil {
		return lines, err
	}
	for _, dir := range todo {
		if err := formatDir(o, dir, voters, features); err != nil {
			return lines, fmt.Errorf("formatting %s: %w", dir, err)
		}
		lines = append(lines, fmt.Sprintf("Formatting %s%s with metadata.version level %d.", formatKind(o, dir), dir, features["metadata.version"]))
	}
	return lines, nil
}

func formatKind(o FormatOptions, dir string) string {
	switch {
	case dir != o.Config.MetadataDir:
		return "data directory "
	case o.Standalone || o.InitialControllers != "":
		return "dynamic metadata voter directory "
	}
	return "metadata directory "
}

// formatVoters applies the exclusions and returns the voters that the flags name.
func formatVoters(o FormatOptions) ([]metadata.Voter, error) {
	c := o.Config
	given := 0
	for _, b := range []bool{o.Standalone, o.NoInitialControllers, o.InitialControllers != ""} {
		if b {
			given++
		}
	}
	switch {
	case given > 1:
		return nil, errors.New("--standalone, --initial-controllers and --no-initial-controllers exclude each other")
	case given > 0 && len(c.Voters) > 0:
		return nil, errors.New("controller.quorum.voters is set, so the quorum is static: --standalone, --initial-controllers and --no-initial-controllers can't be used with it; set controller.quorum.bootstrap.servers instead")
	case o.Standalone && !c.Controller:
		return nil, errors.New("--standalone needs a node with process.roles=controller")
	case given == 0 && c.Controller && len(c.Voters) == 0:
		return nil, errors.New("because controller.quorum.voters is not set on this controller, you must specify one of: --standalone, --initial-controllers, --no-initial-controllers")
	case o.Standalone:
		l, ok := c.ListenerFor(c.ControllerListenerNames[0])
		if !ok {
			return nil, fmt.Errorf("listeners has no %s, the controllers' listener", c.ControllerListenerNames[0])
		}
		e := metadata.Endpoint{Name: l.Name, Host: l.AdvertisedHost, Port: uint16(l.AdvertisedPort)}
		return []metadata.Voter{newVoter(c.NodeID, RandomUUID(), e)}, nil
	case o.InitialControllers != "":
		return parseInitialControllers(c, o.InitialControllers)
	}
	return nil, nil
}

func newVoter(id model.BrokerID, dir model.DirectoryID, e metadata.Endpoint) metadata.Voter {
	return metadata.Voter{ID: id, Dir: dir, Endpoints: []metadata.Endpoint{e}, KRaftVersion: metadata.VersionRange{Min: 0, Max: 1}}
}

func parseInitialControllers(c *config.Config, s string) ([]metadata.Voter, error) {
	var out []metadata.Voter
	for _, part := range strings.Split(s, ",") {
		bad := fmt.Errorf("--initial-controllers: %q: want id@host:port:directory", part)
		id, rest, ok := strings.Cut(strings.TrimSpace(part), "@")
		i := strings.LastIndexByte(rest, ':')
		n, err := strconv.ParseInt(id, 10, 32)
		if !ok || i < 0 || err != nil || n < 0 {
			return nil, bad
		}
		dir, err := model.ParseUUID(rest[i+1:])
		if err != nil || dir.IsReserved() {
			return nil, fmt.Errorf("%w: the directory id isn't a usable UUID", bad)
		}
		host, port, err := net.SplitHostPort(rest[:i])
		p, perr := strconv.ParseUint(port, 10, 16)
		if err != nil || perr != nil || host == "" {
			return nil, bad
		}
		for _, v := range out {
			if v.ID == model.BrokerID(n) || v.Dir == dir {
				return nil, fmt.Errorf("--initial-controllers names id %d or directory %s twice", n, dir)
			}
		}
		out = append(out, newVoter(model.BrokerID(n), dir, metadata.Endpoint{Name: c.ControllerListenerNames[0], Host: host, Port: uint16(p)}))
	}
	if c.Controller && !slices.ContainsFunc(out, func(v metadata.Voter) bool { return v.ID == c.NodeID }) {
		return nil, fmt.Errorf("--initial-controllers doesn't name this controller, node.id=%d; use --no-initial-controllers for a node that joins later", c.NodeID)
	}
	return out, nil
}

// formatFeatures resolves --release-version and --feature to the levels that a
// new cluster finalises, and refuses what isn't implemented.
func formatFeatures(o FormatOptions) (map[string]int16, error) {
	supported := controller.SupportedFeatures()
	features := controller.DefaultFeatures()
	if o.ReleaseVersion != "" {
		level, err := metadataLevel(o.ReleaseVersion)
		if err != nil {
			return nil, err
		}
		features[metadata.MetadataVersionFeature] = level
	}
	for _, f := range o.Features {
		name, value, ok := strings.Cut(f, "=")
		level, err := strconv.ParseInt(value, 10, 16)
		if !ok || err != nil {
			return nil, fmt.Errorf("--feature %q: want feature=level", f)
		}
		if name == "kraft.version" {
			if level != 1 {
				return nil, fmt.Errorf("--feature kraft.version=%d: every cluster here has kraft.version 1, whose voters carry directory ids", level)
			}
			continue
		}
		if name == "metadata.version" && o.ReleaseVersion != "" {
			return nil, errors.New("use --release-version or --feature metadata.version, not both")
		}
		r, known := supported[name]
		if !known {
			return nil, fmt.Errorf("--feature %s: unknown feature; known are %s", name, strings.Join(slices.Sorted(maps.Keys(supported)), ", "))
		}
		if int16(level) < r.Min || int16(level) > r.Max {
			return nil, fmt.Errorf("--feature %s=%d: supported levels are %d to %d", name, level, r.Min, r.Max)
		}
		features[name] = int16(level)
	}
	for name, level := range features {
		if level == 0 {
			delete(features, name)
		}
	}
	return features, nil
}

// metadataLevel translates a release such as 4.0 or 4.0-IV3 to its metadata.version.
func metadataLevel(release string) (int16, error) {
	levels := map[string]int16{"3.3": 7, "3.3-IV3": 7, "3.4": 8, "3.4-IV0": 8, "3.5-IV0": 9, "3.5-IV1": 10, "3.5": 11, "3.5-IV2": 11,
		"3.6-IV0": 12, "3.6-IV1": 13, "3.6": 14, "3.6-IV2": 14, "3.7-IV0": 15, "3.7-IV2": 17, "3.7": 19, "3.7-IV4": 19,
		"3.8": 20, "3.8-IV0": 20, "3.9": 21, "3.9-IV0": 21, "4.0-IV0": 22, "4.0-IV1": 23, "4.0-IV2": 24, "4.0": 25, "4.0-IV3": 25,
		"4.1-IV0": 26, "4.1": 27, "4.1-IV1": 27, "4.2-IV0": 28, "4.2": 29, "4.2-IV1": 29, "4.3": 30, "4.3-IV0": 30}
	parts := strings.SplitN(release, ".", 3)
	short := release
	if len(parts) == 3 {
		short = parts[0] + "." + parts[1] // 4.0.1 is 4.0
	}
	level, ok := levels[short]
	r := controller.SupportedFeatures()["metadata.version"]
	if !ok || level < r.Min || level > r.Max {
		return 0, fmt.Errorf("--release-version %s: this build finalises metadata.version %d to %d (4.0-IV3 is 25)", release, r.Min, r.Max)
	}
	return level, nil
}

// unformatted returns the directories that have to be formatted.
func unformatted(o FormatOptions) (todo, lines []string, err error) {
	for _, dir := range o.Config.AllDirs() {
		m, ok, err := commitlog.ReadMetaProperties(vfs.OS, dir)
		switch {
		case err != nil:
			return nil, lines, err
		case !ok:
			todo = append(todo, dir)
		case m.ClusterID != o.ClusterID:
			return nil, lines, fmt.Errorf("%s belongs to cluster %s, not to %s", dir, m.ClusterID, o.ClusterID)
		case m.NodeID != o.Config.NodeID:
			return nil, lines, fmt.Errorf("%s belongs to node.id=%d, not to %d", dir, m.NodeID, o.Config.NodeID)
		case !o.IgnoreFormatted:
			return nil, lines, fmt.Errorf("log directory %s is already formatted; use --ignore-formatted to skip it and format the others", dir)
		}
	}
	if len(todo) == 0 {
		lines = append(lines, "All of the log directories are already formatted.")
	}
	return todo, lines, nil
}

func formatDir(o FormatOptions, dir string, voters []metadata.Voter, features map[string]int16) error {
	if err := vfs.OS.MkdirAll(dir); err != nil {
		return err
	}
	id := RandomUUID()
	if dir == o.Config.MetadataDir {
		now := time.Now().UnixMilli()
		if i := slices.IndexFunc(voters, func(v metadata.Voter) bool { return v.ID == o.Config.NodeID }); i >= 0 {
			id = voters[i].Dir
		}
		img := metadata.Empty()
		img.Features = features
		if err := writeBatches(filepath.Join(dir, bootstrapCheckpoint), metadata.WriteSnapshot(img, 0, now)); err != nil {
			return err
		}
		if len(voters) > 0 {
			if err := writeZeroCheckpoint(dir, voters, now); err != nil {
				return err
			}
		}
	}
	// Last, since its presence says that the directory is formatted.
	return commitlog.WriteMetaProperties(vfs.OS, dir, commitlog.MetaProperties{ClusterID: o.ClusterID, NodeID: o.Config.NodeID, DirectoryID: id})
}

func writeZeroCheckpoint(dir string, voters []metadata.Voter, now int64) error {
	sub := filepath.Join(dir, metadataDirName)
	if err := vfs.OS.MkdirAll(sub); err != nil {
		return err
	}
	img := metadata.Empty()
	img.KRaftVersion, img.Voters = 1, voters
	return writeBatches(filepath.Join(sub, zeroCheckpoint), metadata.WriteSnapshot(img, now, now))
}

func writeBatches(name string, batches []record.Batch) error {
	var out []byte
	for _, b := range batches {
		out = append(out, b...)
	}
	return vfs.WriteFileAtomic(vfs.OS, name, out)
}

// readCheckpoint reads a checkpoint file that formatting wrote; ok is false if there is none.
func readCheckpoint(name string) (img *metadata.Image, ok bool, err error) {
	p, err := vfs.ReadFile(vfs.OS, name)
	if err != nil {
		if isNotExist(err) {
			return nil, false, nil
		}
		return nil, false, err
	}
	var batches []record.Batch
	for len(p) > 0 {
		b, rest, err := record.Next(p)
		if err == nil {
			err = b.CheckCRC()
		}
		if err != nil {
			return nil, false, fmt.Errorf("%s: %w", name, err)
		}
		batches, p = append(batches, b), rest
	}
	img, err = metadata.ReadSnapshot(batches, model.NoOffset, 0)
	if err != nil {
		return nil, false, fmt.Errorf("%s: %w", name, err)
	}
	return img, true, nil
}

// Storage is what `storage info` prints.
type Storage struct {
	Dirs     []StorageDir `json:"directories"`
	Problems []string     `json:"problems"`
}

// StorageDir is one formatted directory.
type StorageDir struct {
	Path        string            `json:"path"`
	ClusterID   string            `json:"clusterId"`
	NodeID      model.BrokerID    `json:"nodeId"`
	DirectoryID model.DirectoryID `json:"directoryId"`
}

// StorageInfo reads what the node's directories hold; what is wrong with them
// stands in Problems.
func StorageInfo(c *config.Config) Storage {
	var s Storage
	for _, dir := range c.AllDirs() {
		if _, err := vfs.OS.Stat(dir); err != nil {
			s.Problems = append(s.Problems, dir+" does not exist")
			continue
		}
		m, ok, err := commitlog.ReadMetaProperties(vfs.OS, dir)
		switch {
		case err != nil:
			s.Problems = append(s.Problems, err.Error())
		case !ok:
			s.Problems = append(s.Problems, dir+" is not formatted")
		default:
			s.Dirs = append(s.Dirs, StorageDir{Path: dir, ClusterID: m.ClusterID, NodeID: m.NodeID, DirectoryID: m.DirectoryID})
			if m.NodeID != c.NodeID {
				s.Problems = append(s.Problems, fmt.Sprintf("%s belongs to node.id=%d, but the configuration says %d", dir, m.NodeID, c.NodeID))
			}
			if m.ClusterID != s.Dirs[0].ClusterID {
				s.Problems = append(s.Problems, fmt.Sprintf("%s belongs to cluster %s, but %s to %s", dir, m.ClusterID, s.Dirs[0].Path, s.Dirs[0].ClusterID))
			}
		}
	}
	return s
}
