// Command raftwal looks at the directory of a write-ahead log, as package wal keeps it: is it sound, what does it hold,
// how does it end? It reads and changes nothing; it never repairs. What is a torn write and what is damage is decided
// by the code with which a server opens its log.
//
//	go run ./cmd/raftwal DIR                     verify: a summary, and all damage
//	go run ./cmd/raftwal -dump DIR               every record as well, with every entry
//	go run ./cmd/raftwal -snapshot NAME DIR      the bytes of a stored snapshot, to the standard output
//
// The exit code says what came of it:
//
//	0  the log is sound; a torn write at its end, which nobody was told is stored, is no damage
//	1  something is damaged; whether a server would start nevertheless is said
//	2  the command line is wrong
//	3  it couldn't be looked at: there is no log, it is in use, it can't be read, or a newer version wrote it
//
// A log that a server has open is refused: what is being written can't be told from what is damaged. A copy
// of such a directory has the same flaw, unless the file system made it in one moment. While raftwal
// reads a log, no server can open it.
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

// Exit codes.
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
	data := flags.Int("data", 32, "how many bytes of each command to print (with -dump)")
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

// inspect prints what is in the log.
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

// copySnapshot writes the bytes of a snapshot, each block checked before it is written.
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
