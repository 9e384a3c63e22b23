package fetcher

import (
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"tidemark/internal/model"
	"tidemark/internal/peer"
)

// KAFKA-14704: of an answer that tells of a divergence nothing else counts, neither
// records nor high watermark nor log start.
func TestDivergingAnswerTellsNothingElse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := setup(1)
		defer b.f.Close()
		var bent atomic.Int32
		b.leader.with(func() {
			b.leader.reply = func(out *peer.ReplicaFetchResult) {
				for i := range out.Partitions {
					if p := &out.Partitions[i]; p.Diverging != nil {
						bent.Add(1)
						p.HighWatermark, p.LogStart, p.Records = 99, 98, []byte("\x07\x07")
					}
				}
			}
		})
		r := b.follow(tpn(0), "\x01\x01\x01\x01", "\x01\x01\x03")
		b.leader.with(func() { b.leader.logs[tpn(0)].hw = 1 })
		pass(time.Second)
		wantBytes(t, r, "\x01\x01\x03")
		r.mu.Lock()
		defer r.mu.Unlock()
		if bent.Load() == 0 || r.story[0] != "diverged" {
			t.Fatalf("%d diverging answers, story %v", bent.Load(), r.story)
		}
		for _, in := range r.told {
			if in.LeaderHW > 1 || in.LogStart > 0 || strings.Contains(string(in.Records), "\x07") {
				t.Errorf("it was told %+v", in)
			}
		}
	})
}

// tap is a quota that a test opens and shuts.
type tap struct{ shut atomic.Bool }

func (v *tap) Wait() time.Duration {
	if v.shut.Load() {
		return time.Minute
	}
	return 0
}

func (v *tap) Record(int) {}

// KAFKA-15080: a partition without anything to copy is in sync with its first,
// empty answer. From then on a throttle that is used up doesn't hold it up; one
// that has to catch up waits.
func TestIdlePartitionUnderAThrottle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, v := setup(1), &tap{}
		defer b.f.Close()
		b.f.cfg.Quota = v
		throttled := func(index int32, theirs string) *fakeReplica {
			r := &fakeReplica{epoch: 5, throttled: true}
			b.reps[tpn(index)] = r
			b.leader.with(func() {
				b.leader.logs[tpn(index)] = &fakeLog{recs: []byte(theirs), hw: model.Offset(len(theirs))}
			})
			return r
		}
		idle, behind := throttled(0, ""), throttled(1, "\x01\x01")
		b.leader.with(func() { // a leader answers once for each partition that is named first
			b.leader.reply = func(out *peer.ReplicaFetchResult) {
				out.Partitions = append(out.Partitions, peer.FetchedPartition{Of: b.leader.session[tpn(0)].Of})
				b.leader.reply = nil
			}
		})
		b.f.Add([]Assignment{b.assign(tpn(0))})
		pass(time.Second)
		if st, _ := b.f.Of(tpn(0)); st.Phase != Fetching || st.Lag != 0 {
			t.Fatalf("idle: %+v", st)
		}
		v.shut.Store(true)
		b.f.Add([]Assignment{b.assign(tpn(1))})
		b.leader.with(func() { b.leader.logs[tpn(0)].recs = []byte("\x01") })
		pass(10 * time.Second)
		wantBytes(t, idle, "\x01")
		wantBytes(t, behind, "")
		if st, _ := b.f.Of(tpn(1)); st.Phase != Throttled || st.Lag != -1 {
			t.Fatalf("behind: %+v", st)
		}
		v.shut.Store(false)
		pass(2 * time.Minute)
		wantBytes(t, behind, "\x01\x01")
	})
}
