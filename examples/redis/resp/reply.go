package resp

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
)

// maxDepth bounds how deep arrays are in arrays of a reply.
const maxDepth = 8

var errReply = errors.New("the bytes are no reply")

// ReadReply reads one reply as it is, with its type and its ends of lines. limit bounds its bytes.
func ReadReply(r *bufio.Reader, limit int) ([]byte, error) { return readReply(r, nil, limit, maxDepth) }

// readReply appends a reply to b.
func readReply(r *bufio.Reader, b []byte, limit, depth int) ([]byte, error) {
	from := len(b)
	for {
		part, err := r.ReadSlice('\n')
		b = append(b, part...)
		switch {
		case len(b) > limit:
			return b, fmt.Errorf("a reply has more than %d bytes", limit)
		case err == nil:
		case errors.Is(err, bufio.ErrBufferFull):
			continue
		default:
			return b, err
		}
		break
	}
	line, whole := bytes.CutSuffix(b[from:], []byte("\r\n"))
	if !whole || len(line) == 0 || depth == 0 {
		return b, errReply
	}
	switch line[0] {
	case '+', '-', ':', ',', '_', '#', '(':
		return b, nil
	}
	n, err := strconv.Atoi(string(line[1:]))
	switch {
	case err != nil || n < -1:
		return b, errReply
	case n < 0:
		return b, nil
	}
	switch line[0] {
	case '$', '=', '!':
		if n > limit-len(b)-2 {
			return b, fmt.Errorf("a reply has more than %d bytes", limit)
		}
		at := len(b)
		b = slices.Grow(b, n+2)[:at+n+2]
		_, err := io.ReadFull(r, b[at:])
		return b, err
	case '%':
		n *= 2
	case '*', '~', '>':
	default:
		return b, errReply
	}
	for range n {
		if b, err = readReply(r, b, limit, depth-1); err != nil {
			return b, err
		}
	}
	return b, nil
}

// Unwrap takes an array apart: into the number of its items, and their bytes. It returns false for what is no
// array, or stands for none.
func Unwrap(reply []byte) (n int, items []byte, isArray bool) {
	if len(reply) == 0 || reply[0] != '*' {
		return 0, nil, false
	}
	line, items, _ := bytes.Cut(reply[1:], []byte("\r\n"))
	n, err := strconv.Atoi(string(line))
	return n, items, err == nil && n >= 0
}

// Failure returns the text of an error. It returns false for another reply.
func Failure(reply []byte) (text string, failed bool) {
	if len(reply) == 0 || reply[0] != '-' {
		return "", false
	}
	return string(bytes.TrimSuffix(reply[1:], []byte("\r\n"))), true
}
