// Command raft administers clusters, and looks at the logs of servers that are down.
//
// These commands speak to the administration of running servers (package admin). It isn't there by
// itself: the service must serve it.
//
//	raft status                      all servers side by side: what waits there, and why
//	raft top                         the same, again and again, with rates
//	raft members                     the members of the cluster
//	raft add [-learner] ID=ADDRESS   make a server a voter, or a learner
//	raft remove ID                   remove a server
//	raft replace ID[=ADDRESS]        make the present disk of a member count
//	raft set ID[=ADDRESS][,learner]… all members at once
//	raft transfer [ID]               hand the leadership over
//	raft snapshot [ID…]              have servers take a snapshot
//	raft export -o FILE              a backup, which is verified on the way
//
// Of servers with many groups, -group names the one that it is about. Without it, status and top show
// all of them: how many have a leader, which are the busiest, and which aren't well.
//
// The servers are named by -servers, or by the environment variable RAFT_SERVERS, separated by commas:
// http://HOST:PORT, https://HOST:PORT or unix:PATH, or HOST:PORT for http, each with ID= in front of it
// if it is to be named when it doesn't answer. With TLS, an ID is the name that the server's
// certificate must have. Name all of them: any of them takes a change, and each is asked for its
// status. A change of the members shows the members before and after, and is refused if -expect names
// another configuration than the latest one.
//
// These commands look at files. Servers whose logs they are must be stopped:
//
//	raft verify DIR|FILE…            say whether logs, or exports, are sound; of several logs, what
//	                                 they have together
//	raft inspect DIR                 say what a log holds, and how it ends
//	raft dump DIR                    print every record of a log, with every entry
//	raft recover plan DIR…           when a majority is lost for good: say which of the survivors to
//	                                 recover, and what may be lost
//	raft recover apply … DIR…        do it
//
// raft COMMAND -h lists the flags of a command. With -json, the output is JSON: one object, or one a
// line (dump, top).
//
// The exit code tells the outcome:
//
//	0  it was done; all is well
//	1  it was not done, and will not be; or something isn't well: a server doesn't answer, a log is
//	   damaged (of several logs: the others have all that is lost)
//	2  the command line is wrong, or the logs aren't those of different servers of one cluster
//	3  it can't be told: a change may have been made, or may be made yet; nobody answers; a log can't
//	   be looked at
//	4  of several logs: something that a server needs is in none of them, or a server would start with
//	   none of them
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
)

// The exit codes
const (
	exitWell = iota
	exitNot
	exitUsage
	exitUntold
	exitNowhere
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second signal ends the process at once
	os.Exit(run(ctx, os.Args[1:], os.Stdout, os.Stderr))
}

// A command is one of the program's.
type command struct {
	name  string
	about string // what follows the name on the command line
	run   func(c *call) int
}

// commands are all commands, in the order of the usage.
func commands() []command {
	return []command{
		{"status", "", status},
		{"top", "", top},
		{"members", "", members},
		{"add", "[-learner] ID=ADDRESS", add},
		{"remove", "ID", remove},
		{"replace", "ID[=ADDRESS]", replace},
		{"set", "ID[=ADDRESS][,learner]…", set},
		{"transfer", "[ID]", transfer},
		{"snapshot", "[ID…]", snapshot},
		{"export", "-o FILE", export},
		{"verify", "DIR|FILE…", verify},
		{"inspect", "DIR", inspect},
		{"dump", "DIR", dump},
		{"recover plan", "DIR…", recoverPlan},
		{"recover apply", "-cluster ID -address HOST:PORT [-cut N] DIR…", recoverApply},
	}
}

// run does what the arguments say, and returns the exit code.
func run(ctx context.Context, arguments []string, out, errs io.Writer) int {
	name := ""
	if len(arguments) > 0 {
		name, arguments = arguments[0], arguments[1:]
	}
	if name == "recover" && len(arguments) > 0 {
		name, arguments = name+" "+arguments[0], arguments[1:]
	}
	for _, c := range commands() {
		if c.name == name {
			return c.run(&call{ctx: ctx, command: c, arguments: arguments, out: &output{to: out}, errs: errs})
		}
	}
	help := name == "-h" || name == "-help" || name == "--help" || name == "help"
	to, code := errs, exitUsage
	if help {
		to, code = out, exitWell
	} else if name != "" {
		fmt.Fprintf(errs, "raft: there is no command %q\n", name)
	}
	fmt.Fprintln(to, "usage:")
	for _, c := range commands() {
		fmt.Fprintf(to, "  raft %s %s\n", c.name, c.about)
	}
	fmt.Fprintln(to, "raft COMMAND -h lists the flags of a command")
	return code
}

// A call is one call of a command.
type call struct {
	ctx       context.Context
	command   command
	arguments []string
	out       *output
	errs      io.Writer
	json      bool
}

// flags returns the flags that every command has.
func (c *call) flags() *flag.FlagSet {
	flags := flag.NewFlagSet(c.command.name, flag.ContinueOnError)
	flags.SetOutput(c.errs)
	flags.BoolVar(&c.json, "json", false, "print JSON")
	flags.Usage = func() {
		fmt.Fprintf(c.errs, "usage: raft %s %s\n", c.command.name, c.command.about)
		flags.PrintDefaults()
	}
	return flags
}

// parse reads the command line. Flags may stand behind other arguments. If the command is to end
// here, parse returns false and the exit code.
func (c *call) parse(flags *flag.FlagSet, least, most int) (arguments []string, code int, ok bool) {
	left := c.arguments
	for {
		if err := flags.Parse(left); errors.Is(err, flag.ErrHelp) {
			return nil, exitWell, false
		} else if err != nil {
			return nil, exitUsage, false
		}
		if left = flags.Args(); len(left) == 0 {
			break
		}
		arguments, left = append(arguments, left[0]), left[1:]
	}
	if n := len(arguments); n < least || n > most {
		return nil, c.usage("the number of arguments is %d", n), false
	}
	return arguments, 0, true
}

// usage says what is wrong with the command line, and returns the exit code.
func (c *call) usage(format string, args ...any) int {
	fmt.Fprintf(c.errs, "raft: %s: %s\nusage: raft %s %s\n", c.command.name, fmt.Sprintf(format, args...), c.command.name, c.command.about)
	return exitUsage
}

// fail says why something wasn't done, and returns the exit code that is given.
func (c *call) fail(code int, err error) int {
	fmt.Fprintf(c.errs, "raft: %s: %v\n", c.command.name, err)
	return code
}

// printf prints to the output.
func (c *call) printf(format string, args ...any) { fmt.Fprintf(c.out, format, args...) }

// printJSON prints a value in one line.
func (c *call) printJSON(value any) {
	text, err := json.Marshal(value)
	if err == nil {
		c.printf("%s\n", text)
	} else if c.out.err == nil {
		c.out.err = err
	}
}

// end returns the exit code, which is another one if the output couldn't be written.
func (c *call) end(code int) int {
	if c.out.err != nil {
		return c.fail(max(code, exitUntold), c.out.err)
	}
	return code
}

// An output is a writer that keeps its first error.
type output struct {
	to  io.Writer
	err error
}

// Write implements io.Writer.
func (o *output) Write(b []byte) (int, error) {
	if o.err != nil {
		return 0, o.err
	}
	var n int
	n, o.err = o.to.Write(b)
	return n, o.err
}
