package wire

import (
	"errors"
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// TestNullWhereThereIsNone: a list or name that can't be null is malformed if it
// is; Kafka closes the connection.
func TestNullWhereThereIsNone(t *testing.T) {
	null := []byte{0xff, 0xff, 0xff, 0xff}
	offsets := []byte{0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0, 1} // replica, isolation, one topic
	for name, tc := range map[string]struct {
		key, version int16
		body         []byte
	}{
		"topics of ListOffsets":    {2, 4, append(append([]byte{}, offsets[:5]...), null...)},
		"a topic's name":           {2, 4, append(append([]byte{}, offsets...), 0xff, 0xff, 0, 0, 0, 0)},
		"a topic's partitions":     {2, 4, append(append(append([]byte{}, offsets...), 0, 1, 'a'), null...)},
		"topics of DeleteRecords":  {21, 0, append(append([]byte{}, null...), 0, 0, 0, 0)},
		"topics by compact length": {21, 2, []byte{0, 0, 0, 0, 0, 0}},
		"topics of epochs":         {23, 3, append([]byte{0, 0, 0, 0}, null...)},
	} {
		if _, err := DecodeRequest(Header{Key: tc.key, Version: tc.version}, tc.body); !errors.Is(err, ErrMalformed) {
			t.Errorf("%s: %v", name, err)
		}
	}
	var p ProduceRequest
	if err := p.Decode(3, append([]byte{0xff, 0xff, 0, 1, 0, 0, 0, 1}, null...)); !errors.Is(err, ErrMalformed) {
		t.Errorf("topics of Produce: %v", err)
	}
	var f FetchRequest
	if err := f.Decode(4, append(make([]byte, 17), null...)); !errors.Is(err, ErrMalformed) {
		t.Errorf("topics of Fetch: %v", err)
	}
	// Null means all topics.
	all := kmsg.NewPtrMetadataRequest()
	if _, err := DecodeRequest(Header{Key: 3, Version: 4}, append(null, 0)); err != nil {
		t.Errorf("%T: %v", all, err)
	}
}

// TestAnyVersionOfApiVersions has a header, so that it can be refused (KIP-511).
func TestAnyVersionOfApiVersions(t *testing.T) {
	for _, v := range []int16{-1, -32768, 99, 32767} {
		h, _, err := ParseHeader(append(AppendRequestHeader(nil, Header{Key: KeyApiVersions, Version: v}), 0, 0))
		if err != nil || h.Version != v {
			t.Errorf("version %d: %+v, %v", v, h, err)
		}
	}
	if _, _, err := ParseHeader(AppendRequestHeader(nil, Header{Key: 3, Version: -1})); !errors.Is(err, ErrUnsupportedVersion) {
		t.Errorf("Metadata v-1: %v", err)
	}
}
