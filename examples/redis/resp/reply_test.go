package resp

import (
	"bufio"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/stretchr/testify/require"
)

// A reply is read as it was written, whatever it is, and not a byte further.
func TestReplies(t *testing.T) {
	w := Writer{Proto: 3}
	w.Array(7)
	w.Simple("OK")
	w.Int(-7)
	w.Text("a\r\nb")
	w.Null()
	w.Double(1.5)
	w.Error("ERR " + strings.Repeat("x", 5000))
	w.Map(1)
	w.Text("k")
	w.Set(0)
	for _, reply := range []string{
		string(w.Buf), "+OK\r\n", "$-1\r\n", "*-1\r\n", "*0\r\n", "$0\r\n\r\n", "#t\r\n", "(123\r\n", "=5\r\ntxt:x\r\n", "!3\r\nERR\r\n", ">1\r\n:1\r\n",
	} {
		r := bufio.NewReaderSize(iotest.OneByteReader(strings.NewReader(reply+"+NEXT\r\n")), 16)
		got, err := ReadReply(r, 1<<20)
		require.NoError(t, err)
		require.Equal(t, reply, string(got))
		got, err = ReadReply(r, 1<<20)
		require.NoError(t, err)
		require.Equal(t, "+NEXT\r\n", string(got))
	}
	n, items, isArray := Unwrap(w.Buf)
	require.True(t, isArray)
	require.Equal(t, 7, n)
	require.Equal(t, string(w.Buf[4:]), string(items))
	for _, none := range []string{"", "*-1\r\n", "+OK\r\n", "*x\r\n", "%1\r\n"} {
		_, _, isArray := Unwrap([]byte(none))
		require.False(t, isArray, none)
	}
	text, failed := Failure([]byte("-ERR no\r\n"))
	require.True(t, failed)
	require.Equal(t, "ERR no", text)
	_, failed = Failure([]byte("+OK\r\n"))
	require.False(t, failed)
}

// What is no reply, ends too early or is too large is an error.
func TestNoReplies(t *testing.T) {
	for _, input := range []string{
		"", "+OK", "+OK\n", "\r\n", "?\r\n", "$x\r\n", "$-2\r\n", "$5\r\nabc", "*2\r\n:1\r\n", "$2000\r\n", "*999999999\r\n", "+" + strings.Repeat("x", 2000) + "\r\n",
		"$9999999999999999999\r\n", strings.Repeat("*1\r\n", 100) + ":1\r\n",
	} {
		_, err := ReadReply(bufio.NewReader(strings.NewReader(input)), 1000)
		require.Error(t, err, "%.40q", input)
	}
}
