// Command raftwal looks at the directory of a write-ahead log of package wal. It says whether the
// log is sound, what it holds, and how it ends. It only reads; it changes and repairs nothing. The
// code with which a server opens its log decides what is a torn write and what is damage.
//
//	go run ./cmd/raftwal DIR                     verify: print a summary, and all damage
//	go run ./cmd/raftwal DIR DIR…                verify the logs of several servers of one cluster, and say
//	                                             of all that is lost which of the others have it
//	go run ./cmd/raftwal -dump DIR               print every record as well, with every entry
//	go run ./cmd/raftwal -snapshot NAME DIR      write the bytes of a stored snapshot to the standard output
//
// The exit code tells the outcome:
//
//	0  the logs are sound, or what was lost has been repaired since; a torn write at the end is no damage,
//	   since nobody was told that it is stored
//	1  something is damaged; the output says whether a server would start nevertheless, and which entries
//	   other servers must give it then. Of several logs: the others have all that is lost
//	2  the command line is wrong, or the logs aren't those of different servers of one cluster
//	3  a log couldn't be looked at: there is none, it is in use, it can't be read, or a newer version wrote it
//	4  of several logs: something that a server needs is in none of them, or a server would start with
//	   none of them
//
// A log with which no server would start can't give anything. Its server gets an empty disk
// (raft.Node.Replace), as long as a majority of the others is there.
//
// A log that a server has open is refused: what is being written can't be told from what is
// damaged. A copy of such a directory has the same flaw, unless the file system made the copy in
// one moment. While raftwal reads a log, no server can open it.
package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os"

	"github.com/e17579a5/raft"
	"github.com/e17579a5/raft/recovery"
	"github.com/e17579a5/raft/wal"
)

// The exit codes
const (
	exitSound = iota
	exitDamaged
	exitUsage
	exitUnread
	exitNowhere
)

func main() { os.Exit(run(os.Args[1:], os.Stdout, os.Stderr)) }

// run does what the arguments say and returns the exit code.
func run(arguments []string, out, errs io.Writer) int {
	flags := flag.NewFlagSet("raftwal", flag.ContinueOnError)
	flags.SetOutput(errs)
	dump := flags.Bool("dump", false, "print every record")
	data := flags.Int("data", 32, "number of bytes of each command to print (with -dump)")
	snapshot := flags.String("snapshot", "", "write the bytes of the snapshot with this name to the standard output, and nothing else")
	if err := flags.Parse(arguments); errors.Is(err, flag.ErrHelp) {
		return exitSound
	} else if err != nil {
		return exitUsage
	}
	if flags.NArg() == 0 || flags.NArg() > 1 && (*dump || *snapshot != "") || *data < 0 || *dump && *snapshot != "" {
		fmt.Fprintln(errs, "usage: raftwal [-dump [-data N] | -snapshot NAME] DIR, or raftwal DIR DIR…")
		return exitUsage
	}
	if *snapshot != "" {
		return copySnapshot(flags.Arg(0), *snapshot, out, errs)
	}
	p := printer{out: out, records: *dump, data: *data}
	if flags.NArg() > 1 {
		return together(flags.Args(), p, errs)
	}
	_, code := inspect(flags.Arg(0), p, errs)
	return code
}

// together prints what is in several logs, and what they have together.
func together(dirs []string, p printer, errs io.Writer) int {
	var found []raft.Saved
	worst := exitSound
	for _, dir := range dirs {
		p.printf("%s\n", dir)
		report, code := inspect(dir, p, errs)
		if code == exitUnread {
			return code
		}
		worst = max(worst, code)
		if report.Err == nil {
			found = append(found, report.Saved)
		}
		p.printf("\n")
	}
	losses, err := recovery.Survey(found...)
	if err != nil {
		fmt.Fprintln(errs, "raftwal:", err)
		return exitUsage
	}
	nowhere := len(found) == 0
	for i := range losses {
		p.printf("%s\n", losses[i].String())
		nowhere = nowhere || losses[i].Nowhere()
	}
	switch {
	case nowhere:
		worst = exitNowhere
		p.printf("TOGETHER: something that a server needs is in none of these logs\n")
	case worst == exitDamaged:
		p.printf("together: these logs have all that is lost in one of them\n")
	default:
		p.printf("together: nothing is lost\n")
	}
	if p.err != nil {
		fmt.Fprintln(errs, "raftwal:", p.err)
		return exitUnread
	}
	return worst
}

// inspect prints what is in a log.
func inspect(dir string, p printer, errs io.Writer) (wal.Report, int) {
	var visit func(*wal.Record) error
	if p.records {
		visit = p.record
	}
	report, err := wal.Inspect(dir, wal.Options{}, visit)
	if err == nil {
		err = p.report(&report)
	}
	switch {
	case errors.Is(err, raft.ErrLocked):
		fmt.Fprintln(errs, "raftwal:", err, "(a server has it open: what is being written can't be told from what is damaged)")
		return report, exitUnread
	case err != nil:
		fmt.Fprintln(errs, "raftwal:", err)
		return report, exitUnread
	case len(report.Damage) > 0 && !report.Repaired:
		return report, exitDamaged
	}
	return report, exitSound
}

// copySnapshot writes the bytes of a snapshot. It checks each block before it writes it.
func copySnapshot(dir, name string, out, errs io.Writer) int {
	_, err := wal.ReadSnapshot(out, dir, name, wal.Options{})
	if err == nil {
		return exitSound
	}
	fmt.Fprintln(errs, "raftwal:", err)
	if errors.Is(err, raft.ErrCorrupt) {
		return exitDamaged
	}
	return exitUnread
}
