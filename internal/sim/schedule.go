package sim

// schedule orders events by time, and those of one time in the order in which
// they were pushed. The heap holds no pointers; events wait in slots.
type schedule struct {
	heap  []due
	slots []event
	free  []int32
	seq   uint64
}

type due struct {
	at   int64
	seq  uint64
	slot int32
}

func (d due) before(o due) bool { return d.at < o.at || d.at == o.at && d.seq < o.seq }

func (s *schedule) empty() bool { return len(s.heap) == 0 }

func (s *schedule) push(at int64, e event) {
	var slot int32
	if n := len(s.free); n > 0 {
		slot, s.free = s.free[n-1], s.free[:n-1]
		s.slots[slot] = e
	} else {
		slot = int32(len(s.slots))
		s.slots = append(s.slots, e)
	}
	s.seq++
	d := due{at, s.seq, slot}
	s.heap = append(s.heap, d)
	i := len(s.heap) - 1
	for i > 0 {
		up := (i - 1) / 4
		if !d.before(s.heap[up]) {
			break
		}
		s.heap[i] = s.heap[up]
		i = up
	}
	s.heap[i] = d
}

// pop takes the first event; there must be one.
func (s *schedule) pop() (at int64, e event) {
	top := s.heap[0]
	n := len(s.heap) - 1
	last := s.heap[n]
	s.heap = s.heap[:n]
	if n > 0 {
		s.sink(last)
	}
	e = s.slots[top.slot]
	s.slots[top.slot] = event{}
	s.free = append(s.free, top.slot)
	return top.at, e
}

// sink puts d where the top was.
func (s *schedule) sink(d due) {
	i, n := 0, len(s.heap)
	for {
		least, first := -1, 4*i+1
		for c := first; c < min(first+4, n); c++ {
			if least < 0 || s.heap[c].before(s.heap[least]) {
				least = c
			}
		}
		if least < 0 || !s.heap[least].before(d) {
			break
		}
		s.heap[i] = s.heap[least]
		i = least
	}
	s.heap[i] = d
}
