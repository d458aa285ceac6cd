// Package resp is the protocol of Redis clients: RESP2 and RESP3. A Parser takes commands from the
// bytes of a connection, and a Writer makes replies. Neither does any input or output.
package resp

import (
	"bytes"
	"errors"
	"fmt"
)

// Limits are what a Parser takes at most.
type Limits struct {
	// Bytes bounds a command with its framing, and so each of its arguments.
	Bytes int
	// Arguments bounds how many arguments a command has, its name included.
	Arguments int
}

// maxInline bounds a command that is a line of text, in bytes. It is that of Redis.
const maxInline = 64 << 10

// maxHeader bounds the line that announces an array or a string, in bytes: more digits than any
// limit has.
const maxHeader = 32

// A span is where an argument is in the buffer.
type span struct{ from, to int }

// A Parser takes commands from a buffer that grows at its end. It remembers how far it has come
// within a command, so that a long one is looked at once however many pieces it comes in. The zero
// value with Limits is ready.
type Parser struct {
	Limits Limits

	at      int    // how far the unfinished command was read, from its first byte
	missing int    // the arguments of it that are still to come
	length  int    // the length of the next argument, once it is known; else -1
	array   bool   // inside an array
	args    []span // of the unfinished command, from its first byte
}

// Next takes the first command from buffer. It appends the command's arguments, which are slices of
// buffer, to args, and returns them with the number of bytes that the command took. That is 0 if the
// command isn't complete: Next is to be called again with more bytes behind those of now. A command
// without arguments, such as an empty line, takes bytes and appends nothing.
//
// An error says that the bytes are no command. There is no way on from it: nobody knows where the
// next command begins.
func (p *Parser) Next(buffer []byte, args [][]byte) ([][]byte, int, error) {
	if !p.array {
		if len(buffer) == 0 {
			return args, 0, nil
		}
		if buffer[0] != '*' {
			return p.inline(buffer, args)
		}
		count, end, err := number(buffer, 0, "multibulk length")
		if end == 0 || err != nil {
			return args, 0, err
		}
		if count > p.Limits.Arguments {
			return args, 0, fmt.Errorf("invalid multibulk length: a command takes at most %d arguments", p.Limits.Arguments)
		}
		if count <= 0 {
			return args, end, nil
		}
		p.array, p.at, p.missing, p.length, p.args = true, end, count, -1, p.args[:0]
	}
	for p.missing > 0 {
		done, err := p.argument(buffer)
		if !done || err != nil {
			return args, 0, err
		}
	}
	for _, a := range p.args {
		args = append(args, buffer[a.from:a.to:a.to])
	}
	p.array = false
	return args, p.at, nil
}

// Wants returns how many bytes the unfinished command takes at least, from its first byte.
func (p *Parser) Wants() int {
	if !p.array || p.length < 0 {
		return 0
	}
	return p.at + p.length + 2
}

// argument reads the next argument of an array, if all of it is there.
func (p *Parser) argument(buffer []byte) (done bool, err error) {
	if p.length < 0 {
		if p.at == len(buffer) {
			return false, nil
		}
		if buffer[p.at] != '$' {
			return false, fmt.Errorf("expected '$', got '%c'", printable(buffer[p.at]))
		}
		length, end, err := number(buffer, p.at, "bulk length")
		if end == 0 || err != nil {
			return false, err
		}
		if length < 0 {
			return false, errors.New("invalid bulk length")
		}
		if length > p.Limits.Bytes-end-2 {
			return false, fmt.Errorf("invalid bulk length: a command takes at most %d bytes", p.Limits.Bytes)
		}
		p.at, p.length = end, length
	}
	end := p.at + p.length
	if len(buffer) < end+2 {
		return false, nil
	}
	if buffer[end] != '\r' || buffer[end+1] != '\n' {
		return false, errors.New("a string is longer than its length says")
	}
	p.args = append(p.args, span{p.at, end})
	p.at, p.length = end+2, -1
	p.missing--
	return true, nil
}

// printable returns a byte that can be shown in a line of text.
func printable(b byte) byte {
	if b < ' ' || b > '~' {
		return '?'
	}
	return b
}

// number reads a line such as "*3\r\n", whose first byte is at from. end is where the line ends, or
// 0 while its end is not there.
func number(buffer []byte, from int, what string) (n, end int, err error) {
	at, negative := from+1, false
	if at < len(buffer) && buffer[at] == '-' {
		at, negative = at+1, true
	}
	first := at
	for at < len(buffer) && '0' <= buffer[at] && buffer[at] <= '9' {
		if n = 10*n + int(buffer[at]-'0'); n > 1<<31-1<<8 {
			return 0, 0, errors.New("invalid " + what)
		}
		at++
	}
	switch {
	case at-from > maxHeader:
		return 0, 0, errors.New("invalid " + what)
	case at == len(buffer):
		return 0, 0, nil
	case at == first || buffer[at] != '\r':
		return 0, 0, errors.New("invalid " + what)
	case at+1 == len(buffer):
		return 0, 0, nil
	case buffer[at+1] != '\n':
		return 0, 0, errors.New("invalid " + what)
	}
	if negative {
		n = -n
	}
	return n, at + 2, nil
}

// inline reads a command that is a line of text, as a person types it.
func (p *Parser) inline(buffer []byte, args [][]byte) ([][]byte, int, error) {
	limit := min(maxInline, p.Limits.Bytes)
	end := bytes.IndexByte(buffer[:min(len(buffer), limit)], '\n')
	if end < 0 {
		if len(buffer) >= limit {
			return args, 0, errors.New("too big inline request")
		}
		return args, 0, nil
	}
	line := bytes.TrimSuffix(buffer[:end], []byte("\r"))
	words, err := split(line)
	if err != nil {
		return args, 0, err
	}
	if len(words) > p.Limits.Arguments {
		return args, 0, fmt.Errorf("a command takes at most %d arguments", p.Limits.Arguments)
	}
	return append(args, words...), end + 1, nil
}
