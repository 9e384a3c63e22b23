package session

// Link is the connection that a session is used through.
type Link interface {
	// Done is closed when the connection is.
	Done() <-chan struct{}
	// Retransmits counts attempts to send something again that the other host
	// hasn't acknowledged; 0 if that isn't known. It is a system call.
	Retransmits() int
}

// Via notes the connection of a request.
func (s *Session) Via(l Link) { s.link.Store(&l) }

// Link tells whether the connection of the last request is open and, if closely,
// how often its host failed to answer. known is false if no request came through one.
// Safe for concurrent use.
func (s *Session) Link(closely bool) (open bool, retransmits int, known bool) {
	l := s.link.Load()
	if l == nil {
		return false, 0, false
	}
	select {
	case <-(*l).Done():
		return false, 0, true
	default:
	}
	if closely {
		retransmits = (*l).Retransmits()
	}
	return true, retransmits, true
}
