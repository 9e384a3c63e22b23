package group

import (
	"bufio"
	"encoding/hex"
	"errors"
	"os"
	"reflect"
	"strings"
	"testing"

	"tidemark/internal/model"
)

// golden holds records written by Apache Kafka 4.3.1's own classes.
func golden(t testing.TB) map[string][]byte {
	t.Helper()
	f, err := os.Open("testdata/golden-4.3.1.hex")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	out := map[string][]byte{}
	for s := bufio.NewScanner(f); s.Scan(); {
		name, text, ok := strings.Cut(s.Text(), " ")
		if !ok || strings.HasPrefix(name, "#") {
			continue
		}
		b, err := hex.DecodeString(text)
		if err != nil {
			t.Fatal(err)
		}
		out[name] = b
	}
	return out
}

var (
	goldenTP  = model.TopicPartition{Topic: "payments", Partition: 7}
	goldenID  = model.UUID{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15}
	goldenOff = Offset{Offset: 4294967298, LeaderEpoch: 5, Metadata: "mété", CommitTime: 1700000000123, ExpireTime: -1, TopicID: goldenID}
)

func ptr(s string) *string { return &s }

func goldenGroup(version int) groupValue {
	g := groupValue{
		protocolType: "consumer", generation: 12, protocol: ptr("range"), leader: ptr("c-1"), stateTime: 1700000000456,
		members: []memberValue{
			{id: "c-1", clientID: "c", clientHost: "/10.0.0.1", rebalance: 300000, session: 45000,
				subscription: []byte{1, 2, 3}, assignment: []byte{9}},
			{id: "s-2", instance: ptr("inst-2"), clientID: "d", clientHost: "/10.0.0.2", rebalance: 60000, session: 6000,
				subscription: []byte{}, assignment: []byte{}},
		},
	}
	if version < 3 {
		g.members[1].instance = nil
	}
	if version < 2 {
		g.stateTime = -1
	}
	if version < 1 {
		g.members[0].rebalance, g.members[1].rebalance = 45000, 6000
	}
	return g
}

func TestWritesKafkasBytes(t *testing.T) {
	g := golden(t)
	expiring := goldenOff
	expiring.ExpireTime = 1700000999999
	for name, got := range map[string][]byte{
		"offset-key-1":        offsetCommitKey("orders", goldenTP),
		"group-key-2":         groupMetadataKey("orders"),
		"offset-value-4":      offsetCommitValue(goldenOff),
		"offset-value-1":      offsetCommitValue(expiring),
		"offset-value-4-noid": offsetCommitValue(Offset{Offset: 1, LeaderEpoch: -1, CommitTime: 2, ExpireTime: -1}),
		"group-value-3":       groupMetadataValue(goldenGroup(3)),
		"group-value-3-empty": groupMetadataValue(groupValue{stateTime: -1}),
	} {
		if want := g[name]; want == nil || string(got) != string(want) {
			t.Errorf("%s\n got %x\nwant %x", name, got, want)
		}
	}
}

func TestReadsEveryVersion(t *testing.T) {
	g := golden(t)
	for _, name := range []string{"offset-key-0", "offset-key-1"} {
		k, err := decodeOffsetKey(g[name])
		if err != nil || k != (offsetKey{"orders", goldenTP}) {
			t.Errorf("%s: %+v, %v", name, k, err)
		}
	}
	for v := range 5 {
		name := "offset-value-" + string(rune('0'+v))
		want := goldenOff
		if v < 4 {
			want.TopicID = model.UUID{}
		}
		if v < 3 {
			want.LeaderEpoch = -1
		}
		if v == 1 {
			want.ExpireTime = 1700000999999
		}
		if o, err := decodeOffsetValue(g[name]); err != nil || o != want {
			t.Errorf("%s: %+v, %v", name, o, err)
		}
		name = "group-value-" + string(rune('0'+v))
		if got, err := decodeGroupValue(g[name]); err != nil || !reflect.DeepEqual(got, goldenGroup(v)) {
			t.Errorf("%s: %+v, %v", name, got, err)
		}
		name += "-empty"
		if got, err := decodeGroupValue(g[name]); err != nil || !reflect.DeepEqual(got, groupValue{stateTime: -1}) {
			t.Errorf("%s: %+v, %v", name, got, err)
		}
	}
}

func TestRefusesEveryCut(t *testing.T) {
	for name, p := range golden(t) {
		for n := 2; n < len(p); n++ {
			var err error
			switch {
			case strings.HasPrefix(name, "offset-key"):
				_, err = decodeOffsetKey(p[:n])
			case strings.HasPrefix(name, "offset-value"):
				_, err = decodeOffsetValue(p[:n])
			case strings.HasPrefix(name, "group-value"):
				_, err = decodeGroupValue(p[:n])
			default:
				_, err = decodeGroupKey(p[:n])
			}
			if !errors.Is(err, ErrRecord) {
				t.Errorf("%s cut at %d: %v", name, n, err)
			}
		}
	}
}

func FuzzReplay(f *testing.F) {
	g := golden(f)
	for name, p := range g {
		if strings.Contains(name, "value") {
			f.Add(g["offset-key-1"], p)
			f.Add(g["group-key-2"], p)
		}
	}
	f.Fuzz(func(_ *testing.T, key, value []byte) {
		c := New(Config{})
		_ = c.Replay(Record{key, value}) // must not panic
		if v, err := decodeOffsetValue(value); err == nil && v.ExpireTime < 0 {
			again, err := decodeOffsetValue(offsetCommitValue(v))
			if err != nil || again != v {
				panic("offset value changes when it is written again")
			}
		}
	})
}
