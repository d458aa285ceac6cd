package main

import (
	"context"
	"fmt"
	"net"
	"os"
	"strconv"
	"time"

	"github.com/e17579a5/raft/httpapi"
)

// notifyEvery is how often a server that isn't ready yet looks whether it is.
const notifyEvery = 20 * time.Millisecond

// notify tells systemd how the servers of this process are, until ctx ends: that all of them are ready,
// while all of them live, and that they stop (sd_notify(3), Type=notify). It does nothing in a process
// that systemd hasn't started so.
func notify(ctx context.Context, servers []*httpapi.API) error {
	socket := os.Getenv("NOTIFY_SOCKET")
	if socket == "" {
		<-ctx.Done()
		return nil
	}
	conn, err := net.Dial("unixgram", socket) // @NAME is an abstract one
	if err != nil {
		return fmt.Errorf("systemd's NOTIFY_SOCKET: %w", err)
	}
	defer conn.Close()
	pause := notifyEvery
	for ready := false; ; {
		switch {
		case ctx.Err() != nil:
			return tell(conn, "STOPPING=1")
		case !ready && all(servers, (*httpapi.API).Ready):
			ready, pause = true, watchdog()
			err = tell(conn, "READY=1")
		case ready && all(servers, (*httpapi.API).Live):
			err = tell(conn, "WATCHDOG=1")
		}
		if err != nil {
			return err
		}
		select {
		case <-ctx.Done():
		case <-time.After(pause):
		}
	}
}

// watchdog is how often systemd wants to hear that the process lives (WatchdogSec): twice in the time
// after which it kills the process. It is a day if systemd doesn't care.
func watchdog() time.Duration {
	µs, err := strconv.ParseUint(os.Getenv("WATCHDOG_USEC"), 10, 40)
	if err != nil || µs == 0 {
		return 24 * time.Hour
	}
	return time.Duration(µs) * time.Microsecond / 2
}

// all says whether all servers are well.
func all(servers []*httpapi.API, well func(*httpapi.API) error) bool {
	for _, s := range servers {
		if well(s) != nil {
			return false
		}
	}
	return true
}

// tell sends systemd one line.
func tell(conn net.Conn, line string) error {
	if _, err := conn.Write([]byte(line)); err != nil {
		return fmt.Errorf("systemd's NOTIFY_SOCKET: %w", err)
	}
	return nil
}
