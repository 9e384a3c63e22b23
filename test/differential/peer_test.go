package differential

import (
	"bufio"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"reflect"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// answerLimit is how long a node may take for one answer.
const answerLimit = 30 * time.Second

// apiVersionsMax is the last version of ApiVersions that both nodes serve.
const apiVersionsMax = 4

type topicID = [16]byte

// peer is one of the two nodes, as a client on one connection sees it. Topic
// ids and fetch session ids of a trace are symbols that each peer has its own
// values for.
type peer struct {
	name, addr string
	conn       net.Conn
	in         *bufio.Reader
	corr       int32
	real       map[topicID]topicID // symbol -> id
	symbol     map[topicID]topicID
	sessions   []int32
}

// answer is what came of one request.
type answer struct {
	closed bool // the node closed the connection instead
	silent bool // acks=0: no answer, connection still good
	never  bool // no answer where there has to be one
	resp   kmsg.Response
}

func (a answer) outcome() string {
	switch {
	case a.closed:
		return "closes"
	case a.never:
		return "never answers"
	case a.silent:
		return "is silent"
	}
	return "answers"
}

func newPeer(name, addr string) *peer {
	return &peer{name: name, addr: addr, real: map[topicID]topicID{}, symbol: map[topicID]topicID{}, sessions: []int32{0}}
}

func (p *peer) know(symbol, id topicID) { p.real[symbol], p.symbol[id] = id, symbol }

func (p *peer) dial(t testing.TB) {
	if p.conn != nil {
		return
	}
	c, err := dial(p.addr)
	if err != nil {
		t.Fatalf("%s: %v", p.name, err)
	}
	p.attach(c)
}

func dial(addr string) (net.Conn, error) { return net.DialTimeout("tcp", addr, answerLimit) }

func (p *peer) attach(c net.Conn) { p.conn, p.in = c, bufio.NewReader(c) }

func (p *peer) hangUp() {
	if p.conn != nil {
		p.conn.Close()
		p.conn = nil
	}
}

// ask sends the request and reads its answer.
func (p *peer) ask(t testing.TB, req kmsg.Request, clientID string, m *mangle) answer {
	t.Helper()
	p.dial(t)
	frame := p.encode(req, clientID)
	if m != nil {
		frame = m.do(frame)
	}
	limit := answerLimit
	if unanswered(req) {
		limit = time.Second
	}
	p.conn.SetDeadline(time.Now().Add(limit))
	if _, err := p.conn.Write(frame); err != nil {
		p.hangUp()
		return answer{closed: true}
	}
	corr := p.corr
	if r, ok := req.(*kmsg.ProduceRequest); ok && r.Acks == 0 {
		// What follows on the connection tells whether it lives.
		probe := kmsg.NewPtrApiVersionsRequest()
		if _, err := p.conn.Write(p.encode(probe, clientID)); err != nil {
			p.hangUp()
			return answer{closed: true}
		}
		a := p.read(t, probe, p.corr)
		return answer{closed: a.closed, never: a.never, silent: a.resp != nil}
	}
	a := p.read(t, req, corr)
	if a.resp != nil {
		replaceIDs(reflect.ValueOf(a.resp), p.symbol)
	}
	return a
}

// unanswered reports a request that Apache Kafka never answers: one with an
// empty record set (see allowList).
func unanswered(req kmsg.Request) bool {
	r, ok := req.(*kmsg.ProduceRequest)
	if !ok {
		return false
	}
	for _, t := range r.Topics {
		for _, p := range t.Partitions {
			if len(p.Records) == 0 {
				return true
			}
		}
	}
	return false
}

func (p *peer) read(t testing.TB, req kmsg.Request, corr int32) answer {
	t.Helper()
	var head [8]byte
	if _, err := io.ReadFull(p.in, head[:]); err != nil {
		p.hangUp()
		var slow net.Error
		slept := errors.As(err, &slow) && slow.Timeout()
		return answer{closed: !slept, never: slept}
	}
	if got := int32(binary.BigEndian.Uint32(head[4:])); got != corr {
		t.Fatalf("%s answers %d instead of %d to %T v%d", p.name, got, corr, req, req.GetVersion())
	}
	body := make([]byte, binary.BigEndian.Uint32(head[:])-4)
	if _, err := io.ReadFull(p.in, body); err != nil {
		t.Fatalf("%s: %v", p.name, err)
	}
	resp := req.ResponseKind()
	resp.SetVersion(req.GetVersion())
	if v := req.GetVersion(); req.Key() == 18 && (v < 0 || v > apiVersionsMax) {
		resp.SetVersion(0) // KIP-511
	}
	if req.IsFlexible() && req.Key() != 18 {
		if body[0] != 0 {
			t.Fatalf("%s answers %T with header tags", p.name, req)
		}
		body = body[1:]
	}
	if err := resp.ReadFrom(body); err != nil {
		t.Fatalf("%s: answer to %T v%d: %v", p.name, req, req.GetVersion(), err)
	}
	return answer{resp: resp}
}

// encode writes the request with this peer's ids in place of the symbols.
func (p *peer) encode(req kmsg.Request, clientID string) []byte {
	p.corr++
	replaceIDs(reflect.ValueOf(req), p.real)
	defer replaceIDs(reflect.ValueOf(req), p.symbol)
	if f, ok := req.(*kmsg.FetchRequest); ok {
		slot := f.SessionID
		if slot > 0 && int(slot) < len(p.sessions) {
			f.SessionID = p.sessions[slot]
			defer func() { f.SessionID = slot }()
		}
	}
	return kmsg.NewRequestFormatter(kmsg.FormatterClientID(clientID)).AppendRequest(nil, req, p.corr)
}

var idType = reflect.TypeFor[topicID]()

// replaceIDs replaces topic ids within a message.
func replaceIDs(v reflect.Value, with map[topicID]topicID) {
	switch v.Kind() {
	case reflect.Pointer:
		if !v.IsNil() {
			replaceIDs(v.Elem(), with)
		}
	case reflect.Slice:
		if v.Type().Elem().Kind() != reflect.Uint8 {
			for i := range v.Len() {
				replaceIDs(v.Index(i), with)
			}
		}
	case reflect.Struct:
		for i := range v.NumField() {
			if v.Type().Field(i).IsExported() {
				replaceIDs(v.Field(i), with)
			}
		}
	case reflect.Array:
		if v.Type() == idType {
			if id, ok := with[v.Interface().(topicID)]; ok {
				v.Set(reflect.ValueOf(id))
			}
		}
	}
}

// must asks for something that has to work.
func must[R kmsg.Response](t testing.TB, p *peer, req kmsg.Request) R {
	t.Helper()
	a := p.ask(t, req, "setup", nil)
	if a.resp == nil {
		t.Fatalf("%s %s %T v%d", p.name, a.outcome(), req, req.GetVersion())
	}
	return a.resp.(R)
}
