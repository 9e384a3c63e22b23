package driver

import (
	"encoding/binary"
	"math/rand/v2"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"tidemark/internal/record"
)

// recordOverhead is what one record of 1 KiB costs beyond its value.
const recordOverhead = 12

// BuildBatch returns one uncompressed batch of records whose values have
// valueBytes bytes, as many as fit in size bytes and at least one.
func BuildBatch(size, valueBytes int, now time.Time) record.Batch {
	r := rand.New(rand.NewPCG(uint64(size), uint64(valueBytes)))
	value := make([]byte, valueBytes)
	var b record.Builder
	for b.Count() == 0 || b.Size()+valueBytes+recordOverhead <= size {
		for i := 0; i+8 <= len(value); i += 8 {
			binary.LittleEndian.PutUint64(value[i:], r.Uint64())
		}
		b.Add(now.UnixMilli(), nil, value)
	}
	return b.Build()
}

// clientID is what every request says.
const clientID = "bench"

// produceVersion and fetchVersion are the last versions that name topics.
const (
	produceVersion  = 9
	fetchVersion    = 12
	metadataVersion = 12
)

func formatter() *kmsg.RequestFormatter {
	return kmsg.NewRequestFormatter(kmsg.FormatterClientID(clientID))
}

// ProduceFrame returns a whole Produce request, length included, and where in
// an answer's frame (without its length) the partition's error code stands.
func ProduceFrame(topic string, partition int32, acks int16, batch []byte) (frame []byte, errorAt int) {
	req := kmsg.NewPtrProduceRequest()
	req.Version, req.Acks, req.TimeoutMillis = produceVersion, acks, 30000
	t := kmsg.NewProduceRequestTopic()
	t.Topic = topic
	p := kmsg.NewProduceRequestTopicPartition()
	p.Partition, p.Records = partition, batch
	t.Partitions = append(t.Partitions, p)
	req.Topics = append(req.Topics, t)
	frame = formatter().AppendRequest(nil, req, 1)
	// correlation id, header tags, topics+1, name length, name, partitions+1, index
	name := len(binary.AppendUvarint(nil, uint64(len(topic)+1))) + len(topic)
	return frame, 4 + 1 + 1 + name + 1 + 4
}
