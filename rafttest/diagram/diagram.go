// Package diagram draws a run of the simulator (package sim) as a space-time diagram, in one
// self-contained HTML file. Servers are lines, messages are arrows, terms are bands, and the page
// shows each server's log at every moment. The page needs no network and no other file. The same
// run gives the same bytes.
package diagram

import (
	"bytes"
	"embed"
	"encoding/json"
	"errors"
	"fmt"
	"html"
	"io"
	"os"

	"github.com/e17579a5/raft/rafttest/sim"
)

// page holds the parts of which every diagram consists.
//
//go:embed page
var page embed.FS

// scripts are the parts of the page's program, in the order in which they are joined.
var scripts = []string{"model.js", "view.js", "draw.js", "panels.js", "main.js"}

// Write writes the diagram of a run. repeat says how to repeat the run, such as a command; it is ""
// if there is nothing to say.
func Write(out io.Writer, trace *sim.Trace, repeat string) error {
	data, err := json.Marshal(newRun(trace, repeat))
	if err != nil {
		return fmt.Errorf("diagram: %w", err)
	}
	title := "A run without a violation"
	if v := trace.Result.Violation; v != nil {
		title = v.Name
	}
	var program bytes.Buffer
	for _, name := range scripts {
		text, err := page.ReadFile("page/" + name)
		if err != nil {
			return fmt.Errorf("diagram: %w", err)
		}
		program.Write(text)
	}
	frame, err := page.ReadFile("page/page.html")
	if err != nil {
		return fmt.Errorf("diagram: %w", err)
	}
	style, err := page.ReadFile("page/style.css")
	if err != nil {
		return fmt.Errorf("diagram: %w", err)
	}
	// json.Marshal escapes <, > and &. So nothing in the data can end the element that holds it.
	for _, part := range []struct {
		name string
		text []byte
	}{
		{"TITLE", []byte(html.EscapeString(title))}, {"STYLE", style}, {"DATA", data}, {"PROGRAM", program.Bytes()},
	} {
		before, after, found := bytes.Cut(frame, []byte("{{"+part.name+"}}"))
		if !found {
			return fmt.Errorf("diagram: the page has no place for %s", part.name)
		}
		for _, b := range [][]byte{before, part.text} {
			if _, err := out.Write(b); err != nil {
				return fmt.Errorf("diagram: %w", err)
			}
		}
		frame = after
	}
	if _, err := out.Write(frame); err != nil {
		return fmt.Errorf("diagram: %w", err)
	}
	return nil
}

// WriteFile writes the diagram of a run to a file. It replaces a file that exists.
func WriteFile(name string, trace *sim.Trace, repeat string) error {
	file, err := os.Create(name)
	if err != nil {
		return fmt.Errorf("diagram: %w", err)
	}
	err = Write(file, trace, repeat)
	return errors.Join(err, file.Close())
}
