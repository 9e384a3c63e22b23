// Command mutants puts wrong rules into a copy of the code, one at a time, and
// tells which test notices each: first the simulator, then the packages' own
// tests. It prints a Markdown table, and fails if a mutation survives.
//
//	go run ./test/mutants                        # all, 100 seeds each
//	go run ./test/mutants -only ack,truncate     # those whose name contains a part
//	go run ./test/mutants -seeds 1000 -md FILE   # also writes the table to FILE
//
// It is not a generator of mutations: each one in table.txt is a rule that
// somebody could get wrong.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"
)

func main() {
	only := flag.String("only", "", "comma-separated parts of names; all mutations if empty")
	seeds := flag.Int("seeds", 100, "schedules of the simulator per mutation")
	md := flag.String("md", "", "a file to write the table to")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, *only, *seeds, *md)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "mutants:", err)
		os.Exit(1)
	}
}

var errSurvived = errors.New("survived")

func run(ctx context.Context, only string, seeds int, md string) error {
	all, err := parseTable(tableText)
	if err != nil {
		return err
	}
	chosen := choose(all, only)
	if len(chosen) == 0 {
		return fmt.Errorf("no mutation is called %q", only)
	}
	for _, m := range chosen { // before minutes are spent
		if _, _, err := m.mutate("."); err != nil {
			return err
		}
	}
	b, err := newBench(ctx, seeds)
	if err != nil {
		return err
	}
	defer b.close()
	var out strings.Builder
	out.WriteString("| mutation | the rule | noticed by | first words |\n| --- | --- | --- | --- |\n")
	var survivors []string
	for i, m := range chosen {
		v, err := b.try(m)
		if err != nil {
			fmt.Print(out.String()) // what was found so far
			return err
		}
		if v.by == "" {
			survivors = append(survivors, m.name)
			v.by = "**nothing**"
		}
		fmt.Fprintf(os.Stderr, "%d/%d %s: %s: %s\n", i+1, len(chosen), m.name, v.by, v.event)
		fmt.Fprintf(&out, "| %s%s | %s | %s | %s |\n", m.name, map[bool]string{true: " †"}[m.late], m.rule, v.by, cell(v.event))
	}
	fmt.Print(out.String())
	if md != "" {
		if err := os.WriteFile(md, []byte(out.String()), 0o644); err != nil {
			return err
		}
	}
	if survivors != nil {
		return fmt.Errorf("%d of %d %w: %s", len(survivors), len(chosen), errSurvived, strings.Join(survivors, ", "))
	}
	return nil
}

func choose(all []mutation, only string) []mutation {
	if only == "" {
		return all
	}
	var some []mutation
	for _, m := range all {
		for part := range strings.SplitSeq(only, ",") {
			if part != "" && strings.Contains(m.name, part) {
				some = append(some, m)
				break
			}
		}
	}
	return some
}

// cell makes a line of output fit into a table.
func cell(s string) string {
	const most = 110
	s = strings.Join(strings.Fields(strings.NewReplacer("|", "/", "<", "‹", ">", "›", "`", "'").Replace(s)), " ")
	if r := []rune(s); len(r) > most {
		s = string(r[:most]) + "…"
	}
	return s
}
