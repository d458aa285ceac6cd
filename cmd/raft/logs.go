package main

import (
	"errors"
	"fmt"
	"math"
	"os"

	"github.com/e17579a5/raft"
	"github.com/e17579a5/raft/recovery"
	"github.com/e17579a5/raft/wal"
)

// A log that a server has open is refused: what is being written can't be told from what is damaged.
// A copy of such a directory has the same flaw, unless the file system made the copy in one moment.
// While one of these commands reads a log, no server can open it. The code with which a server opens
// its log decides what is a torn write and what is damage.

// A logVerdict is what raft verify says of a log.
type logVerdict struct {
	Path    string   `json:"path"`
	Server  string   `json:"server,omitempty"`
	Verdict string   `json:"verdict"` // "sound", "repaired" or "damaged"
	Starts  bool     `json:"starts"`  // a server would start with it
	Damage  []string `json:"damage,omitempty"`
	Lost    []string `json:"lost,omitempty"` // what other servers must give
}

// A togetherVerdict is what raft verify says of several logs.
type togetherVerdict struct {
	Verdict string   `json:"together"` // "nothing lost", "others have it" or "nowhere"
	Losses  []string `json:"losses,omitempty"`
}

// verify says whether logs, or exports, are sound.
func verify(c *call) int {
	flags := c.flags()
	paths, code, ok := c.parse(flags, 1, math.MaxInt)
	if !ok {
		return code
	}
	var dirs []string
	code = exitWell
	for _, path := range paths {
		if is, err := os.Stat(path); err == nil && !is.IsDir() {
			code = max(code, c.verifyExport(path))
			continue
		}
		dirs = append(dirs, path)
	}
	if len(dirs) == 0 {
		return c.end(code)
	}
	return c.end(max(code, c.verifyLogs(dirs)))
}

// verifyLogs says whether logs are sound, and of several, what they have together.
func (c *call) verifyLogs(dirs []string) int {
	var found []raft.Saved
	worst := exitWell
	for _, dir := range dirs {
		report, code := c.read(dir, nil)
		if code == exitUntold {
			return code
		}
		worst = max(worst, code)
		if report.Err == nil {
			found = append(found, report.Saved)
		}
		c.tellVerdict(dir, &report)
	}
	if len(dirs) == 1 {
		return worst
	}
	return c.together(found, worst)
}

// together says what several logs have together. worst is the worst exit code of one of them.
func (c *call) together(found []raft.Saved, worst int) int {
	losses, err := recovery.Survey(found...)
	if err != nil {
		return c.fail(exitUsage, err)
	}
	var t togetherVerdict
	nowhere := len(found) == 0
	for i := range losses {
		t.Losses = append(t.Losses, losses[i].String())
		nowhere = nowhere || losses[i].Nowhere()
	}
	text := "together: nothing is lost"
	switch t.Verdict = "nothing lost"; {
	case nowhere:
		worst, t.Verdict = exitNowhere, "nowhere"
		text = "TOGETHER: something that a server needs is in none of these logs"
	case worst == exitNot:
		t.Verdict = "others have it"
		text = "together: these logs have all that is lost in one of them"
	}
	if c.json {
		c.printJSON(t)
		return worst
	}
	for _, loss := range t.Losses {
		c.printf("%s\n", loss)
	}
	c.printf("%s\n", text)
	return worst
}

// tellVerdict prints the verdict on a log.
func (c *call) tellVerdict(dir string, r *wal.Report) {
	if !c.json {
		p := printer{out: c.out}
		c.printf("%s: server %q\n", dir, r.Saved.State.Server)
		p.verdict(r)
		return
	}
	c.printJSON(verdictOf(dir, r))
}

// verdictOf returns the verdict on a log.
func verdictOf(dir string, r *wal.Report) logVerdict {
	v := logVerdict{Path: dir, Server: string(r.Saved.State.Server), Verdict: "sound", Starts: r.Err == nil}
	if r.Repaired {
		v.Verdict = "repaired"
	} else if len(r.Damage) > 0 {
		v.Verdict = "damaged"
	}
	for _, damage := range r.Damage {
		v.Damage = append(v.Damage, damage.Error())
	}
	if r.Err == nil {
		if losses, err := recovery.Survey(r.Saved); err != nil {
			v.Lost = []string{err.Error()}
		} else {
			for i := range losses {
				v.Lost = append(v.Lost, losses[i].String())
			}
		}
	}
	return v
}

// read reads a log, and returns the exit code that tells the outcome.
func (c *call) read(dir string, visit func(*wal.Record) error) (wal.Report, int) {
	report, err := wal.Inspect(dir, wal.Options{}, visit)
	switch {
	case errors.Is(err, raft.ErrLocked):
		return report, c.fail(exitUntold, fmt.Errorf("%w (a server has it open: what is being written can't be told from what is damaged)", err))
	case err != nil:
		return report, c.fail(exitUntold, err)
	case len(report.Damage) > 0 && !report.Repaired:
		return report, exitNot
	}
	return report, exitWell
}

// inspect says what a log holds, and how it ends.
func inspect(c *call) int {
	flags := c.flags()
	dirs, code, ok := c.parse(flags, 1, 1)
	if !ok {
		return code
	}
	report, code := c.read(dirs[0], nil)
	switch {
	case code == exitUntold:
		return code
	case c.json:
		c.printJSON(logOf(dirs[0], &report))
	default:
		p := printer{out: c.out}
		p.report(&report)
	}
	return c.end(code)
}

// dump prints every record of a log, or the bytes of a snapshot.
func dump(c *call) int {
	flags := c.flags()
	data := flags.Int("data", 32, "number of `bytes` of each command to print")
	snapshot := flags.String("snapshot", "", "write the bytes of the snapshot with this `name`, and nothing else")
	dirs, code, ok := c.parse(flags, 1, 1)
	if !ok {
		return code
	}
	if *data < 0 || *snapshot != "" && c.json {
		return c.usage("-data must not be negative, and -snapshot doesn't go with -json")
	}
	if *snapshot != "" {
		return c.copySnapshot(dirs[0], *snapshot)
	}
	p := printer{out: c.out, data: *data}
	visit := p.record
	if c.json {
		visit = func(r *wal.Record) error { c.printJSON(recordOf(r, *data)); return c.out.err }
	}
	report, code := c.read(dirs[0], visit)
	switch {
	case code == exitUntold:
		return code
	case c.json:
		c.printJSON(logOf(dirs[0], &report))
	default:
		p.report(&report)
	}
	return c.end(code)
}

// copySnapshot writes the bytes of a snapshot. It checks each block before it writes it.
func (c *call) copySnapshot(dir, name string) int {
	_, err := wal.ReadSnapshot(c.out, dir, name, wal.Options{})
	switch {
	case err == nil:
		return exitWell
	case errors.Is(err, raft.ErrCorrupt):
		return c.fail(exitNot, err)
	}
	return c.fail(exitUntold, err)
}
