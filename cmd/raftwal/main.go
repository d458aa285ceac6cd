// Command raftwal looks at the directory of a write-ahead log of package wal. It says whether the
// log is sound, what it holds, and how it ends. It only reads; it changes and repairs nothing. The
// code with which a server opens its log decides what is a torn write and what is damage.
//
//	go run ./cmd/raftwal DIR                     verify: print a summary, and all damage
//	go run ./cmd/raftwal -dump DIR               print every record as well, with every entry
//	go run ./cmd/raftwal -snapshot NAME DIR      write the bytes of a stored snapshot to the standard output
//
// The exit code tells the outcome:
//
//	0  the log is sound; a torn write at its end is no damage, since nobody was told that it is stored
//	1  something is damaged; the output says whether a server would start nevertheless, and which entries
//	   other servers must give it then
//	2  the command line is wrong
//	3  the log couldn't be looked at: there is none, it is in use, it can't be read, or a newer version wrote it
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
	"github.com/e17579a5/raft/wal"
)

// The exit codes
const (
	exitSound = iota
	exitDamaged
	exitUsage
	exitUnread
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
	if flags.NArg() != 1 || *data < 0 || *dump && *snapshot != "" {
		fmt.Fprintln(errs, "usage: raftwal [-dump [-data N] | -snapshot NAME] DIR")
		return exitUsage
	}
	if *snapshot != "" {
		return copySnapshot(flags.Arg(0), *snapshot, out, errs)
	}
	return inspect(flags.Arg(0), printer{out: out, records: *dump, data: *data}, errs)
}

// inspect prints what is in a log.
func inspect(dir string, p printer, errs io.Writer) int {
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
		return exitUnread
	case err != nil:
		fmt.Fprintln(errs, "raftwal:", err)
		return exitUnread
	case len(report.Damage) > 0:
		return exitDamaged
	}
	return exitSound
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
