package httpapi

import (
	"fmt"
	"net/http"
	"strconv"
	"strings"

	"github.com/e17579a5/raft"
	"github.com/e17579a5/raft/wire"
)

// KeyField is the name of the header field that says which command of which session a request
// carries.
const KeyField = "Idempotency-Key"

// lowestParameter is the name of the parameter that says which answers the client still needs.
const lowestParameter = "lowest"

// FormatKey returns the value of KeyField for a command of a session (raft.Session.Next).
func FormatKey(command raft.SessionCommand) string {
	return fmt.Sprintf(`"%s-%d";%s=%d`, command.Session, command.Sequence, lowestParameter, command.Lowest)
}

// ParseKey reads the value of KeyField, as FormatKey writes it. Without the parameter, Lowest is as
// low as it may be. The error is an *Error: 400, bad_key.
func ParseKey(field string) (raft.SessionCommand, error) {
	command, err := parseKey(field)
	if err == nil {
		err = command.Check()
	}
	if err != nil {
		return raft.SessionCommand{}, &Error{
			Status: http.StatusBadRequest, Code: "bad_key", Outcome: NotApplied, Err: err,
			Message: fmt.Sprintf(`%s must be like "3.1042-7";lowest=5, for command 7 of session 3.1042: %v`, KeyField, err),
		}
	}
	return command, nil
}

func parseKey(field string) (command raft.SessionCommand, err error) {
	value, parameters, err := parseField(field)
	if err != nil {
		return command, err
	}
	session, number, _ := strings.Cut(value, "-")
	if err := command.Session.UnmarshalText([]byte(session)); err != nil {
		return command, err
	}
	if command.Sequence, err = parseNumber(number); err != nil {
		return command, err
	}
	lowest, found := parameters[lowestParameter]
	if !found {
		// The difference doesn't wrap around: min is at most Sequence.
		command.Lowest = command.Sequence - min(command.Sequence-1, wire.MaxSessionCommands-1)
		return command, nil
	}
	if command.Lowest, err = parseNumber(lowest); err != nil {
		return command, fmt.Errorf("%s: %w", lowestParameter, err)
	}
	return command, nil
}

// parseNumber reads a number from 1 on, in digits, without zeros before it.
func parseNumber(text string) (uint64, error) {
	n, err := strconv.ParseUint(text, 10, 64)
	if err != nil || n == 0 || text[0] == '0' || text[0] == '+' {
		return 0, fmt.Errorf("%q is not a number from 1 on", text)
	}
	return n, nil
}

// Key returns which command of which session a request carries. found is false if the request has
// no KeyField. The error is an *Error: 400, bad_key.
func Key(r *http.Request) (command raft.SessionCommand, found bool, err error) {
	fields := r.Header.Values(KeyField)
	if len(fields) == 0 {
		return command, false, nil
	}
	command, err = ParseKey(strings.Join(fields, ", ")) // more than one of them makes no string
	return command, true, err
}
