package tcp

import "syscall"

// tcpNotSentLowat is TCP_NOTSENT_LOWAT, which package syscall doesn't have.
const tcpNotSentLowat = 25

// limitUnsent has the system take no more of a connection than maxWrite bytes that it can't send yet.
// Otherwise it takes some MiB, and what is urgent waits behind those. A system that doesn't know this
// takes more.
func limitUnsent(_, _ string, conn syscall.RawConn) error {
	return conn.Control(func(fd uintptr) {
		_ = syscall.SetsockoptInt(int(fd), syscall.IPPROTO_TCP, tcpNotSentLowat, maxWrite)
	})
}
