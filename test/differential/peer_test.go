package differential

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"reflect"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// answerLimit is how long a node may take for one answer.
const answerLimit = 30 * time.Second

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
	resp   kmsg.Response
}

func newPeer(name, addr string) *peer {
	return &peer{name: name, addr: addr, real: map[topicID]topicID{}, symbol: map[topicID]topicID{}, sessions: []int32{0}}
}

func (p *peer) know(symbol, id topicID) { p.real[symbol], p.symbol[id] = id, symbol }

func (p *peer) dial(t testing.TB) {
	if p.conn != nil {
		return
	}
	c, err := net.DialTimeout("tcp", p.addr, answerLimit)
	if err != nil {
		t.Fatalf("%s: %v", p.name, err)
	}
	p.conn, p.in = c, bufio.NewReader(c)
}

func (p *peer) hangUp() {
	if p.conn != nil {
		p.conn.Close()
		p.conn = nil
	}
}

// ask sends the request and reads its answer.
func (p *peer) ask(t testing.TB, req kmsg.Request, clientID string) answer {
	t.Helper()
	p.dial(t)
	frame := p.encode(req, clientID)
	p.conn.SetDeadline(time.Now().Add(answerLimit))
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
		if _, closed := p.read(t, probe, p.corr); closed {
			return answer{closed: true}
		}
		return answer{silent: true}
	}
	resp, closed := p.read(t, req, corr)
	if !closed {
		replaceIDs(reflect.ValueOf(resp), p.symbol)
	}
	return answer{closed: closed, resp: resp}
}

func (p *peer) read(t testing.TB, req kmsg.Request, corr int32) (kmsg.Response, bool) {
	t.Helper()
	var head [8]byte
	if _, err := io.ReadFull(p.in, head[:]); err != nil {
		p.hangUp()
		var slow net.Error
		if errors.As(err, &slow) && slow.Timeout() {
			t.Errorf("%s doesn't answer %T v%d", p.name, req, req.GetVersion())
		}
		return nil, true
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
	if req.IsFlexible() && req.Key() != 18 {
		if body[0] != 0 {
			t.Fatalf("%s answers %T with header tags", p.name, req)
		}
		body = body[1:]
	}
	if err := resp.ReadFrom(body); err != nil {
		t.Fatalf("%s: answer to %T v%d: %v", p.name, req, req.GetVersion(), err)
	}
	return resp, false
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
	a := p.ask(t, req, "setup")
	if a.closed {
		t.Fatalf("%s closed the connection on %s v%d", p.name, fmt.Sprintf("%T", req), req.GetVersion())
	}
	return a.resp.(R)
}
