package kv

import (
	"bytes"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/e17579a5/raft/examples/redis/resp"
)

// words reads a reply of strings and arrays of strings in RESP2.
func words(t require.TestingT, reply string) (words []string) {
	lines := strings.Split(strings.TrimSuffix(reply, "\r\n"), "\r\n")
	for i := 0; i < len(lines); i++ {
		if strings.HasPrefix(lines[i], "$") {
			i++
			words = append(words, lines[i])
		} else {
			require.True(t, strings.HasPrefix(lines[i], "*"), reply)
		}
	}
	return words
}

func view(t require.TestingT, m *Machine, line string) string {
	c, args := command(line)
	out := resp.Writer{Proto: 2}
	_, err := m.View(0, func(r *Reader) { r.Run(c, args, &out) })
	require.NoError(t, err)
	return string(out.Buf)
}

// TestScanListsWhatStays: what is there during the whole of a scan is listed exactly once, whatever
// comes and goes meanwhile. The scan goes from one server to another, which was restored.
func TestScanListsWhatStays(t *testing.T) { onEach(t, testScanListsWhatStays) }

func testScanListsWhatStays(t *testing.T, fresh func() *Machine) {
	for _, kind := range []struct{ scan, add, remove string }{
		{"scan %d count %d", "set %[1]s 1", "del %s"}, {"hscan h %d count %d", "hset h %s 1", "hdel h %s"}, {"sscan s %d count %d", "sadd s %s", "srem s %s"},
	} {
		t.Run(kind.scan, func(t *testing.T) {
			for seed := range uint64(15) {
				pick := rand.New(rand.NewPCG(seed, 3)).IntN
				m := fresh()
				stays := map[string]bool{}
				for i := range pick(800) {
					key := fmt.Sprint("stays", i)
					stays[key] = true
					apply(m, entry(1, fmt.Sprintf(kind.add, key)))
				}
				others := 1 + pick(200)
				for i := range others {
					apply(m, entry(1, fmt.Sprintf(kind.add, fmt.Sprint("comes", i))))
				}
				listed := map[string]int{}
				count := 5 + pick(400)
				for cursor, calls := 0, 0; ; calls++ {
					require.Less(t, calls, 20_000)
					found := words(t, view(t, m, fmt.Sprintf(kind.scan, cursor, count)))
					_, err := fmt.Sscan(found[0], &cursor)
					require.NoError(t, err)
					for i, name := range found[1:] {
						if !strings.HasPrefix(kind.scan, "hscan") || i%2 == 0 {
							listed[name]++
						}
					}
					if cursor == 0 {
						break
					}
					for i := range pick(20) {
						line := kind.add
						if i%2 == 0 {
							line = kind.remove
						}
						apply(m, entry(1, fmt.Sprintf(line, fmt.Sprint("comes", pick(2*others)))))
					}
					if pick(10) == 0 {
						snapshot := snapshotOf(t, m)
						m = fresh()
						require.NoError(t, m.Restore(bytes.NewReader(snapshot)))
					}
				}
				for name := range stays {
					require.Equal(t, 1, listed[name], "%s, seed %d", name, seed)
				}
			}
		})
	}
}

func TestScanOptions(t *testing.T) { onEach(t, testScanOptions) }

func testScanOptions(t *testing.T, fresh func() *Machine) {
	m := fresh()
	apply(m, entry(1, "mset aa 1 ab 2 b 3", "rpush list x", "set old 1 px 1"), entry(2))
	require.ElementsMatch(t, []string{"0", "aa", "ab"}, words(t, view(t, m, "scan 0 match a* count 100")))
	require.ElementsMatch(t, []string{"0", "list"}, words(t, view(t, m, "scan 0 type list count 100")))
	for line, want := range map[string]string{
		"scan x": "-ERR invalid cursor\r\n", "scan 0 count": "-ERR syntax error\r\n", "scan 0 count 0": "-ERR syntax error\r\n",
		"scan 0 count x": "-" + notInteger + "\r\n", "scan 0 what 1": "-ERR syntax error\r\n", "hscan aa 0": "-" + wrongType + "\r\n",
		"hscan none 0": "*2\r\n$1\r\n0\r\n*0\r\n", "scan 281474976710656": "*2\r\n$1\r\n0\r\n*0\r\n", "scan 18446744073709551615": "*2\r\n$1\r\n0\r\n*0\r\n",
	} {
		require.Equal(t, want, view(t, m, line), line)
	}
}

func TestGlob(t *testing.T) {
	for pattern, names := range map[string]struct{ yes, no string }{
		"*": {"a bc", ""}, "a*c": {"ac abc abcc", "ab bc"}, "h?llo": {"hello hallo", "hllo"}, "h[ae]llo": {"hello hallo", "hillo"},
		"h[^e]llo": {"hallo", "hello"}, "h[a-b]llo": {"hallo hbllo", "hcllo"}, "h[b-a]llo": {"hallo", "hcllo"}, `a\*`: {"a*", "ab"},
		`[\]]`: {"]", "a"}, "*a*b*": {"ab xaxbx", "ba"}, "a[": {"", "a ab"}, "[a": {"a", "b"}, `a\`: {`a\`, "a"}, "**": {"a", ""},
	} {
		for _, name := range strings.Fields(names.yes) {
			require.True(t, glob([]byte(pattern), name), "%s %s", pattern, name)
		}
		for _, name := range strings.Fields(names.no) {
			require.False(t, glob([]byte(pattern), name), "%s %s", pattern, name)
		}
	}
	require.False(t, glob([]byte(strings.Repeat("*a", 40)+"b"), strings.Repeat("a", 200)), "in time that doesn't explode")
}

// TestCapturesStay: a capture shows the keys of its moment, whatever is changed afterwards and
// whether it is closed early or late.
func TestCapturesStay(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := New(&Memory{})
		pick := func(n int) int { return rapid.IntRange(0, n-1).Draw(t, "pick") }
		for range 6 {
			for range pick(20) {
				apply(m, draw(pick))
			}
			want := snapshotOf(t, m)
			captured, err := m.Snapshot()
			require.NoError(t, err)
			for range pick(20) {
				apply(m, draw(pick))
			}
			if pick(4) > 0 {
				var got bytes.Buffer
				_, err := captured.WriteTo(&got)
				require.NoError(t, err)
				require.Equal(t, want, got.Bytes())
			}
			require.NoError(t, captured.(io.Closer).Close())
		}
	})
}

// TestFieldsAndItems: they hold what a map and a slice hold.
func TestFieldsAndItems(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		fields, want := &Fields{}, map[string]string{}
		items, list := &Items{}, []string(nil)
		for range rapid.IntRange(0, 300).Draw(t, "steps") {
			name := fmt.Sprint(rapid.IntRange(0, 60).Draw(t, "name"))
			value := fmt.Sprint(rapid.IntRange(0, 9).Draw(t, "value"))
			_, there := want[name]
			switch rapid.IntRange(0, 9).Draw(t, "step") {
			case 0, 1, 2, 3:
				require.Equal(t, !there, fields.Set([]byte(name), []byte(value)))
				want[name] = value
				items.PushLast([]byte(value))
				list = append(list, value)
			case 4, 5:
				require.Equal(t, there, fields.Delete([]byte(name)))
				delete(want, name)
			case 6:
				items.PushFirst([]byte(value))
				list = slices.Insert(list, 0, value)
				fields = fields.clone()
			case 7:
				if len(list) > 0 {
					require.Equal(t, list[0], string(items.PopFirst()))
					list = list[1:]
				}
			case 8:
				if len(list) > 0 {
					require.Equal(t, list[len(list)-1], string(items.PopLast()))
					list = list[:len(list)-1]
				}
				items = items.clone()
			case 9:
				if len(list) > 0 {
					at := rapid.IntRange(0, len(list)).Draw(t, "at")
					items.Insert(at, []byte(value))
					list = slices.Insert(list, at, value)
					keep := func(i int) bool { return i%7 != 3 }
					items.Keep(func(i int, _ []byte) bool { return keep(i) })
					kept := list[:0]
					for i, item := range list {
						if keep(i) {
							kept = append(kept, item)
						}
					}
					list = kept
				}
			}
			require.Equal(t, len(want), fields.Len())
			require.Equal(t, len(list), items.Len())
		}
		for _, f := range fields.All() {
			require.Equal(t, want[f.Name], string(f.Value))
			got, found := fields.Get([]byte(f.Name))
			require.True(t, found)
			require.Equal(t, want[f.Name], string(got))
		}
		require.Len(t, slices.Collect(maps.Keys(want)), fields.Len())
		for i, item := range list {
			require.Equal(t, item, string(items.At(i)))
		}
	})
}
