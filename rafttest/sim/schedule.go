package sim

import (
	"bytes"
	"fmt"
	"strconv"
	"strings"
)

// A Schedule is a run as its parameters and its events. It can be repeated, written down, shortened
// and kept.
type Schedule struct {
	Params Params
	Events []Event
	// Expect is the name of the invariant that the schedule breaks, or "" if it breaks none.
	Expect string
}

// header is the first line of a schedule's file.
const header = "raft schedule 1"

// MarshalText returns the schedule in its text format. The first line names the version of the
// format. Then come a line for each parameter that isn't 0, an empty line, and a line for each
// event.
func (s *Schedule) MarshalText() ([]byte, error) {
	b := append([]byte(header), '\n')
	if s.Expect != "" {
		b = append(append(append(b, "expect "...), s.Expect...), '\n')
	}
	for _, p := range s.Params.all() {
		if *p.value != 0 {
			b = append(append(b, p.name...), ' ')
			b = append(strconv.AppendInt(b, *p.value, 10), '\n')
		}
	}
	b = append(b, '\n')
	for i := range s.Events {
		b = append(s.Events[i].appendText(b), '\n')
	}
	return b, nil
}

// UnmarshalText reads what MarshalText wrote. A line that begins with # is a comment, and so is
// what follows two spaces and a #.
func (s *Schedule) UnmarshalText(text []byte) error {
	*s = Schedule{}
	inEvents := false
	for i, raw := range bytes.Split(text, []byte("\n")) {
		line, _, _ := strings.Cut(string(raw), "  #")
		line = strings.TrimSpace(line)
		if i == 0 {
			if line != header {
				return fmt.Errorf("schedule: line 1 is %q, not %q", line, header)
			}
			continue
		}
		if strings.HasPrefix(line, "#") {
			continue
		}
		if line == "" {
			inEvents = true
			continue
		}
		if inEvents {
			e, err := parseEvent(line)
			if err != nil {
				return fmt.Errorf("schedule: line %d: %w", i+1, err)
			}
			s.Events = append(s.Events, e)
			continue
		}
		if err := s.parseParam(line); err != nil {
			return fmt.Errorf("schedule: line %d: %w", i+1, err)
		}
	}
	if err := s.Params.CheckServers(); err != nil {
		return fmt.Errorf("schedule: %w", err)
	}
	return nil
}

func (s *Schedule) parseParam(line string) error {
	name, value, _ := strings.Cut(line, " ")
	if name == "expect" {
		s.Expect = value
		return nil
	}
	n, err := strconv.ParseInt(value, 10, 64)
	if err != nil {
		if unknown := s.Params.Set(name, 0); unknown != nil {
			return unknown
		}
		return fmt.Errorf("%s: %q is not a number", name, value)
	}
	return s.Params.Set(name, n)
}
