package resp

import "errors"

var errQuotes = errors.New("unbalanced quotes in request")

// split splits a line into words, as Redis does: "in double quotes" with escapes, 'in single quotes'
// with \' alone, or up to the next space.
func split(line []byte) (words [][]byte, err error) {
	for at := 0; ; {
		for at < len(line) && space(line[at]) {
			at++
		}
		if at == len(line) {
			return words, nil
		}
		word, n, err := nextWord(line[at:])
		if err != nil {
			return nil, err
		}
		words = append(words, word)
		at += n
	}
}

func space(b byte) bool { return b == ' ' || '\t' <= b && b <= '\r' || b == 0 }

// nextWord reads the word at the beginning of line, and returns how many bytes it takes there.
func nextWord(line []byte) (word []byte, n int, err error) {
	word = []byte{}
	for n < len(line) && !space(line[n]) {
		quote := line[n]
		n++
		if quote != '"' && quote != '\'' {
			word = append(word, quote)
			continue
		}
		for {
			if n == len(line) {
				return nil, 0, errQuotes
			}
			b := line[n]
			if b == quote {
				n++
				break
			}
			if b == '\\' && n+1 < len(line) {
				var took int
				b, took = escaped(line[n:], quote)
				n += took
			} else {
				n++
			}
			word = append(word, b)
		}
		if n < len(line) && !space(line[n]) {
			return nil, 0, errQuotes // nothing may follow a closing quote
		}
	}
	return word, n, nil
}

// escaped reads the byte that a backslash begins, between quotes, and returns how many bytes it
// takes there.
func escaped(line []byte, quote byte) (b byte, n int) {
	next := line[1]
	if quote == '\'' {
		if next == '\'' {
			return '\'', 2
		}
		return '\\', 1
	}
	if next == 'x' && len(line) >= 4 {
		high, low := digit(line[2]), digit(line[3])
		if high >= 0 && low >= 0 {
			return byte(high<<4 | low), 4
		}
	}
	switch next {
	case 'n':
		return '\n', 2
	case 'r':
		return '\r', 2
	case 't':
		return '\t', 2
	case 'b':
		return '\b', 2
	case 'a':
		return '\a', 2
	}
	return next, 2
}

// digit returns the value of a hexadecimal digit, or -1.
func digit(b byte) int {
	switch {
	case '0' <= b && b <= '9':
		return int(b - '0')
	case 'a' <= b && b <= 'f':
		return int(b-'a') + 10
	case 'A' <= b && b <= 'F':
		return int(b-'A') + 10
	}
	return -1
}
