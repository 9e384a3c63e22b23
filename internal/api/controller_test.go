package api

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"testing"
	"time"

	"tidemark/internal/active"
	"tidemark/internal/controller"
	"tidemark/internal/metadata"
	"tidemark/internal/model"
	"tidemark/internal/wire"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// coreSubmitter is an active controller that commits at once.
type coreSubmitter struct {
	core *controller.Core
	img  *metadata.Image
	ids  byte
}

func newCoreSubmitter(t *testing.T) *coreSubmitter {
	t.Helper()
	cfg := controller.DefaultConfig()
	cfg.ClusterID = "tide"
	s := &coreSubmitter{core: controller.New(cfg), img: metadata.Empty()}
	s.commit(s.core.Activate(s.img, 1, s.env()))
	return s
}

func (s *coreSubmitter) env() controller.Env {
	return controller.Env{
		Now: time.Unix(1000, 0), NextOffset: s.img.Offset + 1,
		NewID: func() model.UUID { s.ids++; return model.UUID{1, 15: s.ids} },
		Rand:  func() uint64 { return 7 },
	}
}

func (s *coreSubmitter) commit(recs []metadata.Record) {
	if len(recs) == 0 {
		return
	}
	d := metadata.NewDelta(s.img)
	for _, r := range recs {
		if err := d.Replay(r); err != nil {
			panic(err)
		}
	}
	s.img = d.Apply(s.img.Offset+model.Offset(len(recs)), 1)
	s.core.Replayed(s.img)
}

func (s *coreSubmitter) Submit(_ context.Context, req any) (any, error) {
	d := s.core.Decide(req, s.env())
	s.commit(d.Records)
	return d.Response, d.Err
}

type refusing struct{ err error }

func (r refusing) Submit(context.Context, any) (any, error) { return nil, r.err }

// askController sends msg through the codec, the handler and the codec again.
func askController(t *testing.T, s controllerSubmitter, msg kmsg.Request, version int16) kmsg.Response {
	t.Helper()
	msg.SetVersion(version)
	in, err := wire.DecodeRequest(wire.Header{Key: msg.Key(), Version: version}, msg.AppendTo(nil))
	if err != nil {
		t.Fatalf("%T v%d: %v", msg, version, err)
	}
	for _, a := range controllerAPIs {
		if a.key != msg.Key() {
			continue
		}
		resp, err := a.call(s, in)
		switch {
		case err != nil && a.refuse != nil:
			resp = a.refuse(in, ErrorCode(err), err.Error())
		case err != nil:
			resp = kmsg.ResponseForKey(a.key)
			reflect.ValueOf(resp).Elem().FieldByName("ErrorCode").SetInt(int64(ErrorCode(err)))
		}
		resp.SetVersion(version)
		out, err := wire.DecodeResponse(a.key, version, resp.AppendTo(nil))
		if err != nil {
			t.Fatalf("%T v%d: %v", resp, version, err)
		}
		return out
	}
	t.Fatalf("key %d has no handler", msg.Key())
	return nil
}

// answerCodes collects every error code of a response in order.
func answerCodes(v reflect.Value) (out []int16) {
	switch v.Kind() {
	case reflect.Pointer:
		return answerCodes(v.Elem())
	case reflect.Struct:
		for i := range v.NumField() {
			switch f := v.Field(i); {
			case v.Type().Field(i).Name == "ErrorCode":
				out = append(out, int16(f.Int()))
			case f.Kind() == reflect.Slice && f.Type().Elem().Kind() == reflect.Struct:
				for j := range f.Len() {
					out = append(out, answerCodes(f.Index(j))...)
				}
			}
		}
	}
	return out
}

// controllerRequests makes one request of every API about broker 1 and topic t, in an order
// in which each succeeds.
func controllerRequests(s *coreSubmitter) []kmsg.Request {
	epoch := func() int64 { return int64(s.img.Brokers[1].Epoch) }
	topicID := func() [16]byte {
		if t := s.img.Topics.ByName["t"]; t != nil {
			return t.ID
		}
		return [16]byte{9}
	}
	reg := kmsg.NewPtrBrokerRegistrationRequest()
	reg.BrokerID, reg.ClusterID, reg.IncarnationID, reg.LogDirs = 1, "tide", [16]byte{1}, [][16]byte{{7}}
	reg.Listeners = []kmsg.BrokerRegistrationRequestListener{{Name: "P", Host: "h", Port: 1}}
	reg.Features = []kmsg.BrokerRegistrationRequestFeature{
		{Name: "metadata.version", MinSupportedVersion: 7, MaxSupportedVersion: 30},
	}
	ctl := kmsg.NewPtrControllerRegistrationRequest()
	ctl.ControllerID, ctl.Listeners = 9, []kmsg.ControllerRegistrationRequestListener{{Name: "C", Host: "h", Port: 2}}
	ctl.Features = []kmsg.ControllerRegistrationRequestFeature{
		{Name: "metadata.version", MinSupportedVersion: 7, MaxSupportedVersion: 30},
	}
	if s.img.Brokers[1] == nil {
		return []kmsg.Request{reg, ctl}
	}
	hb := kmsg.NewPtrBrokerHeartbeatRequest()
	hb.BrokerID, hb.BrokerEpoch, hb.CurrentMetadataOffset = 1, epoch(), int64(s.img.Offset)
	create := kmsg.NewPtrCreateTopicsRequest()
	create.TimeoutMillis = 1000
	create.Topics = []kmsg.CreateTopicsRequestTopic{{Topic: "t", NumPartitions: 1, ReplicationFactor: 1}}
	more := kmsg.NewPtrCreatePartitionsRequest()
	more.TimeoutMillis = 1000
	count := int32(2)
	if t := s.img.Topics.ByName["t"]; t != nil {
		count = int32(len(t.Partitions)) + 1
	}
	more.Topics = []kmsg.CreatePartitionsRequestTopic{{Topic: "t", Count: count}}
	inc := kmsg.NewPtrIncrementalAlterConfigsRequest()
	inc.Resources = []kmsg.IncrementalAlterConfigsRequestResource{{ResourceType: 2, ResourceName: "t",
		Configs: []kmsg.IncrementalAlterConfigsRequestResourceConfig{{Name: "retention.ms", Value: kmsg.StringPtr("5")}}}}
	alter := kmsg.NewPtrAlterConfigsRequest()
	alter.Resources = []kmsg.AlterConfigsRequestResource{{ResourceType: 2, ResourceName: "t"}}
	elect := kmsg.NewPtrElectLeadersRequest()
	elect.TimeoutMillis = 1000
	elect.Topics = []kmsg.ElectLeadersRequestTopic{{Topic: "t", Partitions: []int32{0}}}
	reassign := kmsg.NewPtrAlterPartitionAssignmentsRequest()
	reassign.TimeoutMillis, reassign.AllowReplicationFactorChange = 1000, true
	reassign.Topics = []kmsg.AlterPartitionAssignmentsRequestTopic{{Topic: "t",
		Partitions: []kmsg.AlterPartitionAssignmentsRequestTopicPartition{{Partition: 0, Replicas: []int32{1}}}}}
	list := kmsg.NewPtrListPartitionReassignmentsRequest()
	list.TimeoutMillis = 1000
	ap := kmsg.NewPtrAlterPartitionRequest()
	ap.BrokerID, ap.BrokerEpoch = 1, epoch()
	ap.Topics = []kmsg.AlterPartitionRequestTopic{{TopicID: topicID(), Partitions: []kmsg.AlterPartitionRequestTopicPartition{
		{NewISR: []int32{1}, NewEpochISR: []kmsg.AlterPartitionRequestTopicPartitionNewEpochISR{{BrokerID: 1, BrokerEpoch: epoch()}}},
	}}}
	feat := kmsg.NewPtrUpdateFeaturesRequest()
	feat.TimeoutMillis = 1000
	feat.FeatureUpdates = []kmsg.UpdateFeaturesRequestFeatureUpdate{
		{Feature: "metadata.version", MaxVersionLevel: 25, UpgradeType: 1},
	}
	pids := kmsg.NewPtrAllocateProducerIDsRequest()
	pids.BrokerID, pids.BrokerEpoch = 1, epoch()
	dirs := kmsg.NewPtrAssignReplicasToDirsRequest()
	dirs.BrokerID, dirs.BrokerEpoch = 1, epoch()
	dirs.Directories = []kmsg.AssignReplicasToDirsRequestDirectory{{ID: [16]byte{7},
		Topics: []kmsg.AssignReplicasToDirsRequestDirectoryTopic{{TopicID: topicID(),
			Partitions: []kmsg.AssignReplicasToDirsRequestDirectoryTopicPartition{{Partition: 0}}}}}}
	del := kmsg.NewPtrDeleteTopicsRequest()
	del.TimeoutMillis, del.TopicNames = 1000, []string{"t"}
	del.Topics = []kmsg.DeleteTopicsRequestTopic{{Topic: kmsg.StringPtr("t")}}
	return []kmsg.Request{reg, hb, create, more, inc, alter, elect, reassign, list, ap, feat, pids, ctl, dirs, del}
}

// Every API, in every version, through the codec and a real core.
func TestControllerAPIs(t *testing.T) {
	want := map[int16]string{ // the codes of the answer where they aren't all zero
		43: fmt.Sprint([]int16{kerr.ElectionNotNeeded.Code}),
	}
	for _, a := range controllerAPIs {
		row, _ := wire.Lookup(a.key)
		for v := row.Min; v <= row.Max; v++ {
			codes := want[a.key]
			if a.key == 62 && v < 2 { // no directories, which the finalised level asks for
				codes = fmt.Sprint([]int16{kerr.InvalidRegistration.Code})
			}
			t.Run(fmt.Sprintf("%s/v%d", row.Name, v), func(t *testing.T) { eachUntil(t, a.key, v, codes) })
		}
	}
}

// eachUntil runs the sequence until the API in question had its turn.
func eachUntil(t *testing.T, key, version int16, want string) {
	s := newCoreSubmitter(t)
	done := map[int16]bool{}
	if key == 64 {
		askController(t, s, controllerRequests(s)[0], 4)
		un := kmsg.NewPtrUnregisterBrokerRequest()
		un.BrokerID = 1
		checkCodes(t, askController(t, s, un, version), "")
		return
	}
	for {
		var next kmsg.Request
		for _, r := range controllerRequests(s) {
			if !done[r.Key()] {
				next = r
				break
			}
		}
		if next == nil {
			t.Fatalf("key %d isn't among the requests", key)
		}
		done[next.Key()] = true
		row, _ := wire.Lookup(next.Key())
		v := row.Max
		if next.Key() == key {
			v = version
		}
		resp := askController(t, s, next, v)
		if next.Key() == key {
			checkCodes(t, resp, want)
			return
		}
	}
}

func checkCodes(t *testing.T, resp kmsg.Response, want string) {
	t.Helper()
	var got []int16
	for _, c := range answerCodes(reflect.ValueOf(resp)) {
		if c != 0 {
			got = append(got, c)
		}
	}
	if want == "" {
		want = fmt.Sprint([]int16(nil))
	}
	if fmt.Sprint(got) != want {
		t.Errorf("%T v%d: error codes %v, want %s", resp, resp.GetVersion(), got, want)
	}
}

// What isn't decided here is refused with one code, in every version.
func TestControllerRefusals(t *testing.T) {
	s := newCoreSubmitter(t)
	askController(t, s, controllerRequests(s)[0], 4)
	un := kmsg.NewPtrUnregisterBrokerRequest()
	for _, r := range append(controllerRequests(s), un) {
		row, _ := wire.Lookup(r.Key())
		for v := row.Min; v <= row.Max; v++ {
			for _, tc := range []struct {
				err  error
				want int16
			}{
				{fmt.Errorf("moved: %w", active.ErrNotController), kerr.NotController.Code},
				{active.ErrBusy, kerr.RequestTimedOut.Code},
				{context.DeadlineExceeded, kerr.RequestTimedOut.Code},
				{errors.New("broken"), kerr.UnknownServerError.Code},
			} {
				resp := askController(t, refusing{tc.err}, r, v)
				found := false
				for _, c := range answerCodes(reflect.ValueOf(resp)) {
					found = found || c == tc.want
				}
				if !found {
					t.Errorf("%s v%d, %v: no code %d in %v", row.Name, v, tc.err, tc.want, answerCodes(reflect.ValueOf(resp)))
				}
			}
		}
	}
}

func TestControllerCodesAreComplete(t *testing.T) {
	for c := controller.Unknown; c <= controller.UnknownControllerID; c++ {
		if controllerCodes[c] == nil {
			t.Errorf("%s has no code", c)
		}
	}
}
