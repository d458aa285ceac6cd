package rafttest

import "slices"

// maxPrograms bounds the programs that are run to shorten one.
const maxPrograms = 2000

// shorten leaves out whatever a failing program doesn't need to fail in the same way: steps,
// commands and crashes. It returns the shortest program that it has found, with what that one
// finds. Only such a short program tells well which rule is broken.
func (p *Property) shorten(steps program, f *finding) (program, *finding) {
	s := &shortener{property: p, best: steps, found: f, left: maxPrograms}
	s.try(steps[:min(f.at+1, len(steps))])
	for before := -1; before != s.size() && s.left > 0; {
		before = s.size()
		s.dropSteps()
		s.dropCommands()
		s.calm()
		s.merge()
	}
	p.judge(s.best, s.found)
	return s.best, s.found
}

type shortener struct {
	property *Property
	best     program
	found    *finding
	left     int // programs that may still be run
}

// size is what is to become smaller.
func (s *shortener) size() int {
	n := 0
	for i := range s.best {
		n += 1 + len(s.best[i].commands)
		if s.best[i].cut {
			n++
		}
	}
	return n
}

// try makes a program the best one if it fails in the same way. It cuts off the steps behind the
// one that shows it.
func (s *shortener) try(steps program) bool {
	if s.left == 0 {
		return false
	}
	s.left--
	f := s.property.run(steps, mercy{})
	if f == nil || f.rule != s.found.rule {
		return false
	}
	s.best, s.found = steps[:min(f.at+1, len(steps))], f
	return true
}

// dropSteps leaves out steps, many at once first.
func (s *shortener) dropSteps() {
	for size := max(len(s.best)/2, 1); size > 0; size /= 2 {
		for from := len(s.best) - size; from >= 0; from -= size {
			if from+size <= len(s.best) {
				s.try(append(s.best[:from:from], s.best[from+size:]...))
			}
		}
	}
}

// dropCommands leaves out commands of single steps, many at once first.
func (s *shortener) dropCommands() {
	for i := len(s.best) - 1; i >= 0; i-- {
		for size := max(s.commands(i)/2, 1); size > 0; size /= 2 {
			for from := s.commands(i) - size; from >= 0; from -= size {
				if old := s.commands(i); from+size <= old {
					list := s.best[i].commands
					s.change(i, func(c *step) { c.commands = append(list[:from:from], list[from+size:]...) })
				}
			}
		}
	}
}

// commands returns the number of commands of a step. The step may have gone.
func (s *shortener) commands(i int) int {
	if i >= len(s.best) {
		return 0
	}
	return len(s.best[i].commands)
}

// calm lets the power last. It also tries the commands of a copy that is restored alone.
func (s *shortener) calm() {
	for i := len(s.best) - 1; i >= 0; i-- {
		if i < len(s.best) && s.best[i].kind == stepRestore && len(s.best[i].commands) > 0 {
			s.try(program{{commands: s.best[i].commands}})
		}
	}
	for i := len(s.best) - 1; i >= 0; i-- {
		if i < len(s.best) && s.best[i].cut {
			s.change(i, func(c *step) { c.cut = false })
		}
	}
}

// merge makes one batch of two neighbours.
func (s *shortener) merge() {
	for i := len(s.best) - 2; i >= 0; i-- {
		if i+1 >= len(s.best) || s.best[i].kind != stepApply || s.best[i+1].kind != stepApply || s.best[i].cut {
			continue
		}
		merged := s.best[i+1]
		merged.commands = slices.Concat(s.best[i].commands, merged.commands)
		s.try(slices.Concat(s.best[:i], program{merged}, s.best[i+2:]))
	}
}

// change tries the best program with one step changed.
func (s *shortener) change(i int, edit func(*step)) {
	changed := append(program(nil), s.best...)
	edit(&changed[i])
	s.try(changed)
}
