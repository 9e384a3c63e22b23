package fetcher

import "tidemark/internal/peer"

// session is the follower's half of an incremental fetch session (KIP-227).
// Which partitions are in it is remembered by each follower.
type session struct {
	id    int32
	epoch int32 // of the next request
}

// full tells whether the next request must name every partition.
func (s *session) full() bool { return s.epoch <= 0 }

// answered takes a response to a request of this session. ok is false if the
// next request has to begin a new one.
func (s *session) answered(code peer.Code, id int32) (ok bool) {
	switch {
	case code == peer.CodeSessionNotFound:
		*s = session{}
		return false
	case code != peer.CodeNone:
		s.restart()
		return false
	case s.full() && id == 0: // the leader has no room for a session
		*s = session{}
		return true
	case s.full():
		*s = session{id: id, epoch: 1}
		return true
	case id == 0: // it was left empty, so Kafka closed it with this answer
		*s = session{}
		return true
	case id != s.id:
		s.restart()
		return false
	}
	if s.epoch++; s.epoch < 0 { // after 2^31-1 comes 1
		s.epoch = 1
	}
	return true
}

// restart asks the leader to close the session and make a new one.
func (s *session) restart() { s.epoch = 0 }
