package main

import (
	"fmt"
	"io"
	"os"
	"text/tabwriter"
	"time"

	"github.com/e17579a5/raft/admin"
)

// top prints what all servers know, again and again.
func top(c *call) int {
	var s cluster
	flags := c.flags()
	s.flags(flags)
	every := flags.Duration("every", time.Second, "how often to ask")
	count := flags.Int("n", 0, "how often to print; 0 stands for no end")
	if _, code, ok := c.parse(flags, 0, 0); !ok {
		return code
	}
	if *every < 10*time.Millisecond || *count < 0 {
		return c.usage("-every must be at least 10ms, and -n not negative")
	}
	if err := s.connect(); err != nil {
		return c.usage("%v", err)
	}
	clear := ""
	if isTerminal(c.out.to) && !c.json {
		clear = "\x1b[H\x1b[2J"
	}
	ticker := time.NewTicker(*every)
	defer ticker.Stop()
	var before []view
	var asked time.Time
	code := exitWell
	for n := 1; ; n++ {
		now := time.Now()
		views := s.look(c.ctx)
		many := haveManyGroups(views) && s.group == ""
		var hosts hostReport
		if many {
			hosts = s.lookAtHosts(c.ctx, min(*every, admin.MaxOver))
		}
		if c.ctx.Err() != nil {
			return c.end(exitWell) // somebody has had enough
		}
		c.printf("%s", clear)
		if r := reportOf(views); many {
			code = c.show(&hosts)
		} else if code = c.show(&r); before != nil && !c.json {
			printRates(c.out, before, views, now.Sub(asked))
		}
		if c.out.err != nil || n == *count {
			return c.end(code)
		}
		before, asked = views, now
		select {
		case <-ticker.C:
		case <-c.ctx.Done():
			return c.end(exitWell)
		}
	}
}

// isTerminal says whether somebody looks at the output while it comes.
func isTerminal(out io.Writer) bool {
	file, ok := out.(*os.File)
	if !ok {
		return false
	}
	is, err := file.Stat()
	return err == nil && is.Mode()&os.ModeCharDevice != 0
}

// printRates prints how many entries a second each server has stored, committed and applied since it
// was asked before, and what it has to do.
func printRates(to io.Writer, before, now []view, elapsed time.Duration) {
	table := tabwriter.NewWriter(to, 0, 8, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(table, "SERVER\tSTORED/s\tCOMMITTED/s\tAPPLIED/s\tUNAPPLIED\tCOMMANDS\tREADS\tCALLS\tDISK\tMACHINE\t")
	rate := func(from, to uint64) string {
		if to < from || elapsed <= 0 { // another log, after a start
			return "-"
		}
		return fmt.Sprintf("%.0f", float64(to-from)/elapsed.Seconds())
	}
	for i := range now {
		is, was := &now[i].status, &before[i].status
		if now[i].err != nil {
			continue
		}
		stored, committed, applied := "-", "-", "-"
		if before[i].err == nil {
			stored, committed = rate(uint64(was.Stable), uint64(is.Stable)), rate(uint64(was.Commit), uint64(is.Commit))
			applied = rate(uint64(was.Applied), uint64(is.Applied))
		}
		fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%d\t%d\t%d\t%d\t%d\t%d\t\n", is.ID, stored, committed, applied, is.Commit-is.Applied,
			is.Pending.Commands, is.Pending.Reads, is.Pending.Calls, is.Disk.Pending, is.Machine.Pending)
	}
	_ = table.Flush() // to keeps its first error
}
