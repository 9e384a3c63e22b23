package server

import (
	"testing"
	"time"
)

// Of two requests in one read, one is answered at once and one by somebody else
// 30 ms later: each phase holds what it should, and the phases add up.
func TestStats(t *testing.T) {
	const wait = 30 * time.Millisecond
	stats := NewStats()
	late := make(chan *Request, 1)
	s, _ := start(t, Config{Stats: stats}, handlerFunc{handle: func(r *Request) {
		if r.Header.CorrelationID == 2 {
			r.Follower()
			r.Error(6, 3)
			late <- r
			return
		}
		r.Error(0, 1)
		echo(r)
	}})
	nc := dial(t, s)
	if _, err := nc.Write(append(frame(1, nil), frame(2, make([]byte, 100))...)); err != nil {
		t.Fatal(err)
	}
	r := <-late
	<-time.After(wait)
	r.Respond(answer(r, nil))
	readAnswer(t, nc)
	readAnswer(t, nc)
	got := map[string]RequestStats{}
	for len(got) < 2 { // the counts follow the bytes
		for _, r := range stats.Requests() {
			if r.Count > 0 {
				got[r.Name] = r
			}
		}
	}
	follower, ok := got["FetchFollower"]
	if !ok || len(got) != 2 {
		t.Fatalf("counted %v", got)
	}
	for name, r := range got {
		var sum time.Duration
		for p := range Total {
			sum += r.Times[p].Sum
			if n := r.Times[p].Count(); n != 1 {
				t.Errorf("%s: phase %d has %d durations", name, p, n)
			}
		}
		if sum != r.Times[Total].Sum || len(r.Versions) != 1 || len(r.Errors) != 1 {
			t.Errorf("%s: phases take %v, all %v; versions %v, errors %v", name, sum, r.Times[Total].Sum, r.Versions, r.Errors)
		}
		if late := r.Times[Remote].Sum; (late >= wait) != (name == "FetchFollower") {
			t.Errorf("%s: waited %v", name, late)
		}
	}
	if e := follower.Errors[0]; e.Code != 6 || e.Count != 3 || follower.Bytes < 100 {
		t.Errorf("errors %+v, %d bytes", e, follower.Bytes)
	}
}
