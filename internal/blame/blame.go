// Package blame finds the part of a panic's stack that is the user's: the functions of a state
// machine, without those that called it.
package blame

import (
	"fmt"
	"runtime"
	"strings"
)

// ours are what the names of functions begin with that call state machines, or drive those that do.
var ours = []string{
	"github.com/e17579a5/raft.", "github.com/e17579a5/raft/rafttest.", "github.com/e17579a5/raft/rafttest/sim.",
	"github.com/e17579a5/raft/internal/sessionmodel.",
}

// Stack returns the stack of the panic that a deferred function, which calls Stack, has recovered.
// It ends at the first function of this module. If the panic began in this module, it has all
// functions.
func Stack() string {
	pcs := make([]uintptr, 100)
	frames := runtime.CallersFrames(pcs[:runtime.Callers(2, pcs)])
	var b strings.Builder
	panicked := false
	for more := true; more; {
		var f runtime.Frame
		f, more = frames.Next()
		switch {
		case strings.HasPrefix(f.Function, "runtime."):
			panicked = panicked || f.Function == "runtime.gopanic"
		case !panicked:
		case isOurs(f.Function) && b.Len() > 0 && !began(&b):
			return b.String()
		default:
			fmt.Fprintf(&b, "%s\n\t%s:%d\n", f.Function, f.File, f.Line)
		}
	}
	return b.String()
}

// began reports whether the stack so far began in this module.
func began(b *strings.Builder) bool { return isOurs(b.String()) }

func isOurs(function string) bool {
	for _, prefix := range ours {
		if strings.HasPrefix(function, prefix) {
			return true
		}
	}
	return false
}
