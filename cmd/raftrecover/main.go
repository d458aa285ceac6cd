// Command raftrecover makes the server with a given write-ahead log a cluster of its own. It is the
// last resort when a majority of the server's cluster is lost for good. It says what may be lost by
// that. All servers must be stopped.
//
//	go run ./cmd/raftrecover DIR                                        say what there is, and change nothing
//	go run ./cmd/raftrecover -address HOST:PORT -cluster ID DIR         recover; the first form prints ID
//
// Look at every survivor first. Recover the one whose log ends in the highest term, and among these
// the one whose log ends at the highest index. Then start the others on empty disks and add them to
// it. The documentation of package recovery has the whole procedure.
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
	if err := flags.Parse(arguments); err != nil {
		return err
	}
	if flags.NArg() != 1 || (*address == "") != (*cluster == "") {
		return errors.New("usage: raftrecover [-address HOST:PORT -cluster ID] DIR")
	}
	found, err := inspect(flags.Arg(0))
	if err != nil {
		return err
	}
	if *cluster != "" {
		if found.Cluster.String() != *cluster {
			return fmt.Errorf("%s belongs to cluster %v, not to %s", flags.Arg(0), found.Cluster, *cluster)
		}
		if found, err = recoverCluster(flags.Arg(0), *address); err != nil {
			return err
		}
	}
	_, err = io.WriteString(out, found.String())
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
func inspect(dir string) (recovery.Report, error) {
	report, err := wal.Inspect(dir, wal.Options{}, nil)
	if err == nil {
		err = report.Err
	}
	if err != nil {
		return recovery.Report{}, err
	}
	return recovery.Inspect(inspected{saved: report.Saved})
}

// recoverCluster recovers the cluster.
func recoverCluster(dir, address string) (found recovery.Report, err error) {
	storage, err := wal.Open(dir, wal.Options{})
	if err != nil {
		return found, err
	}
	defer func() { err = errors.Join(err, storage.Close()) }()
	return recovery.Recover(storage, address)
}
