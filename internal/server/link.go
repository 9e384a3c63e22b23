package server

import "time"

// Retransmits counts how often in a row the kernel has sent the same bytes again
// without an acknowledgement from the other host: 0 for a host that answers, however
// still its process stands, and where the kernel doesn't tell.
func (c *Conn) Retransmits() int {
	if s, ok := c.sock.(interface{ retransmits() int }); ok {
		return s.retransmits()
	}
	return 0
}

// tellTime tells the owner of a slice, if it wants to know, how long the disk held
// up the last sendfile.
func (c *Conn) tellTime(it *item) {
	owner, ok := it.slice.(interface{ Took(time.Duration) })
	if !ok {
		return
	}
	if s, ok := c.sock.(interface{ fileTime() time.Duration }); ok {
		owner.Took(s.fileTime())
	}
}
