package cli

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

type consumeFlags struct {
	clientFlags
	group, offsets, isolation, output, keySeparator string
	fromBeginning, exit                             bool
	partition                                       int32
	count                                           int
}

func newConsume(env Env) *cobra.Command {
	var f consumeFlags
	c := &cobra.Command{
		Use:   "consume TOPIC",
		Short: "Print the records of a topic, one a line",
		Args:  exactArgs(1, "one topic"),
		RunE:  func(cmd *cobra.Command, args []string) error { return runConsume(cmd.Context(), env, args[0], f) },
	}
	f.add(c, localBroker)
	outputFlag(c, &f.output)
	c.Flags().StringVarP(&f.group, "group", "g", "", "consume as a member of this group and commit what was printed")
	c.Flags().BoolVar(&f.fromBeginning, "from-beginning", false, "start at the earliest offset (default: the end)")
	c.Flags().StringVar(&f.offsets, "offset", "", "start at this offset, or @TIMESTAMP in ms, in each partition")
	c.Flags().Int32VarP(&f.partition, "partition", "p", -1, "read only this partition")
	c.Flags().IntVarP(&f.count, "max-messages", "n", 0, "stop after so many records (0: never)")
	c.Flags().BoolVarP(&f.exit, "exit", "e", false, "stop at the end that the partitions had at the start")
	c.Flags().StringVar(&f.isolation, "isolation-level", "read_uncommitted", "read_uncommitted or read_committed")
	c.Flags().StringVarP(&f.keySeparator, "key-separator", "K", "", "print the key and this before the value")
	return c
}

func (f consumeFlags) clientOptions(topic string) ([]kgo.Opt, error) {
	opts, err := f.options()
	if err != nil {
		return nil, err
	}
	start, err := f.start()
	if err != nil {
		return nil, err
	}
	switch f.isolation {
	case "read_uncommitted":
	case "read_committed":
		opts = append(opts, kgo.FetchIsolationLevel(kgo.ReadCommitted()))
	default:
		return nil, UsageError{fmt.Errorf("--isolation-level %s: want read_uncommitted or read_committed", f.isolation)}
	}
	opts = append(opts, kgo.ConsumeResetOffset(start))
	switch {
	case f.group != "" && f.partition >= 0:
		return nil, UsageError{errors.New("--group and --partition exclude each other: the group assigns partitions")}
	case f.group != "":
		return append(opts, kgo.ConsumerGroup(f.group), kgo.ConsumeTopics(topic), kgo.DisableAutoCommit(), kgo.BlockRebalanceOnPoll()), nil
	case f.partition >= 0:
		return append(opts, kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{topic: {f.partition: start}})), nil
	}
	return append(opts, kgo.ConsumeTopics(topic)), nil
}

func (f consumeFlags) start() (kgo.Offset, error) {
	o := kgo.NewOffset()
	switch {
	case f.offsets != "" && f.fromBeginning:
		return o, UsageError{errors.New("--offset and --from-beginning exclude each other")}
	case f.fromBeginning:
		return o.AtStart(), nil
	case f.offsets == "":
		return o.AtEnd(), nil
	}
	n, err := strconv.ParseInt(strings.TrimPrefix(f.offsets, "@"), 10, 64)
	if err != nil || n < 0 {
		return o, UsageError{fmt.Errorf("--offset %s: want a number of at least 0, or @ and milliseconds since 1970", f.offsets)}
	}
	if f.offsets[0] == '@' {
		return o.AfterMilli(n), nil
	}
	return o.At(n), nil
}

func runConsume(ctx context.Context, env Env, topic string, f consumeFlags) error {
	opts, err := f.clientOptions(topic)
	if err != nil {
		return err
	}
	cl, err := kgo.NewClient(opts...)
	if err != nil {
		return err
	}
	defer cl.Close()
	ctx, cancel := stopOnSignal(ctx, env)
	defer cancel()
	var until *ends
	if f.exit {
		if until, err = findEnds(ctx, cl, topic, f); err != nil {
			return err
		}
	}
	out := bufio.NewWriter(env.Out)
	defer out.Flush()
	for printed := 0; until == nil || !until.reached(); {
		fetches := cl.PollFetches(ctx)
		if ctx.Err() != nil {
			return nil
		}
		if err := fetchError(fetches); err != nil {
			return err
		}
		var last []*kgo.Record
		for r := range fetches.RecordsAll() {
			if f.count > 0 && printed >= f.count {
				break
			}
			if err := f.print(out, r); err != nil {
				return err
			}
			printed++
			until.saw(r)
			last = append(last, r)
		}
		if err := out.Flush(); err != nil {
			return err
		}
		if f.group != "" && len(last) > 0 {
			if err := cl.CommitRecords(ctx, last...); err != nil {
				return fmt.Errorf("committing offsets of group %s: %w", f.group, err)
			}
		}
		cl.AllowRebalance()
		if f.count > 0 && printed >= f.count {
			return nil
		}
	}
	return nil
}

func fetchError(fetches kgo.Fetches) error {
	for _, e := range fetches.Errors() {
		return fmt.Errorf("%s-%d: %w", e.Topic, e.Partition, e.Err)
	}
	return nil
}

// ends are the offsets at which consume --exit stops.
type ends struct{ left map[int32]int64 }

func findEnds(ctx context.Context, cl *kgo.Client, topic string, f consumeFlags) (*ends, error) {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	adm := kadm.NewClient(cl)
	list := adm.ListEndOffsets
	if f.isolation == "read_committed" {
		list = adm.ListCommittedOffsets
	}
	end, err := list(ctx, topic)
	if err == nil {
		err = end.Error()
	}
	if err != nil {
		return nil, err
	}
	start, err := adm.ListStartOffsets(ctx, topic)
	if err != nil {
		return nil, err
	}
	e := &ends{left: map[int32]int64{}}
	end.Each(func(o kadm.ListedOffset) {
		s, _ := start.Lookup(o.Topic, o.Partition)
		from := s.Offset
		if n, err := strconv.ParseInt(f.offsets, 10, 64); err == nil {
			from = max(from, n)
		}
		if !f.fromBeginning && f.offsets == "" && f.group == "" {
			from = o.Offset
		}
		if o.Offset > from && (f.partition < 0 || f.partition == o.Partition) {
			e.left[o.Partition] = o.Offset
		}
	})
	return e, nil
}

func (e *ends) saw(r *kgo.Record) {
	if e != nil && r.Offset+1 >= e.left[r.Partition] {
		delete(e.left, r.Partition)
	}
}

func (e *ends) reached() bool { return len(e.left) == 0 }

func (f consumeFlags) print(w io.Writer, r *kgo.Record) error {
	if f.output == "json" {
		ms := r.Timestamp.UnixMilli()
		j := jsonRecord{Topic: r.Topic, Partition: &r.Partition, Offset: &r.Offset, Timestamp: &ms, LeaderEpoch: &r.LeaderEpoch}
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
		return json.NewEncoder(w).Encode(j)
	}
	if f.keySeparator != "" {
		if _, err := fmt.Fprintf(w, "%s%s", r.Key, f.keySeparator); err != nil {
			return err
		}
	}
	_, err := fmt.Fprintf(w, "%s\n", r.Value)
	return err
}
