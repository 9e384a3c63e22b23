package node

import (
	"context"

	"tidemark/internal/admin"
	"tidemark/internal/metadata"
	"tidemark/internal/model"
)

// remoteView is what another broker says of a partition that it leads.
type remoteView struct {
	highWatermark, logEnd, logStart model.Offset
	followers                       []admin.Follower
}

// otherViews asks the other leaders about their partitions.
func (n *Node) otherViews(context.Context, *metadata.Image) map[model.TopicPartition]remoteView {
	return nil
}

func fillOther(out *admin.Partition, v remoteView) {
	out.Known, out.HighWatermark, out.LogEnd, out.LogStart, out.Followers = true, v.highWatermark, v.logEnd, v.logStart, v.followers
}
