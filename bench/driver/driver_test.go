package driver

import (
	"encoding/binary"
	"io"
	"net"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"tidemark/internal/record"
)

func TestHistogramQuantiles(t *testing.T) {
	var a, b Histogram
	for i := 1; i <= 500; i++ {
		a.Record(time.Duration(i) * time.Microsecond)
		b.Record(time.Duration(i+500) * time.Microsecond)
	}
	a.Merge(&b)
	if a.Count() != 1000 || a.Max() != time.Millisecond {
		t.Fatalf("count %d max %v", a.Count(), a.Max())
	}
	for _, c := range []struct {
		q    float64
		want time.Duration
	}{{0, time.Microsecond}, {0.5, 500 * time.Microsecond}, {0.99, 990 * time.Microsecond}, {1, time.Millisecond}} {
		got := a.Quantile(c.q)
		if low, high := c.want, c.want+c.want/60; got < low || got > high {
			t.Errorf("quantile %v: %v, want %v to %v", c.q, got, low, high)
		}
	}
	var empty Histogram
	if empty.Quantile(0.5) != 0 {
		t.Error("an empty histogram has a median")
	}
}

func TestHistogramBucketsCoverEveryValue(t *testing.T) {
	for _, v := range []uint64{0, 1, 63, 64, 65, 127, 128, 129, 1 << 20, 1<<40 + 12345, 1<<63 - 1} {
		b := bucketOf(v)
		if b >= buckets || upper(b) < v || b > 0 && upper(b-1) >= v {
			t.Errorf("value %d is in bucket %d (to %d)", v, b, upper(b))
		}
	}
}

func TestBuildBatchFitsAndIsValid(t *testing.T) {
	for _, size := range []int{1, 16 << 10, 1 << 20} {
		b := BuildBatch(size, 1024, time.Now())
		if size > 1 && (len(b) > size || len(b) < size-1100) || size == 1 && b.Count() != 1 {
			t.Errorf("size %d: %d bytes, %d records", size, len(b), b.Count())
		}
		_, err := record.Validate(b, record.Rules{MaxBytes: 2 << 20, Now: time.Now().UnixMilli(), TimestampBeforeMax: 1 << 40, TimestampAfterMax: 1 << 40, MaxDecompressed: 4 << 20})
		if err != nil {
			t.Errorf("size %d: %v", size, err)
		}
		next, bytes, err := walk(b, 0, true)
		if err != nil || next != int64(b.Count()) || bytes != int64(len(b)) {
			t.Errorf("size %d: walk says next %d, %d bytes, %v", size, next, bytes, err)
		}
	}
}

func TestWalkFindsDamageAndGaps(t *testing.T) {
	b := BuildBatch(4096, 1024, time.Now())
	if _, _, err := walk(b[:len(b)-1], 0, true); err != nil {
		t.Errorf("a partial batch: %v", err)
	}
	bad := append(record.Batch(nil), b...)
	bad[len(bad)-1] ^= 1
	if _, _, err := walk(bad, 0, true); err == nil {
		t.Error("a wrong CRC went unseen")
	}
	gap := append(record.Batch(nil), b...)
	gap.Stamp(10, 0)
	if _, _, err := walk(gap, 5, true); err == nil {
		t.Error("a gap went unseen")
	}
}

func TestProduceFrameParsesAndErrorCodeIsFound(t *testing.T) {
	batch := BuildBatch(1, 100, time.Now())
	for _, topic := range []string{"t", "a-topic-with-a-longer-name"} {
		frame, at := ProduceFrame(topic, 3, -1, batch)
		if int(binary.BigEndian.Uint32(frame)) != len(frame)-4 {
			t.Fatalf("length %d of %d bytes", binary.BigEndian.Uint32(frame), len(frame))
		}
		resp := kmsg.NewPtrProduceResponse()
		resp.Version = produceVersion
		rt := kmsg.NewProduceResponseTopic()
		rt.Topic = topic
		rp := kmsg.NewProduceResponseTopicPartition()
		rp.Partition, rp.ErrorCode = 3, 6
		rt.Partitions = append(rt.Partitions, rp)
		resp.Topics = append(resp.Topics, rt)
		answer := resp.AppendTo([]byte{0, 0, 0, 1, 0})
		if got := binary.BigEndian.Uint16(answer[at:]); got != 6 {
			t.Errorf("%s: error code %d at %d, want 6", topic, got, at)
		}
		if checkAnswer(answer, at) == nil || checkAnswer(answer[:at], at) == nil {
			t.Errorf("%s: a refusal passed", topic)
		}
	}
}

// A server that answers every frame; the third with an error code. The lane
// must count the acknowledged ones only and stop with the error.
func TestProduceStopsAtARefusal(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go func() {
		c, err := l.Accept()
		if err != nil {
			return
		}
		defer c.Close()
		for i := byte(0); ; i++ {
			if _, err := readFrame(c, nil); err != nil {
				return
			}
			code := byte(0)
			if i == 2 {
				code = 7
			}
			if _, err := c.Write([]byte{0, 0, 0, 2, 0, code}); err != nil {
				return
			}
		}
	}()
	lane := Lane{Addr: l.Addr().String(), Frames: [][]byte{{0, 0, 0, 1, 9}}, ErrorAt: []int{0}, Bytes: 100, Records: 1}
	_, err = Produce(t.Context(), []Lane{lane}, 2, Window{Warmup: time.Minute, Measure: time.Minute})
	if err == nil {
		t.Fatal("a refusal went unseen")
	}
}

func TestReadFrameRefusesImpossibleLengths(t *testing.T) {
	r, w := io.Pipe()
	go func() { _, _ = w.Write([]byte{0xff, 0xff, 0xff, 0xff}) }()
	if _, err := readFrame(r, nil); err == nil {
		t.Fatal("a negative length was taken")
	}
}
