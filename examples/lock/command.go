package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/e17579a5/raft/examples/lock/client"
)

// These variables tell the command what it holds.
const (
	variableName  = "LOCK_NAME"
	variableOwner = "LOCK_OWNER"
	variableToken = "LOCK_TOKEN"
)

// maxShownOwner is the most that the client takes as an owner, in bytes.
const maxShownOwner = 64

// errTooLong is the cause of the end of an acquire that has waited long enough.
var errTooLong = errors.New("somebody else has held the lock all the time")

// runCommand runs a command while it holds a lock. When the lease may be over, the command is asked
// to end, and killed if it doesn't: it may run on for a moment, so that what the lock guards must
// look at the token. The error is an *exec.ExitError if the command has failed by itself.
func runCommand(ctx context.Context, o options) (err error) {
	c, err := client.New(client.Options{Servers: o.servers})
	if err != nil {
		return err
	}
	defer func() {
		patience, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
		defer cancel()
		_ = c.Close(patience) // the session expires by itself
	}()
	lock, err := acquire(ctx, c, o)
	if err != nil {
		return err
	}
	command := exec.CommandContext(lock.Context(), o.command[0], o.command[1:]...)
	command.Stdin, command.Stdout, command.Stderr = os.Stdin, os.Stdout, os.Stderr
	command.Env = append(os.Environ(),
		variableName+"="+lock.Name(), variableOwner+"="+lock.Owner(), variableToken+"="+strconv.FormatUint(lock.Token(), 10))
	if o.grace > 0 {
		command.WaitDelay = o.grace
		command.Cancel = func() error {
			if command.Process.Signal(syscall.SIGTERM) != nil { // not every system knows it
				return command.Process.Kill()
			}
			return nil
		}
	}
	ended := command.Run()
	held, cause := lock.Held(), context.Cause(lock.Context())
	over := errors.Is(cause, client.ErrLeaseOver) || cause == nil && !held // the lock may not have noticed yet
	patience, cancel := context.WithTimeout(context.WithoutCancel(ctx), o.lease)
	defer cancel()
	released := lock.Release(patience)
	switch {
	case over:
		return fmt.Errorf("%s: %w: it was before the command ended (%s)", o.acquire, client.ErrLeaseOver, command.ProcessState)
	case ended == nil && released != nil:
		return fmt.Errorf("%s can't be released, and is held until its lease ends: %w", o.acquire, released)
	}
	return ended
}

// acquire waits for the lock as long as it may.
func acquire(ctx context.Context, c *client.Client, o options) (*client.Lock, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	if o.wait > 0 {
		timer := time.AfterFunc(o.wait, func() { cancel(errTooLong) })
		defer timer.Stop()
	}
	host, _ := os.Hostname() // without one, the owner has the command's name alone
	owner := cmp.Or(o.owner, host+":"+filepath.Base(o.command[0]))
	lock, err := c.Acquire(ctx, o.acquire, client.Terms{Lease: o.lease, Owner: strings.ToValidUTF8(owner[:min(len(owner), maxShownOwner)], "")})
	if err != nil {
		cancel(nil)
		return nil, fmt.Errorf("%s: %w", o.acquire, err)
	}
	context.AfterFunc(lock.Context(), func() { cancel(nil) })
	return lock, nil
}
