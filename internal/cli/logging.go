package cli

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"sync"
)

func newLogger(env Env, format string) (*slog.Logger, error) {
	level := slog.LevelInfo
	if strings.EqualFold(lookupEnv(env.Environ, "KAFKA_LOG4J_ROOT_LOGLEVEL"), "DEBUG") {
		level = slog.LevelDebug
	}
	switch format {
	case "json":
		return slog.New(slog.NewJSONHandler(env.Out, &slog.HandlerOptions{Level: level})), nil
	case "text":
		return slog.New(slog.NewTextHandler(env.Out, &slog.HandlerOptions{Level: level})), nil
	case "kafka":
		return slog.New(&kafkaHandler{w: env.Out, level: level, mu: &sync.Mutex{}}), nil
	}
	return nil, UsageError{fmt.Errorf("--log-format %s: want kafka, text or json", format)}
}

// kafkaHandler prints lines in the shape of Kafka's log4j2 pattern
// "[%d] %p %m (%c)", which people's log pipelines already parse.
type kafkaHandler struct {
	w     io.Writer
	level slog.Level
	mu    *sync.Mutex
	attrs string
	name  string
}

// Enabled reports whether the level is logged.
func (h *kafkaHandler) Enabled(_ context.Context, l slog.Level) bool { return l >= h.level }

// Handle writes one line.
func (h *kafkaHandler) Handle(_ context.Context, r slog.Record) error {
	var b strings.Builder
	fmt.Fprintf(&b, "[%s] %s %s", r.Time.Format("2006-01-02 15:04:05,000"), r.Level, r.Message)
	b.WriteString(h.attrs)
	name := h.name
	r.Attrs(func(a slog.Attr) bool {
		if a.Key == "logger" {
			name = a.Value.String()
		} else {
			fmt.Fprintf(&b, " %s=%v", a.Key, a.Value)
		}
		return true
	})
	if name == "" {
		name = "tidemark"
	}
	fmt.Fprintf(&b, " (%s)\n", name)
	h.mu.Lock()
	defer h.mu.Unlock()
	_, err := io.WriteString(h.w, b.String())
	return err
}

// WithAttrs adds attributes to every line; "logger" becomes the line's logger.
func (h *kafkaHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	n := *h
	for _, a := range attrs {
		if a.Key == "logger" {
			n.name = a.Value.String()
			continue
		}
		n.attrs += fmt.Sprintf(" %s=%v", a.Key, a.Value)
	}
	return &n
}

// WithGroup keeps attributes flat, as Kafka's lines are.
func (h *kafkaHandler) WithGroup(string) slog.Handler { return h }
