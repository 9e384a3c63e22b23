package api

import (
	"math"
	"slices"

	"tidemark/internal/broker"
	"tidemark/internal/metadata"
	"tidemark/internal/model"
	"tidemark/internal/partition"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

const keyDescribeLogDirs int16 = 35

// LogDirs tells what is on this broker's disks.
type LogDirs interface {
	LogDirs() []broker.LogDir
	Image() *metadata.Image
}

// describeLogDirsAPI answers DescribeLogDirs (key 35): directories, and the size
// and lag of the replicas in them. A null list of topics asks for all, an empty
// one for none; what isn't here is left out. The lag is how far the log end is
// below the high watermark, 0 for most followers: DescribeQuorum of the leader
// tells how far they really are.
//
//	v3  an error code for the whole answer
//	v4  size of the file system and what is free, -1 if unknown (KIP-827)
//	v5  whether the directory is cordoned (KIP-1066)
type describeLogDirsAPI struct {
	self model.BrokerID
	dirs LogDirs
}

// RegisterDescribeLogDirs adds DescribeLogDirs.
func RegisterDescribeLogDirs(h *Handlers, self model.BrokerID, dirs LogDirs) {
	h.Register(keyDescribeLogDirs, Async((&describeLogDirsAPI{self, dirs}).handle))
}

func (a *describeLogDirsAPI) handle(c *Call) {
	req := c.Msg.(*kmsg.DescribeLogDirsRequest)
	resp := req.ResponseKind().(*kmsg.DescribeLogDirsResponse)
	wanted := wantedReplicas(req)
	self := a.dirs.Image().Brokers[a.self]
	for _, d := range a.dirs.LogDirs() {
		out := kmsg.NewDescribeLogDirsResponseDir()
		out.Dir, out.TotalBytes, out.UsableBytes = d.Path, -1, -1
		out.IsCordoned = self != nil && slices.Contains(self.CordonedDirs, d.ID)
		if d.Err != nil {
			out.ErrorCode = kerr.KafkaStorageError.Code
			resp.Dirs = append(resp.Dirs, out)
			continue
		}
		if d.Known {
			out.TotalBytes, out.UsableBytes = clampInt64(d.Total), clampInt64(d.Free)
		}
		for _, p := range d.Replicas {
			if wanted != nil && !wanted[p.TP()] {
				continue
			}
			n := len(out.Topics)
			if n == 0 || out.Topics[n-1].Topic != p.TP().Topic {
				t := kmsg.NewDescribeLogDirsResponseDirTopic()
				t.Topic = p.TP().Topic
				out.Topics = append(out.Topics, t)
				n++
			}
			out.Topics[n-1].Partitions = append(out.Topics[n-1].Partitions, logDirPartition(p))
		}
		resp.Dirs = append(resp.Dirs, out)
	}
	c.Reply(resp)
}

// wantedReplicas is nil if all are wanted.
func wantedReplicas(req *kmsg.DescribeLogDirsRequest) map[model.TopicPartition]bool {
	if req.Topics == nil {
		return nil
	}
	wanted := map[model.TopicPartition]bool{}
	for _, t := range req.Topics {
		for _, index := range t.Partitions {
			wanted[model.TopicPartition{Topic: t.Topic, Partition: index}] = true
		}
	}
	return wanted
}

func logDirPartition(p *partition.Partition) kmsg.DescribeLogDirsResponseDirTopicPartition {
	out := kmsg.NewDescribeLogDirsResponseDirTopicPartition()
	out.Partition, out.Size = p.TP().Partition, p.Log().Size()
	out.OffsetLag = max(0, int64(p.HighWatermark()-p.LogEnd()))
	return out
}

func clampInt64(n uint64) int64 { return int64(min(n, math.MaxInt64)) }
