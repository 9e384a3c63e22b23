package partition

// RestartPoint brings everything appended so far to the disk, in a way that lets
// a start after a crash begin to read there (commitlog.Log.RestartPoint). It
// waits for the disk, and keeps nobody else from appending meanwhile. Call
// Flushed and Perform afterwards. Errors are those of commitlog.Log.Flush.
func (p *Partition) RestartPoint() error {
	p.appendMu.Lock()
	at, producers := p.log.End(), p.ProducerSnapshot()
	p.appendMu.Unlock()
	return p.log.RestartPoint(at, producers)
}
