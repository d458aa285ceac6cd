package resp

import (
	"bytes"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

var roomy = Limits{Bytes: 1 << 20, Arguments: 1 << 10}

// parseAll takes all commands from bytes that come in pieces of the given size.
func parseAll(limits Limits, input []byte, piece int) (commands [][]string, rest int, err error) {
	p := Parser{Limits: limits}
	var buffer []byte
	for len(input) > 0 || len(buffer) > 0 {
		n := min(piece, len(input))
		buffer, input = append(buffer, input[:n]...), input[n:]
		for {
			args, took, err := p.Next(buffer, nil)
			if err != nil {
				return commands, len(buffer), err
			}
			if took == 0 {
				break
			}
			var command []string
			for _, arg := range args {
				command = append(command, string(arg))
			}
			commands, buffer = append(commands, command), buffer[took:]
		}
		if len(input) == 0 {
			return commands, len(buffer), nil
		}
	}
	return commands, 0, nil
}

func TestParser(t *testing.T) {
	for name, test := range map[string]struct {
		input    string
		commands [][]string
		rest     int
		err      string
	}{
		"a command":             {"*2\r\n$3\r\nGET\r\n$1\r\na\r\n", [][]string{{"GET", "a"}}, 0, ""},
		"two":                   {"*1\r\n$4\r\nPING\r\n*1\r\n$4\r\nQUIT\r\n", [][]string{{"PING"}, {"QUIT"}}, 0, ""},
		"an empty string":       {"*2\r\n$4\r\nECHO\r\n$0\r\n\r\n", [][]string{{"ECHO", ""}}, 0, ""},
		"any bytes":             {"*1\r\n$4\r\n\r\n\x00\xff\r\n", [][]string{{"\r\n\x00\xff"}}, 0, ""},
		"half":                  {"*2\r\n$3\r\nGET\r\n$1\r\n", nil, 17, ""},
		"nothing":               {"*0\r\n*-1\r\n\r\n", [][]string{nil, nil, nil}, 0, ""},
		"a line":                {"set a  1\r\nping\n", [][]string{{"set", "a", "1"}, {"ping"}}, 0, ""},
		"quotes":                {`set "a b" 'c\'d' "\x41\n\"" ""` + "\n", [][]string{{"set", "a b", "c'd", "A\n\"", ""}}, 0, ""},
		"open quotes":           {"set \"a\n", nil, 7, "unbalanced quotes"},
		"text after quotes":     {"set \"a\"b\n", nil, 9, "unbalanced quotes"},
		"a long line":           {strings.Repeat("a", maxInline), nil, maxInline, "too big inline request"},
		"no string":             {"*1\r\n:3\r\n", nil, 8, "expected '$', got ':'"},
		"no printable":          {"*1\r\n\x01", nil, 5, "expected '$', got '?'"},
		"no number":             {"*x\r\n", nil, 4, "invalid multibulk length"},
		"a negative length":     {"*1\r\n$-1\r\n", nil, 9, "invalid bulk length"},
		"a large number":        {"*99999999999\r\n", nil, 14, "invalid multibulk length"},
		"a long number":         {"*" + strings.Repeat("0", 40), nil, 41, "invalid multibulk length"},
		"too many arguments":    {"*1025\r\n", nil, 7, "at most 1024 arguments"},
		"too long a string":     {"*1\r\n$1048567\r\n", nil, 14, "at most 1048576 bytes"},
		"a wrong end":           {"*1\r\n$1\r\nabc\r\n", nil, 13, "longer than its length says"},
		"a line without its \n": {"*1\r\r", nil, 5, "invalid multibulk length"},
	} {
		t.Run(name, func(t *testing.T) {
			for _, piece := range []int{1, 2, 7, 1 << 20} {
				commands, rest, err := parseAll(roomy, []byte(test.input), piece)
				if test.err != "" {
					require.ErrorContains(t, err, test.err)
					continue
				}
				require.NoError(t, err)
				require.Equal(t, test.commands, commands)
				require.Equal(t, test.rest, rest)
			}
		})
	}
}

// A command that is as large as the limit is taken, and one byte more isn't.
func TestParserAtItsLimit(t *testing.T) {
	command := "*2\r\n$3\r\nSET\r\n$5\r\nabcde\r\n"
	_, _, err := parseAll(Limits{Bytes: len(command), Arguments: 2}, []byte(command), 1)
	require.NoError(t, err)
	_, _, err = parseAll(Limits{Bytes: len(command) - 1, Arguments: 2}, []byte(command), 1)
	require.ErrorContains(t, err, "invalid bulk length")
	_, _, err = parseAll(Limits{Bytes: len(command), Arguments: 1}, []byte(command), 1)
	require.ErrorContains(t, err, "invalid multibulk length")
	_, _, err = parseAll(Limits{Bytes: 100, Arguments: 1}, []byte("a b\n"), 4)
	require.ErrorContains(t, err, "at most 1 arguments")
}

// FuzzParser: whatever comes, in pieces or at once, gives the same commands, and a command that is
// written again is read again.
func FuzzParser(f *testing.F) {
	for _, seed := range []string{"*2\r\n$3\r\nGET\r\n$1\r\na\r\n", "ping\r\n", "set \"a\\x41\" 'b'\n", "*1\r\n$-1\r\n", "*-1\r\n*0\r\n\n"} {
		f.Add([]byte(seed), 3)
	}
	limits := Limits{Bytes: 1 << 12, Arguments: 16}
	f.Fuzz(func(t *testing.T, input []byte, piece int) {
		piece = max(1, min(piece, 1<<16))
		whole, rest, err := parseAll(limits, input, len(input)+1)
		parts, restOfParts, errOfParts := parseAll(limits, input, piece)
		require.Equal(t, err == nil, errOfParts == nil, "%v, %v", err, errOfParts)
		require.Equal(t, whole, parts)
		if err == nil {
			require.Equal(t, rest, restOfParts)
		}
		var again bytes.Buffer
		size := 0
		for _, command := range whole {
			w := Writer{}
			w.Array(len(command))
			for _, arg := range command {
				w.Text(arg)
			}
			again.Write(w.Buf)
			size = max(size, len(w.Buf))
		}
		read, rest, err := parseAll(Limits{Bytes: max(size, 1), Arguments: 1 << 12}, again.Bytes(), piece)
		require.NoError(t, err)
		require.Zero(t, rest)
		require.Equal(t, len(whole), len(read))
		for i := range whole {
			require.ElementsMatch(t, whole[i], read[i])
		}
	})
}

func TestWriter(t *testing.T) {
	write := func(proto int) string {
		w := Writer{Proto: proto}
		w.Int(-5)
		w.Bulk([]byte("a\r\n"))
		w.Text("")
		w.Simple("OK")
		w.Array(1)
		w.Null()
		w.NullArray()
		w.Map(2)
		w.Set(3)
		w.Double(0.5)
		w.Error("ERR a\r\nb")
		return string(w.Buf)
	}
	require.Equal(t, ":-5\r\n$3\r\na\r\n\r\n$0\r\n\r\n+OK\r\n*1\r\n$-1\r\n*-1\r\n*4\r\n*3\r\n$3\r\n0.5\r\n-ERR a  b\r\n", write(2))
	require.Equal(t, ":-5\r\n$3\r\na\r\n\r\n$0\r\n\r\n+OK\r\n*1\r\n_\r\n_\r\n%2\r\n~3\r\n,0.5\r\n-ERR a  b\r\n", write(3))
}

// What exceeds the limit is left out, whatever it is.
func TestWriterWithLimit(t *testing.T) {
	for _, write := range []func(*Writer){
		func(w *Writer) { w.Int(1) }, func(w *Writer) { w.Text("abc") }, func(w *Writer) { w.Bulk([]byte("abc")) },
		func(w *Writer) { w.Simple("abc") }, func(w *Writer) { w.Map(1) }, func(w *Writer) { w.Set(1) },
	} {
		w := Writer{Limit: 100, Proto: 3}
		for range 50 {
			write(&w)
			require.LessOrEqual(t, len(w.Buf), w.Limit)
		}
		require.True(t, w.Full)
		w.Error("ERR full")
		require.True(t, bytes.HasSuffix(w.Buf, []byte("-ERR full\r\n")))
	}
}
