package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/e17579a5/raft"
	"github.com/e17579a5/raft/recovery"
	"github.com/e17579a5/raft/wal"
	"github.com/e17579a5/raft/wal/vfs"
	"github.com/e17579a5/raft/wire"
)

// The documentation of package recovery has the whole procedure. All servers must be stopped.

// markName is the name of a file in the folder of a survivor that was given up: another survivor was
// made a cluster of its own. While it is there, its log takes part in no recovery: a second one would
// make a second cluster of the same past.
const markName = "GIVEN-UP"

// A mark is the content of that file: which recovery it was.
type mark struct {
	Cluster string        `json:"cluster"` // the one that was lost
	Server  raft.ServerID `json:"server"`  // that was recovered
	Cut     raft.Index    `json:"cut"`
}

// A survivor is the log of a server that is there still.
type survivor struct {
	dir   string
	saved raft.Saved
	mark  *mark // nil if there is none
}

// A recoveryPlan is what raft recover plan prints as JSON.
type recoveryPlan struct {
	Cluster string        `json:"cluster"`
	Server  raft.ServerID `json:"server"` // to recover
	Dir     string        `json:"dir"`
	Address string        `json:"address"`
	Last    raft.Index    `json:"last"` // where its log ends
	Cut     raft.Index    `json:"cut,omitempty"`
	// SnapshotOf is the survivor whose snapshot takes the place of the server's own.
	SnapshotOf raft.ServerID `json:"snapshot_of,omitempty"`
	Losses     []string      `json:"losses,omitempty"`
	Text       string        `json:"text"`
	Apply      []string      `json:"apply"` // the command that does it
}

// recoverPlan says which of the survivors to recover, and what may be lost.
func recoverPlan(c *call) int {
	flags := c.flags()
	dirs, code, ok := c.parse(flags, 1, math.MaxInt)
	if !ok {
		return code
	}
	survivors, code, err := c.survivors(dirs, "")
	if err != nil {
		return c.fail(code, err)
	}
	for i := range survivors {
		if m := survivors[i].mark; m != nil {
			return c.fail(exitNot, survivors[i].givenUp())
		}
	}
	plan, best, err := planOf(survivors)
	if err != nil {
		return c.fail(exitNot, err)
	}
	p := recoveryPlan{
		Cluster: plan.Reports[0].Cluster.String(), Server: plan.Best, Dir: survivors[best].dir,
		Last: plan.Last, Cut: plan.Cut, SnapshotOf: plan.SnapshotOf, Text: plan.String(), Address: addressOf(&plan, best),
	}
	for i := range plan.Losses {
		p.Losses = append(p.Losses, plan.Losses[i].String())
	}
	p.Apply = []string{"raft", "recover", "apply", "-cluster", p.Cluster, "-address", p.Address}
	if p.Cut != 0 {
		p.Apply = append(p.Apply, "-cut", fmt.Sprint(p.Cut))
	}
	p.Apply = append(p.Apply, dirs...)
	if c.json {
		c.printJSON(p)
	} else {
		c.printf("%sif the others are lost for good, and all servers are stopped:\n  %s\n", p.Text, shellLine(p.Apply))
	}
	return c.end(exitWell)
}

// recoverApply makes the best survivor a cluster of its own.
func recoverApply(c *call) int {
	flags := c.flags()
	cluster := flags.String("cluster", "", "the `ID` of the cluster that has lost its majority, as raft recover plan says it")
	address := flags.String("address", "", "the address at which the server will be reached, `host:port` (default: where it was)")
	cut := flags.Uint64("cut", 0, "the index of the last `entry` that stays, if what was in the next one is nowhere")
	dirs, code, ok := c.parse(flags, 1, math.MaxInt)
	if !ok {
		return code
	}
	if *cluster == "" {
		return c.usage("no -cluster: raft recover plan says which")
	}
	survivors, code, err := c.survivors(dirs, *cluster)
	if err != nil {
		return c.fail(code, err)
	}
	plan, best, err := planOf(survivors)
	if err != nil {
		return c.fail(exitNot, err)
	}
	this := mark{*cluster, plan.Best, raft.Index(*cut)}
	for i := range survivors {
		if m := survivors[i].mark; m != nil && (*m != this || i == best) {
			return c.fail(exitNot, survivors[i].givenUp())
		}
	}
	if *address == "" {
		*address = addressOf(&plan, best)
	}
	found, err := apply(survivors, best, *address, this, plan.Cut)
	if err != nil {
		return c.fail(exitNot, err)
	}
	if c.json {
		c.printJSON(struct {
			Server    raft.ServerID `json:"server"`
			Address   string        `json:"address"`
			Cluster   string        `json:"cluster"`
			Recovered string        `json:"recovered_from"`
			Record    raft.Index    `json:"record"`
		}{found.Server, *address, found.Recovered.String(), found.Cluster.String(), found.Record})
		return c.end(exitWell)
	}
	c.printf("%sstart server %s, which is reached at %s\n", found.String(), found.Server, *address)
	for i := range survivors {
		if i != best {
			id := survivors[i].saved.State.Server
			c.printf("empty %s, start server %s without a list of servers, and add it: raft add %s=ADDRESS\n", survivors[i].dir, id, id)
		}
	}
	return c.end(exitWell)
}

// survivors reads the logs in directories. If cluster isn't "", they must belong to it. The code is
// that of the error.
func (c *call) survivors(dirs []string, cluster string) (all []survivor, code int, err error) {
	for _, dir := range dirs {
		// The log isn't opened as a server does, because that would write to it and repair it.
		report, err := wal.Inspect(dir, wal.Options{}, nil)
		if err != nil {
			return nil, exitUntold, err
		}
		if report.Err != nil {
			return nil, exitNot, report.Err
		}
		s := survivor{dir: dir, saved: report.Saved}
		if s.mark, err = readMark(dir); err != nil {
			return nil, exitUntold, err
		}
		if found := s.saved.State.Cluster.String(); cluster != "" && found != cluster {
			return nil, exitNot, fmt.Errorf("%s belongs to cluster %s, not to %s%s", dir, found, cluster, s.before())
		}
		all = append(all, s)
	}
	return all, exitWell, nil
}

// before says of which cluster a log was before it was recovered; "" if it wasn't, or if the log
// doesn't go back so far any more.
func (s *survivor) before() string {
	configurations := []raft.Configuration{s.saved.Snapshot.Configuration}
	for i := range s.saved.Configurations {
		if c, err := wire.DecodeConfiguration(s.saved.Configurations[i].Data); err == nil {
			configurations = append(configurations, c)
		}
	}
	for i := range configurations {
		if from := configurations[i].Recovered; from != (raft.ClusterID{}) {
			return fmt.Sprintf(": it was recovered from cluster %v already", from)
		}
	}
	return ""
}

// givenUp is the error for a log that has had its recovery.
func (s *survivor) givenUp() error {
	return fmt.Errorf("%s was given up when server %s of cluster %s was recovered: a second recovery would make a second cluster. "+
		"If the first one has failed before its end, run it again as it was; if it is to be forgotten, remove %s",
		s.dir, s.mark.Server, s.mark.Cluster, filepath.Join(s.dir, markName))
}

// planOf compares the survivors. It returns which of them to recover.
func planOf(survivors []survivor) (plan recovery.Plan, best int, err error) {
	var saved []raft.Saved
	for i := range survivors {
		saved = append(saved, survivors[i].saved)
	}
	if plan, err = recovery.NewPlan(saved...); err != nil {
		return plan, 0, err
	}
	return plan, slices.IndexFunc(survivors, func(s survivor) bool { return s.saved.State.Server == plan.Best }), nil
}

// addressOf returns where the cluster knew the server that is to be recovered.
func addressOf(plan *recovery.Plan, best int) string {
	if member := plan.Reports[best].Configuration.Member(plan.Best); member != nil {
		return member.Address
	}
	return ""
}

// apply recovers the best survivor, and marks the others before. Nothing is marked if the cut isn't
// the one that the plan demands: then RecoverTogether says so, and writes nothing.
func apply(survivors []survivor, best int, address string, this mark, demanded raft.Index) (found recovery.Report, err error) {
	var storages []raft.Storage
	defer func() {
		for _, s := range storages {
			err = errors.Join(err, s.Close())
		}
	}()
	order := slices.Concat(survivors[best:best+1], survivors[:best], survivors[best+1:])
	for i := range order {
		storage, err := wal.Open(order[i].dir, wal.Options{})
		if err != nil {
			return found, err
		}
		storages = append(storages, storage)
	}
	if this.Cut == demanded {
		for i := range order[1:] {
			if err := writeMark(order[1+i].dir, this); err != nil {
				return found, err
			}
		}
	}
	return recovery.RecoverTogether(storages[0], address, this.Cut, storages[1:]...)
}

// readMark reads the mark in a directory; nil if there is none.
func readMark(dir string) (*mark, error) {
	name := filepath.Join(dir, markName)
	text, err := os.ReadFile(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	var m mark
	if err == nil {
		err = json.Unmarshal(text, &m)
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return &m, nil
}

// writeMark writes the mark into a directory, and returns when it is on the disk.
func writeMark(dir string, m mark) error {
	text, err := json.Marshal(m)
	if err != nil {
		return err
	}
	partial, err := os.CreateTemp(dir, markName+"-*")
	if err != nil {
		return err
	}
	_, err = partial.Write(append(text, '\n'))
	if err == nil {
		err = partial.Sync()
	}
	if err = errors.Join(err, partial.Close()); err == nil {
		err = os.Rename(partial.Name(), filepath.Join(dir, markName))
	}
	if err != nil {
		return errors.Join(err, os.Remove(partial.Name()))
	}
	return syncFolder(dir)
}

// syncFolder makes the names in a folder durable.
func syncFolder(dir string) error { return vfs.OS.SyncDir(dir) }

// shellLine returns a command line for a shell.
func shellLine(words []string) string {
	quoted := make([]string, len(words))
	for i, word := range words {
		if quoted[i] = word; word == "" || strings.ContainsFunc(word, func(r rune) bool {
			return !strings.ContainsRune("%+,-./:=@_", r) && (r < '0' || r > '9') && (r < 'A' || r > 'Z') && (r < 'a' || r > 'z')
		}) {
			quoted[i] = "'" + strings.ReplaceAll(word, "'", `'\''`) + "'"
		}
	}
	return strings.Join(quoted, " ")
}
