package cli

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"

	"github.com/spf13/cobra"
	"github.com/twmb/franz-go/pkg/kgo"
)

type produceFlags struct {
	clientFlags
	acks, compression, keySeparator, output string
	partition                               int32
	json                                    bool
}

func newProduce(env Env) *cobra.Command {
	var f produceFlags
	c := &cobra.Command{
		Use:   "produce TOPIC",
		Short: "Send each line of standard input as one record",
		Long: "Send each line of standard input as one record, idempotently. With --json each line is an object\n" +
			`{"key": "k", "value": "v", "partition": 0, "headers": {"h": "x"}}, all but value optional, as consume -o json prints them.`,
		Args: exactArgs(1, "one topic"),
		RunE: func(cmd *cobra.Command, args []string) error { return runProduce(cmd.Context(), env, args[0], f) },
	}
	f.add(c, localBroker)
	outputFlag(c, &f.output)
	c.Flags().StringVar(&f.acks, "acks", "all", "all, 1 or 0")
	c.Flags().StringVar(&f.compression, "compression", "none", "none, gzip, snappy, lz4 or zstd")
	c.Flags().StringVarP(&f.keySeparator, "key-separator", "K", "", "split each line into key and value at the first of these")
	c.Flags().Int32VarP(&f.partition, "partition", "p", -1, "send to this partition (default: by key, or spread)")
	c.Flags().BoolVar(&f.json, "json", false, "lines are JSON objects")
	return c
}

func (f produceFlags) clientOptions() ([]kgo.Opt, error) {
	opts, err := f.options()
	if err != nil {
		return nil, err
	}
	opts = append(opts, kgo.AllowAutoTopicCreation())
	switch f.acks {
	case "all", "-1":
	case "1":
		opts = append(opts, kgo.RequiredAcks(kgo.LeaderAck()), kgo.DisableIdempotentWrite())
	case "0":
		opts = append(opts, kgo.RequiredAcks(kgo.NoAck()), kgo.DisableIdempotentWrite())
	default:
		return nil, UsageError{fmt.Errorf("--acks %s: want all, 1 or 0", f.acks)}
	}
	codecs := map[string]kgo.CompressionCodec{"none": kgo.NoCompression(), "gzip": kgo.GzipCompression(), "snappy": kgo.SnappyCompression(), "lz4": kgo.Lz4Compression(), "zstd": kgo.ZstdCompression()}
	codec, ok := codecs[f.compression]
	if !ok {
		return nil, UsageError{fmt.Errorf("--compression %s: want none, gzip, snappy, lz4 or zstd", f.compression)}
	}
	opts = append(opts, kgo.ProducerBatchCompression(codec))
	if f.partition >= 0 {
		opts = append(opts, kgo.RecordPartitioner(kgo.ManualPartitioner()))
	}
	return opts, nil
}

// produced counts what became of the records; the client calls it from its own goroutines.
type produced struct {
	mu    sync.Mutex
	sent  int
	first error
}

func (p *produced) done(_ *kgo.Record, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if err == nil {
		p.sent++
	} else if p.first == nil {
		p.first = err
	}
}

func runProduce(ctx context.Context, env Env, topic string, f produceFlags) error {
	opts, err := f.clientOptions()
	if err != nil {
		return err
	}
	cl, err := kgo.NewClient(append(opts, kgo.DefaultProduceTopic(topic))...)
	if err != nil {
		return err
	}
	defer cl.Close()
	ctx, cancel := stopOnSignal(ctx, env)
	defer cancel()
	var p produced
	lines := bufio.NewReaderSize(env.In, 1<<20)
	for n := 1; ctx.Err() == nil; n++ {
		line, err := lines.ReadString('\n')
		if line = strings.TrimSuffix(strings.TrimSuffix(line, "\n"), "\r"); line != "" || err == nil {
			r, perr := f.record(line)
			if perr != nil {
				return fmt.Errorf("line %d: %w", n, perr)
			}
			cl.Produce(ctx, r, p.done)
		}
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return err
		}
	}
	if err := cl.Flush(ctx); err != nil {
		return err
	}
	if f.output == "json" {
		err = printJSON(env.Out, map[string]any{"topic": topic, "records": p.sent})
	} else {
		_, err = fmt.Fprintf(env.Err, "%d records sent to %s\n", p.sent, topic)
	}
	return errors.Join(p.first, err)
}

// jsonRecord is one line of produce --json and of consume -o json.
type jsonRecord struct {
	Topic       string            `json:"topic,omitempty"`
	Partition   *int32            `json:"partition,omitempty"`
	Offset      *int64            `json:"offset,omitempty"`
	Timestamp   *int64            `json:"timestamp,omitempty"` // ms since the epoch
	LeaderEpoch *int32            `json:"leaderEpoch,omitempty"`
	Key         *string           `json:"key,omitempty"`
	Value       *string           `json:"value"`
	Headers     map[string]string `json:"headers,omitempty"`
}

func (f produceFlags) record(line string) (*kgo.Record, error) {
	if !f.json {
		r := &kgo.Record{Value: []byte(line), Partition: max(f.partition, 0)}
		if f.keySeparator != "" {
			key, value, ok := strings.Cut(line, f.keySeparator)
			if !ok {
				return nil, fmt.Errorf("no key separator %q in %.60q", f.keySeparator, line)
			}
			r.Key, r.Value = []byte(key), []byte(value)
		}
		return r, nil
	}
	var j jsonRecord
	if err := json.Unmarshal([]byte(line), &j); err != nil {
		return nil, fmt.Errorf("want a JSON object: %w", err)
	}
	r := &kgo.Record{Partition: max(f.partition, 0)}
	if j.Key != nil {
		r.Key = []byte(*j.Key)
	}
	if j.Value != nil {
		r.Value = []byte(*j.Value)
	}
	if j.Partition != nil && f.partition < 0 {
		return nil, errors.New("a record names its partition: add --partition 0, which lets each record choose")
	}
	if j.Partition != nil {
		r.Partition = *j.Partition
	}
	for k, v := range j.Headers {
		r.Headers = append(r.Headers, kgo.RecordHeader{Key: k, Value: []byte(v)})
	}
	return r, nil
}

// stopOnSignal cancels the context at the first signal.
func stopOnSignal(ctx context.Context, env Env) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(ctx)
	go func() {
		select {
		case <-env.Signals:
			cancel()
		case <-ctx.Done():
		}
	}()
	return ctx, cancel
}
