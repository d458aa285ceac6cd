package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/e17579a5/raft"
	"github.com/e17579a5/raft/admin"
)

// An exported is what an export is, as raft export and raft verify print it.
type exported struct {
	File    string     `json:"file"`
	Server  string     `json:"server,omitempty"` // that it was taken from
	Cluster string     `json:"cluster"`
	Index   raft.Index `json:"index"`
	Term    raft.Term  `json:"term"`
	Bytes   uint64     `json:"bytes"`
}

// export writes a backup.
func export(c *call) int {
	var s cluster
	flags := c.flags()
	s.flags(flags)
	file := flags.String("o", "", "the `file` to write; there must be none yet")
	from := flags.String("from", "", "the `ID` of the server to take it from (default: one that doesn't lead, if one answers)")
	stall := flags.Duration("stall", 10*time.Minute, "for how long nothing may come before it is given up: a large state takes a while before its first byte")
	if _, code, ok := c.parse(flags, 0, 0); !ok {
		return code
	}
	if *file == "" {
		return c.usage("no file: name it with -o")
	}
	if *stall <= 0 {
		return c.usage("-stall %v: must be positive", *stall)
	}
	if err := s.connect(); err != nil {
		return c.usage("%v", err)
	}
	if _, err := os.Lstat(*file); err == nil {
		return c.fail(exitNot, fmt.Errorf("not done: there is a file %s already", *file))
	}
	views := s.look(c.ctx)
	able := candidates(views, "")
	if *from != "" {
		chosen, err := named(views, []string{*from})
		if err != nil {
			return c.fail(exitNot, errors.Join(fmt.Errorf("not done: %w", err), silence(views)))
		}
		able = []*admin.Client{chosen[0].client}
	} else if len(able) > 1 && leading(views) != nil { // the leader has enough to do
		able = append(able[1:], able[0])
	}
	if len(able) == 0 {
		return c.fail(exitNot, fmt.Errorf("not done: %w", silence(views)))
	}
	found, by, err := try(able, func(client *admin.Client) (raft.Export, error) { return exportTo(c.ctx, client, *file, *stall) })
	if err != nil {
		return c.fail(exitNot, fmt.Errorf("not done: %w", err))
	}
	c.tellExport("", exported{*file, by.Name(), found.Cluster.String(), found.Index, found.Term, found.Bytes})
	return c.end(exitWell)
}

// tellExport says what an export is.
func (c *call) tellExport(verdict string, e exported) {
	if c.json {
		c.printJSON(e)
		return
	}
	c.printf("%s: %sthe state of cluster %s at entry %d of term %d, %d bytes\n", e.File, verdict, e.Cluster, e.Index, e.Term, e.Bytes)
}

// A watched is a writer with a watch that runs down unless something is written.
type watched struct {
	to    io.Writer
	watch *time.Timer
	stall time.Duration
}

// Write implements io.Writer.
func (w *watched) Write(b []byte) (int, error) {
	w.watch.Reset(w.stall)
	return w.to.Write(b)
}

// exportTo writes an export into a file. The file gets its name when all of it is on the disk. It is
// given up if nothing comes for a while.
func exportTo(ctx context.Context, client *admin.Client, name string, stall time.Duration) (found raft.Export, err error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	watch := time.AfterFunc(stall, func() { cancel(fmt.Errorf("nothing has come for %v", stall)) })
	defer watch.Stop()
	partial, err := os.CreateTemp(filepath.Dir(name), filepath.Base(name)+".partial-*")
	if err != nil {
		return found, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.Remove(partial.Name()))
		}
	}()
	buffered := bufio.NewWriterSize(partial, 1<<20)
	if found, err = client.Export(ctx, &watched{buffered, watch, stall}); err == nil {
		err = buffered.Flush()
	} else if ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	if err == nil {
		err = partial.Sync()
	}
	if err = errors.Join(err, partial.Close()); err != nil {
		return found, err
	}
	if err = os.Link(partial.Name(), name); err == nil { // unlike a rename, it replaces nothing
		err = os.Remove(partial.Name())
	} else if !errors.Is(err, os.ErrExist) {
		err = os.Rename(partial.Name(), name) // a file system without links
	}
	if err != nil {
		return found, err
	}
	return found, syncFolder(filepath.Dir(name))
}

// verifyExport verifies an export.
func (c *call) verifyExport(name string) int {
	file, err := os.Open(name)
	if err != nil {
		return c.fail(exitUntold, err)
	}
	defer file.Close()
	found, err := raft.VerifyExport(file)
	switch {
	case errors.Is(err, raft.ErrCorrupt):
		if c.json {
			c.printJSON(logVerdict{Path: name, Verdict: "damaged", Damage: []string{err.Error()}})
		} else {
			c.printf("%s: DAMAGED: %v\n", name, err)
		}
		return exitNot
	case err != nil:
		return c.fail(exitUntold, fmt.Errorf("%s: %w", name, err))
	}
	c.tellExport("sound: ", exported{name, "", found.Cluster.String(), found.Index, found.Term, found.Bytes})
	return exitWell
}
