package state

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// A place is the folder in which one server keeps its state. It has a folder for each database,
// state-1 and so on, and a file CURRENT with the name of the one that counts. To replace CURRENT is
// one step for the file system: so after a crash either the old database counts or the new one, and
// what doesn't count is removed at the next start.
type place struct {
	dir     string
	current string // the name that CURRENT has; "" while there is none
	last    int    // the highest number that a folder has had
	step    func(string)
}

const (
	currentName  = "CURRENT"
	folderPrefix = "state-"
)

// openPlace opens a folder, which is made if it isn't there. It removes what a crash has left.
func openPlace(dir string, step func(string)) (*place, error) {
	if err := os.MkdirAll(dir, 0o777); err != nil {
		return nil, err
	}
	p := &place{dir: dir, step: step}
	text, err := os.ReadFile(filepath.Join(dir, currentName))
	switch {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return nil, err
	default:
		p.current = strings.TrimSuffix(string(text), "\n")
		if number(p.current) == 0 {
			return nil, fmt.Errorf("state: %s: %q is no name of a database", filepath.Join(dir, currentName), text)
		}
		if _, err := os.Stat(filepath.Join(dir, p.current)); err != nil {
			return nil, fmt.Errorf("state: %s names what isn't there: %w", filepath.Join(dir, currentName), err)
		}
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	for _, entry := range entries {
		n := number(entry.Name())
		p.last = max(p.last, n)
		if n > 0 && entry.Name() != p.current || entry.Name() == currentName+".new" {
			if err := os.RemoveAll(filepath.Join(dir, entry.Name())); err != nil {
				return nil, err
			}
		}
	}
	return p, nil
}

// number returns the number of a database's folder, and 0 for any other name.
func number(name string) int {
	digits, ok := strings.CutPrefix(name, folderPrefix)
	n, err := strconv.Atoi(digits)
	if !ok || err != nil || n <= 0 || folderPrefix+strconv.Itoa(n) != name {
		return 0
	}
	return n
}

// path returns the folder of a database.
func (p *place) path(name string) string { return filepath.Join(p.dir, name) }

// create makes the folder of a new database, which doesn't count yet, and returns its name.
func (p *place) create() (string, error) {
	p.last++
	name := folderPrefix + strconv.Itoa(p.last)
	if err := os.Mkdir(p.path(name), 0o777); err != nil {
		return "", err
	}
	p.reached("folder made")
	return name, nil
}

// choose makes a database the one that counts. What is in its folder must be on the disk already.
func (p *place) choose(name string) error {
	for _, dir := range []string{p.path(name), p.dir} { // the names of its files, and its own name
		if err := syncFolder(dir); err != nil {
			return err
		}
	}
	p.reached("names on the disk")
	next := p.path(currentName + ".new")
	if err := writeFile(next, name+"\n"); err != nil {
		return err
	}
	p.reached(currentName + " written")
	if err := os.Rename(next, p.path(currentName)); err != nil {
		return err
	}
	p.reached(currentName + " renamed")
	if err := syncFolder(p.dir); err != nil {
		return err
	}
	p.current = name
	p.reached(currentName + " on the disk")
	return nil
}

// remove removes a database that doesn't count. A failure does no harm: the next start tries again.
func (p *place) remove(name string) error {
	p.reached("before a folder is removed")
	err := os.RemoveAll(p.path(name))
	p.reached("folder removed")
	return err
}

// reached tells a test how far a change of the files has come.
func (p *place) reached(what string) {
	if p.step != nil {
		p.step(what)
	}
}

// writeFile writes a file and syncs it.
func writeFile(name, text string) error {
	file, err := os.Create(name)
	if err != nil {
		return err
	}
	_, err = file.WriteString(text)
	if err == nil {
		err = file.Sync()
	}
	return errors.Join(err, file.Close())
}
