package api

import (
	"context"

	"tidemark/internal/controller"
	"tidemark/internal/model"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// serveDeleteTopics answers DeleteTopics (key 20). Until v5 topics have names,
// from v6 on names or ids. A disabled deletion has a code of its own from v3 on.
func serveDeleteTopics(ctx context.Context, s controllerSubmitter, msg kmsg.Request) (kmsg.Response, error) {
	req := msg.(*kmsg.DeleteTopicsRequest)
	out := kmsg.NewPtrDeleteTopicsResponse()
	r := &controller.DeleteTopics{}
	refs := deletions(req)
	named := make(map[controller.TopicRef]int, len(refs))
	for _, ref := range refs {
		named[ref]++
	}
	for _, ref := range refs {
		if ref.Name != "" && !ref.ID.IsZero() { // as often as it is named
			out.Topics = append(out.Topics, undeleted(req.Version, ref, kerr.InvalidRequest.Code,
				"You may not specify both topic name and topic id."))
			continue
		}
		if n := named[ref]; n > 1 { // answered once, and not deleted
			out.Topics = append(out.Topics, undeleted(req.Version, ref, kerr.InvalidRequest.Code, "The topic is named more than once."))
			named[ref] = 0
			continue
		} else if n == 0 {
			continue
		}
		r.Topics = append(r.Topics, ref)
	}
	resp, err := submit[controller.DeleteTopicsResponse](ctx, s, r)
	if err != nil {
		return nil, err
	}
	for _, t := range resp.Topics {
		ot := undeleted(req.Version, controller.TopicRef{Name: t.Name, ID: t.ID}, codeOf(t.Code), "")
		ot.ErrorMessage = messageOf(t.Result)
		if t.Code == controller.TopicDeletionDisabled && req.Version < 3 {
			ot.ErrorCode = kerr.InvalidRequest.Code
		}
		out.Topics = append(out.Topics, ot)
	}
	return out, nil
}

func deletions(req *kmsg.DeleteTopicsRequest) []controller.TopicRef {
	var refs []controller.TopicRef
	if req.Version < 6 {
		for _, name := range req.TopicNames {
			refs = append(refs, controller.TopicRef{Name: name})
		}
		return refs
	}
	for _, t := range req.Topics {
		ref := controller.TopicRef{ID: model.TopicID(t.TopicID)}
		if t.Topic != nil {
			ref.Name = *t.Topic
		}
		refs = append(refs, ref)
	}
	return refs
}

// undeleted is an answer about one topic. The name is null if the topic was asked
// for by id, from v6 on.
func undeleted(version int16, ref controller.TopicRef, code int16, text string) kmsg.DeleteTopicsResponseTopic {
	ot := kmsg.NewDeleteTopicsResponseTopic()
	if ref.Name != "" || version < 6 || ref.ID.IsZero() {
		ot.Topic = &ref.Name
	}
	ot.TopicID, ot.ErrorCode = ref.ID, code
	if text != "" {
		ot.ErrorMessage = &text
	}
	return ot
}

func refuseDeleteTopics(msg kmsg.Request, code int16, text string) kmsg.Response {
	req := msg.(*kmsg.DeleteTopicsRequest)
	out := kmsg.NewPtrDeleteTopicsResponse()
	for _, ref := range deletions(req) {
		out.Topics = append(out.Topics, undeleted(req.Version, ref, code, text))
	}
	return out
}
