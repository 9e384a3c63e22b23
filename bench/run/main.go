package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"time"

	"tidemark/bench/ceiling"
)

// options are the command line.
type options struct {
	systems, scenarios     []string
	rounds                 int
	warmup, measure, idle  time.Duration
	heat                   time.Duration // load that Apache Kafka gets before its first load scenario
	section                string        // of the page, beside the systems
	maxBytes               int64         // produced in one scenario, replicas not counted
	dir, binary, heap      string
	jsonFile, markdownFile string
	keep                   bool
}

func main() {
	if len(os.Args) > 1 && os.Args[1] == ceilingCommand {
		fatal(runCeilingNode(os.Args[2:]))
	}
	o, err := parse(os.Args[1:])
	if errors.Is(err, flag.ErrHelp) {
		return
	}
	if err != nil {
		fatal(err)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, o); err != nil {
		fatal(err)
	}
}

func fatal(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func parse(args []string) (options, error) {
	var o options
	var systems, chosen string
	var seconds, warmup, idle, heat float64
	var megabytes int64
	var list bool
	f := flag.NewFlagSet("bench", flag.ContinueOnError)
	f.StringVar(&systems, "systems", "tidemark,ceiling", "any of tidemark, kafka, ceiling, in the order of each round")
	f.StringVar(&chosen, "scenarios", "default", "names, separated by commas; default, all; see -list")
	f.IntVar(&o.rounds, "rounds", 3, "how often each system takes its turn")
	f.Float64Var(&seconds, "seconds", 5, "measuring window of a scenario")
	f.Float64Var(&warmup, "warmup", 2, "seconds of load before the window")
	f.Float64Var(&heat, "heat", 0, "seconds of mixed load that Apache Kafka gets before its first load scenario, for its compiler")
	f.Float64Var(&idle, "idle", 10, "seconds that the idle scenarios watch")
	f.Int64Var(&megabytes, "max-mb", 2000, "most that a scenario produces, in 10^6 bytes before replication; ends the window early")
	f.StringVar(&o.dir, "dir", "", "where data goes (default: /dev/shm, or the temporary directory without it)")
	f.StringVar(&o.binary, "binary", "bin/tidemark", "the tidemark binary")
	f.StringVar(&o.heap, "kafka-heap", "1G", "heap of each Apache Kafka node")
	f.StringVar(&o.jsonFile, "json", "", "write all results to this file")
	f.StringVar(&o.markdownFile, "md", "", "put the tables into this file, between its markers")
	f.StringVar(&o.section, "section", "", "a name for the tables in the page, to keep those of other runs (such as disk)")
	f.BoolVar(&o.keep, "keep", false, "keep data and logs")
	f.BoolVar(&list, "list", false, "list the scenarios and stop")
	if err := f.Parse(args); err != nil {
		return o, err
	}
	if list {
		for _, s := range scenarios() {
			fmt.Printf("%-20s %s\n", s.name, s.title)
		}
		return o, flag.ErrHelp
	}
	o.measure, o.warmup, o.idle, o.heat = duration(seconds), duration(warmup), duration(idle), duration(heat)
	o.maxBytes = megabytes * 1e6
	o.systems = strings.Split(systems, ",")
	var err error
	o.scenarios, err = choose(chosen)
	return o, err
}

func duration(seconds float64) time.Duration { return time.Duration(seconds * float64(time.Second)) }

// choose resolves the names and keeps the order of the list.
func choose(names string) ([]string, error) {
	var out []string
	want := strings.Split(names, ",")
	for _, s := range scenarios() {
		switch {
		case slices.Contains(want, s.name), slices.Contains(want, "all"), slices.Contains(want, "default") && !s.extra:
			out = append(out, s.name)
		}
		want = slices.DeleteFunc(want, func(w string) bool { return w == s.name })
	}
	want = slices.DeleteFunc(want, func(w string) bool { return w == "all" || w == "default" })
	if len(want) > 0 {
		return nil, fmt.Errorf("unknown scenarios %s; see -list", strings.Join(want, ", "))
	}
	return out, nil
}

func run(ctx context.Context, o options) error {
	base, note, err := dataDir(o)
	if err != nil {
		return err
	}
	if !o.keep {
		defer os.RemoveAll(base)
	}
	systems, err := newSystems(o)
	if err != nil {
		return err
	}
	rep := &report{Facts: facts(note, systems), Options: describe(o)}
	for _, f := range rep.Facts {
		fmt.Fprintf(os.Stderr, "%s: %s\n", f.Name, f.Value)
	}
	for round := 1; round <= o.rounds; round++ {
		for _, s := range systems {
			t := &turn{opt: o, round: round, system: s, report: rep, dir: fmt.Sprintf("%s/%s-%d", base, s.name(), round)}
			if err := t.run(ctx); err != nil {
				o.markdownFile = "" // an incomplete run is shown, not published
				return errors.Join(err, rep.write(o))
			}
		}
	}
	return rep.write(o)
}

const ceilingCommand = "ceiling-node"

// runCeilingNode is what the ceiling's processes run.
func runCeilingNode(args []string) error {
	var c ceiling.Config
	var addrs string
	f := flag.NewFlagSet(ceilingCommand, flag.ContinueOnError)
	f.IntVar(&c.ID, "id", 1, "")
	f.IntVar(&c.Partitions, "partitions", 1, "")
	f.IntVar(&c.RF, "rf", 1, "")
	f.StringVar(&addrs, "addrs", "", "")
	f.StringVar(&c.Dir, "dir", ".", "")
	if err := f.Parse(args); err != nil {
		return err
	}
	c.Addrs = strings.Split(addrs, ",")
	return ceiling.Run(c)
}
