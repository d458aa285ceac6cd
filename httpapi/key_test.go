package httpapi_test

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/e17579a5/raft"
	"github.com/e17579a5/raft/httpapi"
	"github.com/e17579a5/raft/wire"
)

func TestKeysThatAreRead(t *testing.T) {
	session := raft.SessionID{Term: 3, Index: 1042}
	for field, want := range map[string]raft.SessionCommand{
		`"3.1042-7"`:                      {Session: session, Sequence: 7, Lowest: 1},
		`"3.1042-1"`:                      {Session: session, Sequence: 1, Lowest: 1},
		`"3.1042-256"`:                    {Session: session, Sequence: 256, Lowest: 1},
		`"3.1042-257"`:                    {Session: session, Sequence: 257, Lowest: 2},
		`"3.1042-18446744073709551615"`:   {Session: session, Sequence: 1<<64 - 1, Lowest: 1<<64 - 256},
		`"3.1042-7";lowest=5`:             {Session: session, Sequence: 7, Lowest: 5},
		`"3.1042-7"; lowest=7`:            {Session: session, Sequence: 7, Lowest: 7},
		`  "3.1042-7";lowest=3;lowest=4 `: {Session: session, Sequence: 7, Lowest: 4},
		// What nobody asks for is skipped, whatever its type is.
		`"3.1042-7";a;b=1;c=-1.5;d="x\"y\\;";e=tok/en:*;f=:AQ==:;g=?0;h=@1659578233;i=%"f%c3%bc";*k_-.9=?1;lowest=6`: {Session: session, Sequence: 7, Lowest: 6},
	} {
		command, err := httpapi.ParseKey(strings.TrimRight(field, "\n"))
		require.NoError(t, err, field)
		require.Equal(t, want, command, field)
	}
}

func TestKeysThatAreRefused(t *testing.T) {
	for field, want := range map[string]string{
		``:                                       "doesn't begin with a quotation mark",
		`3.1042-7`:                               "doesn't begin with a quotation mark",
		`"3.1042-7`:                              "without an end",
		`"3.1042-7\`:                             "backslash",
		`"3.1042-\7"`:                            "backslash",
		"\"3.1042-7\t\"":                         "byte 0x9",
		`"é"`:                                    "byte 0xc3",
		`"3.1042-7" x`:                           `" x" after the value`,
		`"3.1042-7", "3.1042-8"`:                 "after the value",
		`"3.1042-7";`:                            "no parameter",
		`"3.1042-7";Lowest=5`:                    "no parameter",
		`"3.1042-7";lowest`:                      `lowest: "" is not a number`,
		`"3.1042-7";lowest=`:                     "is no value",
		`"3.1042-7";lowest=0`:                    `"0" is not a number`,
		`"3.1042-7";lowest=05`:                   `"05" is not a number`,
		`"3.1042-7";lowest=-5`:                   `"-5" is not a number`,
		`"3.1042-7";lowest="5"`:                  "is not a number",
		`"3.1042-7";lowest=5.0`:                  "is not a number",
		`"3.1042-7";lowest=8`:                    "below the lowest",
		`"3.1042-300";lowest=5`:                  "more than 255",
		`"3.1042-7";x=1234567890123456`:          "is no number",
		`"3.1042-7";x=1.`:                        "is no decimal",
		`"3.1042-7";x=1.1234`:                    "is no decimal",
		`"3.1042-7";x=-`:                         "is no number",
		`"3.1042-7";x=@1.5`:                      "a date with a point",
		`"3.1042-7";x=:AQ`:                       "base64",
		`"3.1042-7";x=:A Q:`:                     "base64",
		`"3.1042-7";x=?2`:                        "is no value",
		`"3.1042-7";x="`:                         "without an end",
		`"3.1042-7";x=%"`:                        "without an end",
		`"3.1042-7";x=(1)`:                       "is no value",
		`"3.1042"`:                               `"" is not a number`,
		`"3.1042-0"`:                             `"0" is not a number`,
		`"3.1042-07"`:                            "is not a number",
		`"3.1042-+7"`:                            "is not a number",
		`"3.1042-18446744073709551616"`:          "is not a number",
		`"0.1042-7"`:                             "is not a session ID",
		`"8e03978e-40d5-43dd-bc93-6894a57f9324"`: "is not a session ID",
	} {
		_, err := httpapi.ParseKey(field)
		require.ErrorContains(t, err, want, field)
		e := httpapi.ErrorOf(err)
		require.Equal(t, "bad_key", e.Code)
		require.Equal(t, http.StatusBadRequest, e.Status)
		require.Equal(t, httpapi.NotApplied, e.Outcome)
	}
}

// TestKeysAreReadAsWritten: ParseKey reads what FormatKey has written.
func TestKeysAreReadAsWritten(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		want := raft.SessionCommand{
			Session: raft.SessionID{Term: raft.Term(rapid.Uint64Min(1).Draw(t, "term")), Index: raft.Index(rapid.Uint64Min(1).Draw(t, "index"))},
			Lowest:  rapid.Uint64Range(1, 1<<64-wire.MaxSessionCommands).Draw(t, "lowest"),
		}
		if want.Lowest >= 1e15 { // integers of structured fields have 15 digits
			want.Lowest %= 1e15 - 1
			want.Lowest++
		}
		want.Sequence = want.Lowest + rapid.Uint64Range(0, wire.MaxSessionCommands-1).Draw(t, "above")
		got, err := httpapi.ParseKey(httpapi.FormatKey(want))
		require.NoError(t, err)
		require.Equal(t, want, got)
	})
}

// FuzzParseKey: no field makes ParseKey panic, and what it takes makes sense.
func FuzzParseKey(f *testing.F) {
	f.Add(`"3.1042-7";lowest=5`)
	f.Add(`"3.1042-7";a;b=1;c=-1.5;d="x\"y";e=tok;f=:AQ==:;g=?0;h=@1;i=%"f%c3%bc"`)
	f.Fuzz(func(t *testing.T, field string) {
		command, err := httpapi.ParseKey(field)
		if err == nil {
			require.NoError(t, command.Check())
		}
	})
}

// TestKeyOfARequest: no field is no key, and two fields are none that could be read.
func TestKeyOfARequest(t *testing.T) {
	r := httptest.NewRequest(http.MethodPost, "/", nil)
	_, found, err := httpapi.Key(r)
	require.NoError(t, err)
	require.False(t, found)
	r.Header.Add("idempotency-key", `"3.1042-7"`)
	command, found, err := httpapi.Key(r)
	require.NoError(t, err)
	require.True(t, found)
	require.EqualValues(t, 7, command.Sequence)
	r.Header.Add("Idempotency-Key", `"3.1042-7"`)
	_, found, err = httpapi.Key(r)
	require.True(t, found)
	require.Equal(t, "bad_key", httpapi.ErrorOf(err).Code)
}
