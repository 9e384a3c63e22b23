package admin

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/pprof"
	"strings"
	"syscall"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Source is what the node tells the HTTP side. Implementations are safe for
// concurrent use and never block longer than the context allows.
type Source interface {
	State(ctx context.Context) State
	Checks() []Check
	BrokerState() int
	Recovery() (logs, segments int) // left to recover while the broker state is 2
	// Numbers are those of this node alone; groups says whether those of consumer
	// groups are wanted, which may cost a question to other brokers.
	Numbers(ctx context.Context, groups bool) *Numbers
}

// NewHandler serves every path of the package comment. process are metrics of the
// process itself.
func NewHandler(src Source, process prometheus.Gatherer, page http.Handler) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /livez", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "ok") })
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, r *http.Request) { readyz(w, r, src.Checks()) })
	mux.HandleFunc("GET /v1/state", func(w http.ResponseWriter, r *http.Request) { writeJSON(w, src.State(r.Context())) })
	mux.HandleFunc("GET /v1/events", func(w http.ResponseWriter, r *http.Request) { writeJSON(w, src.State(r.Context()).Events) })
	mux.HandleFunc("GET /v1/broker-state", func(w http.ResponseWriter, _ *http.Request) { brokerState(w, src) })
	mux.HandleFunc("GET /v1/ready", func(w http.ResponseWriter, _ *http.Request) {
		if src.BrokerState() != brokerRunning {
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		w.WriteHeader(http.StatusNoContent)
	})
	// The runtime's own profiles, for whoever may reach this listener: it is
	// loopback only unless configured otherwise.
	mux.HandleFunc("GET /debug/pprof/", pprof.Index)
	mux.HandleFunc("GET /debug/pprof/profile", pprof.Profile)
	mux.HandleFunc("GET /debug/pprof/trace", pprof.Trace)
	m := &metricsHandler{src: src, process: process, windows: newWindows()}
	mux.HandleFunc("GET /metrics", m.all)
	mux.HandleFunc("GET /metrics/kafka", m.style)
	mux.Handle("GET /", page)
	return mux
}

const brokerRunning = 3

func readyz(w http.ResponseWriter, r *http.Request, checks []Check) {
	ok := true
	var b strings.Builder
	for _, c := range checks {
		mark := "+"
		if !c.OK {
			ok, mark = false, "-"
		}
		fmt.Fprintf(&b, "[%s] %s", mark, c.Name)
		if c.Reason != "" {
			fmt.Fprintf(&b, ": %s", c.Reason)
		}
		b.WriteByte('\n')
	}
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	if !ok {
		w.WriteHeader(http.StatusServiceUnavailable)
	}
	if _, verbose := r.URL.Query()["verbose"]; verbose || !ok {
		fmt.Fprint(w, b.String())
	}
	if ok {
		fmt.Fprintln(w, "ready")
	} else {
		fmt.Fprintln(w, "not ready")
	}
}

func brokerState(w http.ResponseWriter, src Source) {
	state := src.BrokerState()
	out := map[string]any{"brokerState": state}
	if state == 2 {
		logs, segments := src.Recovery()
		out["recoveryState"] = map[string]int{"remainingLogsToRecover": logs, "remainingSegmentsToRecover": segments}
	}
	writeJSON(w, out)
}

func writeJSON(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	_ = json.NewEncoder(w).Encode(v) // the reader went away: nothing to tell it
}

// lastDefaultPort is where the search for a free port ends when the default one is busy.
const lastDefaultPort = 9699

// Listen opens the HTTP listener. A busy configured address is an error; a busy
// default moves to the next free port, up to 9699, and moved is true.
func Listen(addr string, configured bool) (l net.Listener, moved bool, err error) {
	l, err = net.Listen("tcp", addr)
	if err == nil || configured || !errors.Is(err, syscall.EADDRINUSE) {
		return l, false, err
	}
	host, port, _ := net.SplitHostPort(addr)
	var first int
	if _, err := fmt.Sscanf(port, "%d", &first); err != nil {
		return nil, false, err
	}
	for p := first + 1; p <= lastDefaultPort; p++ {
		if l, err := net.Listen("tcp", net.JoinHostPort(host, fmt.Sprint(p))); err == nil {
			return l, true, nil
		}
	}
	return nil, false, fmt.Errorf("every port from %d to %d is in use: %w", first, lastDefaultPort, err)
}

// Server wraps h with the time limits of a server that strangers can reach.
func Server(h http.Handler) *http.Server {
	return &http.Server{Handler: h, ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 10 * time.Second, IdleTimeout: time.Minute, MaxHeaderBytes: 64 << 10}
}
