// Command tidemark is the broker, the controller and their tools in one binary.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	"tidemark/internal/cli"
)

func main() {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	signals := make(chan struct{}, 2)
	sig := make(chan os.Signal, 2)
	signal.Notify(sig, syscall.SIGINT, syscall.SIGTERM)
	go func() {
		for range sig {
			select {
			case signals <- struct{}{}:
			default:
			}
		}
	}()
	self, err := os.Executable()
	if err != nil {
		self = os.Args[0]
	}
	env := cli.Env{Out: os.Stdout, Err: os.Stderr, In: os.Stdin, Environ: os.Environ(), Self: self, Signals: signals}
	os.Exit(cli.ExitCode(cli.Execute(ctx, env, os.Args[1:])))
}
