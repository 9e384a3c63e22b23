package admin

const (
	logBean    = "kafka.log:type=Log,name="
	logManager = "kafka.log:type=LogManager,name="
)

// logRows: the logs and their directories.
var logRows = []*Metric{
	{JMX: logBean + "Size", Labels: partitionLabels, Help: "bytes of the segments", per: hosted(func(p *PartitionNumbers) float64 { return float64(p.Size) })},
	{JMX: logBean + "NumLogSegments", Labels: partitionLabels, Help: "segments", per: hosted(func(p *PartitionNumbers) float64 { return float64(p.Segments) })},
	{JMX: logBean + "LogStartOffset", Labels: partitionLabels, Help: "first offset that can be read", per: hosted(func(p *PartitionNumbers) float64 { return float64(p.LogStart) })},
	{JMX: logBean + "LogEndOffset", Labels: partitionLabels, Help: "offset after the last record", per: hosted(func(p *PartitionNumbers) float64 { return float64(p.LogEnd) })},
	{JMX: "kafka.log:type=LogFlushStats,name=LogFlushRateAndTimeMs", Kind: Times, Help: "flushes of logs",
		times: func(n *Numbers, out emitTimes) {
			if n.Broker != nil {
				out(n.Broker.Flushes)
			}
		}},
	{Name: "tidemark_log_flush_seconds", Kind: Buckets, Help: "flushes of logs",
		times: func(n *Numbers, out emitTimes) {
			if n.Broker != nil {
				out(n.Broker.Flushes)
			}
		}},
	{JMX: logManager + "OfflineLogDirectoryCount", Help: "log directories that failed",
		each: perBroker(func(b *BrokerNumbers) (n float64) {
			for _, d := range b.Dirs {
				n += truth(!d.Online)
			}
			return n
		})},
	{JMX: logManager + "LogDirectoryOffline", Labels: []string{"logDirectory"}, Help: "1 if the directory failed",
		each: eachDir(func(d *Dir) float64 { return truth(!d.Online) })},
	{JMX: logManager + "remainingLogsToRecover", Labels: []string{"dir"}, Help: "logs that are still to be opened after a start",
		each: eachLoading(func(l LoadingNumbers) int { return l.Logs })},
	{JMX: logManager + "remainingSegmentsToRecover", Labels: []string{"dir"}, Help: "segments that are still to be read after a start",
		each: eachLoading(func(l LoadingNumbers) int { return l.Segments })},
	{Name: "tidemark_log_directory_free_bytes", Labels: []string{"dir"}, Help: "free space on the disk of a log directory", each: eachDir(func(d *Dir) float64 { return float64(d.Free) })},
	{Name: "tidemark_log_directory_bytes", Labels: []string{"dir"}, Help: "size of the disk of a log directory", each: eachDir(func(d *Dir) float64 { return float64(d.Total) })},
	{Name: "tidemark_log_directory_full", Labels: []string{"dir"}, Help: "1 if records are refused for want of space", each: eachDir(func(d *Dir) float64 { return truth(d.Full) })},
	{JMX: "kafka.log:type=LogCleanerManager,name=uncleanable-partitions-count", Help: "logs that aren't compacted because of a failure",
		each: perBroker(func(b *BrokerNumbers) float64 { return float64(b.Uncleanable) })},
	{JMX: "kafka.log:type=LogCleaner,name=DeadThreadCount", Help: "always 0: a cleaner doesn't die, it leaves a log that fails alone",
		each: perBroker(func(*BrokerNumbers) float64 { return 0 })},
	{Name: "tidemark_compactions_total", Kind: Counter, Help: "logs that were compacted", each: perBroker(func(b *BrokerNumbers) float64 { return float64(b.Compactions) })},
	{Name: "tidemark_scrubbed_bytes_total", Kind: Counter, Help: "bytes of closed segments read in the background and compared with their checksums",
		each: brokerCount(func(c *Counts) uint64 { return uint64(c.ScrubbedBytes) })},
	{Name: "tidemark_damaged_runs_total", Kind: Counter, Help: "runs of damaged batches found on the disk", each: brokerCount(func(c *Counts) uint64 { return uint64(c.DamagedRuns) })},
	{Name: "tidemark_damaged_replicas", Help: "replicas with damaged records that have not been fetched again yet", each: brokerCount(func(c *Counts) uint64 { return uint64(c.DamagedReplicas) })},
	{JMX: "kafka.server:type=KafkaServer,name=linux-disk-read-bytes", Kind: Counter, Help: "bytes that the process read from disks", each: perNode(func(n *Numbers) float64 { return float64(max(n.ReadBytes, 0)) })},
	{JMX: "kafka.server:type=KafkaServer,name=linux-disk-write-bytes", Kind: Counter, Help: "bytes that the process wrote to disks", each: perNode(func(n *Numbers) float64 { return float64(max(n.WriteBytes, 0)) })},
	{JMX: "kafka.server:type=KafkaServer,name=BrokerState", Help: "0 not running, 1 starting, 2 recovery, 3 running, 6 pending controlled shutdown, 7 shutting down",
		each: func(n *Numbers, out emit) {
			if n.Broker != nil {
				out(float64(n.BrokerState))
			}
		}},
}

func eachDir(f func(d *Dir) float64) func(*Numbers, emit) {
	return func(n *Numbers, out emit) {
		if n.Broker != nil {
			for i := range n.Broker.Dirs {
				out(f(&n.Broker.Dirs[i]), n.Broker.Dirs[i].Path)
			}
		}
	}
}

func eachLoading(f func(LoadingNumbers) int) func(*Numbers, emit) {
	return func(n *Numbers, out emit) {
		if n.Broker != nil {
			for _, l := range n.Broker.Loading {
				out(float64(f(l)), l.Dir)
			}
		}
	}
}
