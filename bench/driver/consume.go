package driver

import (
	"bufio"
	"context"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"io"
	"net"
	"slices"
	"sync"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// Reader is one connection of a consumer: it makes requests and takes their answers.
type Reader struct {
	Addr string
	Next func(dst []byte) []byte                                     // appends the next whole request
	Took func(answer []byte) (bytes int64, records int64, err error) // the answer without its length
}

// Consume keeps one fetch outstanding on every reader for the window.
func Consume(ctx context.Context, readers []Reader, w Window) (*Result, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	c, r := &counter{stop: cancel}, &Result{}
	var wg sync.WaitGroup
	for i := range readers {
		conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", readers[i].Addr)
		if err != nil {
			return nil, err
		}
		defer conn.Close()
		stop := context.AfterFunc(ctx, func() { conn.Close() })
		defer stop()
		wg.Go(func() {
			if err := readers[i].run(conn, c); err != nil {
				c.fail(fmt.Errorf("consuming from %s: %w", readers[i].Addr, err))
			}
		})
	}
	err := w.run(ctx, c, r)
	wg.Wait()
	return r, err
}

func (r *Reader) run(conn net.Conn, c *counter) error {
	var request, answer []byte
	in := bufio.NewReaderSize(conn, 4<<10) // large reads go past it
	for {
		request = r.Next(request[:0])
		if _, err := conn.Write(request); err != nil {
			return err
		}
		var err error
		if answer, err = readFrame(in, answer); err != nil {
			return err
		}
		bytes, records, err := r.Took(answer)
		if err != nil {
			return err
		}
		c.bytes.Add(bytes)
		c.records.Add(records)
	}
}

// position is where one partition is read.
type position struct{ partition, offset, end int64 }

// FetchReaders prepares one reader per leader; each reads all its partitions
// from the beginning and again when it has reached the end.
func (b Brokers) FetchReaders(ctx context.Context, topic string) ([]Reader, error) {
	fs, err := b.fetchers(ctx, topic)
	var out []Reader
	for addr, f := range fs {
		out = append(out, Reader{Addr: addr, Next: f.next, Took: f.took})
	}
	return out, err
}

// fetchers prepares one fetcher per leader, by address.
func (b Brokers) fetchers(ctx context.Context, topic string) (map[string]*fetcher, error) {
	leaders, err := b.leaders(ctx, topic)
	if err != nil {
		return nil, err
	}
	out := map[string]*fetcher{}
	for p, addr := range leaders {
		if out[addr] == nil {
			out[addr] = &fetcher{topic: topic, format: formatter()}
		}
		out[addr].positions = append(out[addr].positions, &position{partition: int64(p)})
	}
	return out, nil
}

type fetcher struct {
	topic     string
	positions []*position
	verify    bool // check CRCs
	once      bool // stop at the end instead of beginning again
	format    *kmsg.RequestFormatter
}

const (
	fetchMaxBytes     = 50 << 20 // consumers' defaults
	fetchPartitionMax = 1 << 20
)

func (f *fetcher) next(dst []byte) []byte {
	req := kmsg.NewPtrFetchRequest()
	req.Version, req.MaxWaitMillis, req.MinBytes, req.MaxBytes = fetchVersion, 500, 1, fetchMaxBytes
	req.SessionEpoch = -1
	t := kmsg.NewFetchRequestTopic()
	t.Topic = f.topic
	for _, p := range f.positions {
		rp := kmsg.NewFetchRequestTopicPartition()
		rp.Partition, rp.FetchOffset, rp.PartitionMaxBytes = int32(p.partition), p.offset, fetchPartitionMax
		t.Partitions = append(t.Partitions, rp)
	}
	req.Topics = append(req.Topics, t)
	return f.format.AppendRequest(dst, req, 1)
}

func (f *fetcher) took(answer []byte) (bytes, records int64, err error) {
	var resp kmsg.FetchResponse
	resp.Version = fetchVersion
	if len(answer) < 5 {
		return 0, 0, io.ErrUnexpectedEOF
	}
	if err := resp.ReadFrom(answer[5:]); err != nil {
		return 0, 0, err
	}
	if err := kerr.ErrorForCode(resp.ErrorCode); err != nil {
		return 0, 0, err
	}
	for _, t := range resp.Topics {
		for _, p := range t.Partitions {
			if err := kerr.ErrorForCode(p.ErrorCode); err != nil {
				return 0, 0, fmt.Errorf("%s-%d: %w", f.topic, p.Partition, err)
			}
			b, n, err := f.advance(int64(p.Partition), p.HighWatermark, p.RecordBatches)
			if err != nil {
				return 0, 0, err
			}
			bytes, records = bytes+b, records+n
		}
	}
	return bytes, records, nil
}

func (f *fetcher) advance(partition, end int64, p []byte) (bytes, records int64, err error) {
	for _, pos := range f.positions {
		if pos.partition != partition {
			continue
		}
		next, bytes, err := walk(p, pos.offset, f.verify)
		if err != nil {
			return 0, 0, fmt.Errorf("%s-%d: %w", f.topic, partition, err)
		}
		records = next - pos.offset
		if pos.offset, pos.end = next, end; next >= end && !f.once {
			pos.offset = 0
		}
		return bytes, records, nil
	}
	return 0, 0, fmt.Errorf("%s-%d was not asked for", f.topic, partition)
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// walk steps over the whole batches in p, checks that no offset is missing
// after from, and returns the next offset and how many bytes the batches had.
// A partial batch at the end is left.
func walk(p []byte, from int64, verify bool) (next, bytes int64, err error) {
	const header = 61
	for next = from; len(p) >= header; {
		base, size := int64(binary.BigEndian.Uint64(p)), 12+int(int32(binary.BigEndian.Uint32(p[8:])))
		if size < header {
			return 0, 0, fmt.Errorf("a batch of %d bytes at offset %d", size, base)
		}
		if len(p) < size {
			break
		}
		last := base + int64(int32(binary.BigEndian.Uint32(p[23:])))
		if base > next || last < next {
			return 0, 0, fmt.Errorf("batch [%d, %d] where offset %d is due", base, last, next)
		}
		if verify && crc32.Checksum(p[21:size], castagnoli) != binary.BigEndian.Uint32(p[17:]) {
			return 0, 0, fmt.Errorf("bad CRC in the batch at offset %d", base)
		}
		next, bytes, p = last+1, bytes+int64(size), p[size:]
	}
	return next, bytes, nil
}

// Verify reads the whole topic once, checks every batch's CRC and that no
// offset is missing, and returns the number of records.
func (b Brokers) Verify(ctx context.Context, topic string) (records int64, err error) {
	fs, err := b.fetchers(ctx, topic)
	if err != nil {
		return 0, err
	}
	for addr, f := range fs {
		f.verify, f.once = true, true
		n, err := f.readAll(ctx, addr)
		if err != nil {
			return 0, err
		}
		records += n
	}
	return records, nil
}

func (f *fetcher) readAll(ctx context.Context, addr string) (records int64, err error) {
	c, err := Dial(ctx, addr)
	if err != nil {
		return 0, err
	}
	defer c.Close()
	for {
		answer, err := c.Raw(f.next(nil), adminWait)
		if err != nil {
			return 0, err
		}
		_, n, err := f.took(answer)
		if err != nil {
			return 0, err
		}
		records += n
		f.positions = slices.DeleteFunc(f.positions, func(p *position) bool { return p.offset >= p.end })
		if len(f.positions) == 0 {
			return records, nil
		}
	}
}
