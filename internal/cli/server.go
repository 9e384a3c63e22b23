package cli

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"tidemark/internal/config"
	"tidemark/internal/node"
)

type serverFlags struct {
	overrides, ignore []string
	logFormat         string
}

func newServer(env Env) *cobra.Command {
	var f serverFlags
	c := &cobra.Command{
		Use:   "server FILE",
		Short: "Run a broker, a controller, or both from a Kafka server.properties",
		Long: "Run a node from an ordinary Kafka server.properties. Settings from the environment\n" +
			"(KAFKA_NODE_ID for node.id, as in Apache's container image) beat the file, --override beats both.\n" +
			"With CLUSTER_ID in the environment an unformatted directory is formatted first.",
		Args: exactArgs(1, "one server.properties file"),
		RunE: func(cmd *cobra.Command, args []string) error { return runServer(cmd.Context(), env, args[0], f) },
	}
	c.Flags().StringArrayVar(&f.overrides, "override", nil, "key=value that beats file and environment; may be repeated")
	c.Flags().StringArrayVar(&f.ignore, "ignore-unsupported", nil, "start in spite of this protective setting that is not supported yet; may be repeated")
	c.Flags().StringVar(&f.logFormat, "log-format", "kafka", "log lines: kafka, text or json")
	return c
}

// loadConfig reads and checks a server.properties with everything on top of it.
func loadConfig(env Env, file string, overrides, ignore []string) (*config.Config, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	c, err := config.Load(config.Source{Name: filepath.Base(file), Text: string(text), Environ: env.Environ, Overrides: overrides, IgnoreUnsupported: ignore})
	if err != nil {
		return nil, fmt.Errorf("%s:\n%w", file, err)
	}
	return c, nil
}

func runServer(ctx context.Context, env Env, file string, f serverFlags) error {
	cfg, err := loadConfig(env, file, f.overrides, f.ignore)
	if err != nil {
		return err
	}
	log, err := newLogger(env, f.logFormat)
	if err != nil {
		return err
	}
	for _, w := range cfg.Warnings {
		log.Warn(w)
	}
	v, _ := Version()
	opt := node.Options{Config: cfg, Log: log, Version: v, ConfigFile: file, ClusterID: lookupEnv(env.Environ, "CLUSTER_ID")}
	n, err := node.Start(ctx, opt)
	if err != nil {
		return err
	}
	select {
	case <-env.Signals:
	case err := <-n.Failed():
		log.Error("stopping after a fatal error", "err", err)
		n.Kill()
		return err
	}
	return stopNode(env, n, log)
}

// stopNode stops in order; a second signal forces.
func stopNode(env Env, n *node.Node, log *slog.Logger) error {
	done := make(chan error, 1)
	go func() { done <- n.Stop() }()
	select {
	case err := <-done:
		return err
	case <-env.Signals:
		log.Warn("second signal: stopping at once, the next start will recover")
		return errors.New("forced to stop before the logs were closed")
	}
}

func lookupEnv(environ []string, name string) string {
	for i := len(environ) - 1; i >= 0; i-- {
		if k := len(name); len(environ[i]) > k && environ[i][k] == '=' && environ[i][:k] == name {
			return environ[i][k+1:]
		}
	}
	return ""
}
