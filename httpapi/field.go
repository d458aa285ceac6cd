package httpapi

import (
	"errors"
	"fmt"
	"strings"
)

// A structured field is the syntax that newer header fields have in common (RFC 9651). This file
// reads the kind that Idempotency-Key is: one string, and parameters behind it, as in
//
//	"3.1042-7";lowest=5
//
// A parameter has a value of any type, or none. Those that nobody asks for are skipped, as the RFC
// demands, but what isn't well-formed is refused.

// parseField reads a string with parameters. The values of the parameters are as they were written,
// "" for none. Of a parameter that comes twice, the last one counts.
func parseField(field string) (value string, parameters map[string]string, err error) {
	rest := strings.Trim(field, " ")
	if !strings.HasPrefix(rest, `"`) {
		return "", nil, fmt.Errorf(`%s doesn't begin with a quotation mark`, field)
	}
	value, rest, err = cutString(rest)
	if err != nil {
		return "", nil, err
	}
	parameters = map[string]string{}
	for rest != "" {
		if rest[0] != ';' {
			return "", nil, fmt.Errorf("%q after the value", rest)
		}
		key, after := cutKey(strings.TrimLeft(rest[1:], " "))
		if key == "" {
			return "", nil, fmt.Errorf("no parameter in %q", rest)
		}
		written := ""
		if bare, found := strings.CutPrefix(after, "="); found {
			if after, err = skipBareItem(bare); err != nil {
				return "", nil, fmt.Errorf("parameter %s: %w", key, err)
			}
			written = bare[:len(bare)-len(after)]
		}
		parameters[key], rest = written, after
	}
	return value, parameters, nil
}

// cutString reads the string that s begins with. In it, a backslash stands before a quotation mark
// and before another backslash, and nowhere else.
func cutString(s string) (value, rest string, err error) {
	var b strings.Builder
	for i := 1; i < len(s); i++ {
		switch c := s[i]; {
		case c == '"':
			return b.String(), s[i+1:], nil
		case c < ' ' || c > '~':
			return "", "", fmt.Errorf("a string with the byte %#x", c)
		case c == '\\':
			if i++; i == len(s) || s[i] != '"' && s[i] != '\\' {
				return "", "", errors.New(`a backslash that stands before neither " nor \`)
			}
			b.WriteByte(s[i])
		default:
			b.WriteByte(c)
		}
	}
	return "", "", errors.New("a string without an end")
}

const (
	lower  = "abcdefghijklmnopqrstuvwxyz"
	digits = "0123456789"
	tokens = lower + "ABCDEFGHIJKLMNOPQRSTUVWXYZ" + digits + "!#$%&'*+-.^_`|~:/"
)

// cutKey reads the name of a parameter. It is "" if s doesn't begin with one.
func cutKey(s string) (key, rest string) {
	if s == "" || !strings.Contains(lower+"*", s[:1]) {
		return "", s
	}
	rest = strings.TrimLeft(s, lower+digits+"_-.*")
	return s[:len(s)-len(rest)], rest
}

// skipBareItem returns what comes after the value that s begins with: a string, a number, a token,
// bytes, a truth value, a date, or a string of Unicode.
func skipBareItem(s string) (rest string, err error) {
	first := byte(0)
	if s != "" {
		first = s[0]
	}
	switch {
	case first == '"':
		_, rest, err = cutString(s)
		return rest, err
	case first == '-' || strings.IndexByte(digits, first) >= 0:
		return skipNumber(s)
	case first == '@':
		if rest, err = skipNumber(s[1:]); err == nil && strings.Contains(s[:len(s)-len(rest)], ".") {
			err = errors.New("a date with a point")
		}
		return rest, err
	case first == '*' || strings.IndexByte(tokens[:52], first) >= 0:
		return strings.TrimLeft(s, tokens), nil
	case first == ':':
		bytes, rest, found := strings.Cut(s[1:], ":")
		if !found || strings.Trim(bytes, tokens[:62]+"+/=") != "" {
			return "", errors.New("bytes that aren't in base64 between colons")
		}
		return rest, nil
	case strings.HasPrefix(s, "?0") || strings.HasPrefix(s, "?1"):
		return s[2:], nil
	case strings.HasPrefix(s, `%"`):
		if _, rest, found := strings.Cut(s[2:], `"`); found {
			return rest, nil
		}
		return "", errors.New("a string without an end")
	}
	return "", fmt.Errorf("%q is no value", s)
}

// skipNumber returns what comes after the number that s begins with: up to 15 digits, or up to 12
// and up to 3 behind a point.
func skipNumber(s string) (rest string, err error) {
	unsigned := strings.TrimPrefix(s, "-")
	rest = strings.TrimLeft(unsigned, digits)
	whole := len(unsigned) - len(rest)
	if fraction, found := strings.CutPrefix(rest, "."); found {
		rest = strings.TrimLeft(fraction, digits)
		if behind := len(fraction) - len(rest); whole == 0 || whole > 12 || behind == 0 || behind > 3 {
			return "", fmt.Errorf("%q is no decimal", s)
		}
		return rest, nil
	}
	if whole == 0 || whole > 15 {
		return "", fmt.Errorf("%q is no number", s)
	}
	return rest, nil
}
