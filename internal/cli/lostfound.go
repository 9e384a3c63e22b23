package cli

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"tidemark/internal/lostfound"
	"tidemark/internal/record"
	"tidemark/internal/vfs"
)

// recordsMax bounds the records of one batch after decompression, in bytes.
const recordsMax = 256 << 20

func newLostFound(env Env) *cobra.Command {
	c := &cobra.Command{
		Use:   "lost-found",
		Short: "Show records that a truncation or a repair removed from a log of this node",
		Long: "Show records that a truncation or a repair removed from a log of this node. They were not committed, or they are damaged,\n" +
			"or they were fetched again since. Reads files only: the node may be running or not.",
	}
	c.AddCommand(newLostFoundList(env), newLostFoundShow(env), newLostFoundExport(env))
	return c
}

type lostFoundFlags struct{ config, dir, output string }

func (f *lostFoundFlags) add(c *cobra.Command) {
	c.Flags().StringVarP(&f.config, "config", "c", "", "the node's server.properties")
	c.Flags().StringVar(&f.dir, "dir", "", "the node's tidemark.state.dir, instead of --config")
}

func (f *lostFoundFlags) path(env Env) (string, error) {
	switch {
	case (f.config == "") == (f.dir == ""):
		return "", UsageError{errors.New("want either --config or --dir")}
	case f.dir != "":
		return filepath.Join(f.dir, lostfound.DirName), nil
	}
	c, err := loadConfig(env, f.config, nil, nil)
	if err != nil {
		return "", err
	}
	return filepath.Join(c.StateDir, lostfound.DirName), nil
}

func newLostFoundList(env Env) *cobra.Command {
	var f lostFoundFlags
	c := &cobra.Command{Use: "list", Short: "List what was kept, oldest first", Args: noArgs, RunE: func(*cobra.Command, []string) error {
		dir, err := f.path(env)
		if err != nil {
			return err
		}
		items, err := lostfound.List(vfs.OS, dir)
		if err != nil {
			return err
		}
		if f.output == "json" {
			return printJSON(env.Out, append([]lostfound.Item{}, items...))
		}
		var rows [][]string
		for _, i := range items {
			rows = append(rows, []string{i.ID, fmt.Sprintf("%s-%d", i.Topic, i.Partition), fmt.Sprintf("[%d, %d)", i.From, i.To),
				strconv.FormatInt(i.Bytes, 10), i.Reason})
		}
		return table(env.Out, []string{"ID", "PARTITION", "OFFSETS", "BYTES", "REASON"}, rows)
	}}
	f.add(c)
	outputFlag(c, &f.output)
	return c
}

func newLostFoundShow(env Env) *cobra.Command {
	var f lostFoundFlags
	c := &cobra.Command{Use: "show ID", Short: "Show when, where and why one item was removed", Args: exactArgs(1, "one id"), RunE: func(_ *cobra.Command, args []string) error {
		dir, err := f.path(env)
		if err != nil {
			return err
		}
		i, err := lostfound.Find(vfs.OS, dir, args[0])
		if err != nil {
			return err
		}
		if f.output == "json" {
			return printJSON(env.Out, i)
		}
		whole := ""
		if !i.Whole {
			whole = " (only the beginning was kept)"
		}
		rows := [][]string{
			{"when", i.At.Format(time.RFC3339Nano)}, {"partition", fmt.Sprintf("%s-%d", i.Topic, i.Partition)}, {"topic id", i.TopicID.String()},
			{"offsets", fmt.Sprintf("[%d, %d)%s", i.From, i.To, whole)}, {"cut at", strconv.FormatInt(int64(i.Cut), 10)},
			{"high watermark", strconv.FormatInt(int64(i.HighWatermark), 10)}, {"reason", i.Reason}, {"why", i.Why},
			{"file", filepath.Join(dir, i.File)}, {"bytes", strconv.FormatInt(i.Bytes, 10)},
		}
		for _, e := range i.Epochs {
			rows = append(rows, []string{"epoch", fmt.Sprintf("%d from %d on", e.Epoch, e.Start)})
		}
		return table(env.Out, []string{"", ""}, rows)
	}}
	f.add(c)
	outputFlag(c, &f.output)
	return c
}

func newLostFoundExport(env Env) *cobra.Command {
	var f lostFoundFlags
	c := &cobra.Command{
		Use:   "export ID",
		Short: "Write one item to standard output: raw batches, or with -o json one record a line",
		Args:  exactArgs(1, "one id"),
		RunE: func(_ *cobra.Command, args []string) error {
			if f.output != "raw" && f.output != "json" {
				return UsageError{fmt.Errorf("-o %s: want raw or json", f.output)}
			}
			dir, err := f.path(env)
			if err != nil {
				return err
			}
			i, err := lostfound.Find(vfs.OS, dir, args[0])
			if err != nil {
				return err
			}
			p, err := lostfound.Read(vfs.OS, dir, i)
			if err != nil {
				return err
			}
			if f.output == "raw" {
				_, err := env.Out.Write(p)
				return err
			}
			out := bufio.NewWriter(env.Out)
			damaged, err := exportRecords(out, i, p)
			if err := errors.Join(err, out.Flush()); err != nil {
				return err
			}
			if damaged > 0 {
				return fmt.Errorf("%d damaged batches or torn ends were left out; export them raw", damaged)
			}
			return nil
		},
	}
	f.add(c)
	c.Flags().StringVarP(&f.output, "output", "o", "raw", "output form: raw or json")
	return c
}

// exportRecords writes the records of intact data batches, one a line, and
// counts what it had to leave out.
func exportRecords(w io.Writer, i lostfound.Item, p []byte) (damaged int, err error) {
	enc := json.NewEncoder(w)
	for len(p) > 0 {
		b, rest, err := record.Next(p)
		if err != nil {
			return damaged + 1, nil
		}
		p = rest
		if b.CheckCRC() != nil {
			damaged++
			continue
		}
		if b.Control() {
			continue
		}
		for r, err := range b.Records(recordsMax) {
			if err != nil {
				damaged++
				break
			}
			if err := enc.Encode(recordLine(i, b, r)); err != nil {
				return damaged, err
			}
		}
	}
	return damaged, nil
}

func recordLine(i lostfound.Item, b record.Batch, r record.Record) jsonRecord {
	off, ms, epoch := int64(r.Offset), r.Timestamp, int32(b.LeaderEpoch())
	j := jsonRecord{Topic: i.Topic, Partition: &i.Partition, Offset: &off, Timestamp: &ms, LeaderEpoch: &epoch}
	if r.Key != nil {
		k := string(r.Key)
		j.Key = &k
	}
	if r.Value != nil {
		v := string(r.Value)
		j.Value = &v
	}
	for _, h := range r.Headers {
		if j.Headers == nil {
			j.Headers = map[string]string{}
		}
		j.Headers[h.Key] = string(h.Value)
	}
	return j
}
