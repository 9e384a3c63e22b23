package server

// Retransmits counts how often in a row the kernel has sent the same bytes again
// without an acknowledgement from the other host: 0 for a host that answers, however
// still its process stands, and where the kernel doesn't tell.
func (c *Conn) Retransmits() int {
	if s, ok := c.sock.(interface{ retransmits() int }); ok {
		return s.retransmits()
	}
	return 0
}
