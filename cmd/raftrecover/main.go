// Command raftrecover makes the server with a given write-ahead log a cluster of its own. It is the
// last resort when a majority of the server's cluster is lost for good, or when the bytes of an entry
// are lost on all disks. It says what may be lost by that. All servers must be stopped.
//
//	go run ./cmd/raftrecover DIR                                        say what there is, and change nothing
//	go run ./cmd/raftrecover DIR DIR…                                   of several survivors: say what they have together, and
//	                                                                    which one to recover; change nothing
//	go run ./cmd/raftrecover -address HOST:PORT -cluster ID DIR [DIR…]  recover the first one; the other forms print ID
//	go run ./cmd/raftrecover -address … -cluster … -cut N DIR [DIR…]    the same, and cut its log after entry N: the second
//	                                                                    form says where it must be cut, and what that loses
//
// Name every survivor, the one to recover first. From the others comes what its disk has lost. Then
// start it, start the others on empty disks, and add them to it. The documentation of package
// recovery has the whole procedure.
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

func main() {
	if err := run(os.Args[1:], os.Stdout); err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "raftrecover:", err)
		os.Exit(1)
	}
}

// run does what the arguments say.
func run(arguments []string, out io.Writer) (err error) {
	flags := flag.NewFlagSet("raftrecover", flag.ContinueOnError)
	flags.SetOutput(out)
	address := flags.String("address", "", "the address at which the server will be reached, `host:port`")
	cluster := flags.String("cluster", "", "the `ID` of the cluster that has lost its majority; the log must belong to it")
	cut := flags.Uint64("cut", 0, "the index of the last `entry` that stays, if what was in the next one is nowhere")
	if err := flags.Parse(arguments); err != nil {
		return err
	}
	if flags.NArg() == 0 || (*address == "") != (*cluster == "") || *cut != 0 && *cluster == "" {
		return errors.New("usage: raftrecover [-address HOST:PORT -cluster ID [-cut N]] DIR [DIR…]")
	}
	var survivors []raft.Saved
	for _, dir := range flags.Args() {
		saved, err := inspect(dir)
		if err != nil {
			return err
		}
		survivors = append(survivors, saved)
	}
	if *cluster != "" {
		if found := survivors[0].State.Cluster; found.String() != *cluster {
			return fmt.Errorf("%s belongs to cluster %v, not to %s", flags.Arg(0), found, *cluster)
		}
		found, err := recoverCluster(flags.Args(), *address, raft.Index(*cut))
		if err != nil {
			return err
		}
		_, err = io.WriteString(out, found.String())
		return err
	}
	return tell(survivors, out)
}

// tell says what there is.
func tell(survivors []raft.Saved, out io.Writer) error {
	if len(survivors) == 1 {
		found, err := recovery.Inspect(inspected{saved: survivors[0]})
		if err != nil {
			return err
		}
		if _, err = io.WriteString(out, found.String()); err != nil || len(found.Lost) == 0 {
			return err
		}
	}
	plan, err := recovery.NewPlan(survivors...)
	if err != nil {
		return err
	}
	text := plan.String()
	if len(survivors) == 1 { // what it holds was said
		text = text[len(plan.Reports[0].String()):]
	}
	_, err = io.WriteString(out, text)
	return err
}

// An inspected is the storage of a log that was only read. It can do nothing but Load.
type inspected struct {
	raft.Storage
	saved raft.Saved
}

// Load implements raft.Storage.
func (s inspected) Load() (raft.Saved, error) { return s.saved, nil }

// inspect says what is in a log. It doesn't open the log as a server does, because that would write
// to it and repair it.
func inspect(dir string) (raft.Saved, error) {
	report, err := wal.Inspect(dir, wal.Options{}, nil)
	if err == nil {
		err = report.Err
	}
	return report.Saved, err
}

// recoverCluster recovers the cluster with the server in the first directory.
func recoverCluster(dirs []string, address string, cut raft.Index) (found recovery.Report, err error) {
	var storages []raft.Storage
	defer func() {
		for _, s := range storages {
			err = errors.Join(err, s.Close())
		}
	}()
	for _, dir := range dirs {
		storage, err := wal.Open(dir, wal.Options{})
		if err != nil {
			return found, err
		}
		storages = append(storages, storage)
	}
	return recovery.RecoverTogether(storages[0], address, cut, storages[1:]...)
}
