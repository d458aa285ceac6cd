package tcp

import (
	"bytes"
	"encoding/binary"
	"io"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// A pieceReader returns its bytes in pieces of the given sizes, over and over.
type pieceReader struct {
	left  []byte
	sizes []int
	reads int
}

func (p *pieceReader) Read(b []byte) (int, error) {
	if len(p.left) == 0 {
		return 0, io.EOF
	}
	n := copy(b, p.left[:min(len(p.left), p.sizes[p.reads%len(p.sizes)])])
	p.reads++
	p.left = p.left[n:]
	return n, nil
}

func appendFrame(b, body []byte) []byte {
	start := len(b)
	b = append(b, make([]byte, frameHeader)...)
	b = append(b, body...)
	sealFrame(b[start:])
	return b
}

// However reads cut the frames, and whichever bodies are kept: every body comes as it was sent, and
// those that are kept never change.
func TestFramesAreReadAsTheyWereWritten(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		size := rapid.OneOf(rapid.IntRange(0, 200), rapid.IntRange(0, 20_000), rapid.IntRange(0, 300_000))
		var bodies [][]byte
		var sent []byte
		for i, n := range rapid.SliceOfN(size, 1, 30).Draw(t, "sizes of bodies") {
			body := bytes.Repeat([]byte{byte(i + 1)}, n)
			bodies = append(bodies, body)
			sent = appendFrame(sent, body)
		}
		pieces := rapid.SliceOfN(rapid.OneOf(rapid.IntRange(1, 10), rapid.IntRange(1, 200_000)), 1, 5).Draw(t, "sizes of reads")
		keep := rapid.SliceOfN(rapid.Bool(), 1, 5).Draw(t, "kept")

		r := frameReader{conn: &pieceReader{left: sent, sizes: pieces}, max: 300_000}
		kept := make(map[int][]byte)
		for i, want := range bodies {
			got, err := r.read()
			require.NoError(t, err)
			require.True(t, bytes.Equal(want, got), "body %d", i)
			if keep[i%len(keep)] {
				r.keep()
				kept[i] = got
			}
		}
		_, err := r.read()
		require.Equal(t, io.EOF, err)
		for i, got := range kept {
			require.True(t, bytes.Equal(bodies[i], got), "body %d was overwritten", i)
		}
	})
}

func TestTruncatedFrame(t *testing.T) {
	frame := appendFrame(nil, []byte("hello"))
	for n := 1; n < len(frame); n++ {
		r := frameReader{conn: bytes.NewReader(frame[:n]), max: 100}
		_, err := r.read()
		require.Equal(t, io.ErrUnexpectedEOF, err, "cut at %d", n)
	}
}

func TestEveryFlippedBitOfAFrameIsSeen(t *testing.T) {
	frame := appendFrame(nil, []byte("hello"))
	for bit := range 8 * len(frame) {
		flipped := bytes.Clone(frame)
		flipped[bit/8] ^= 1 << (bit % 8)
		r := frameReader{conn: bytes.NewReader(flipped), max: 100}
		_, err := r.read()
		require.Error(t, err, "bit %d", bit)
	}
}

// Zeros are no frame, not even the empty frame that ends a stream.
func TestZerosAreNoFrame(t *testing.T) {
	r := frameReader{conn: bytes.NewReader(make([]byte, 100)), max: 100}
	_, err := r.read()
	require.ErrorIs(t, err, errFrame)
}

// A connection that announces a huge frame, and sends little of it, costs little memory.
func TestLyingFrameCostsLittleMemory(t *testing.T) {
	const claimed = 1 << 30
	header := make([]byte, frameHeader)
	binary.LittleEndian.PutUint32(header[4:], claimed)
	for _, shown := range []int{0, 1, 10_000, 100_000, 1 << 20} {
		r := frameReader{conn: bytes.NewReader(append(header, make([]byte, shown)...)), max: claimed}
		_, err := r.read()
		require.Equal(t, io.ErrUnexpectedEOF, err)
		require.LessOrEqual(t, len(r.buffer), 2*(frameHeader+shown)+readChunk)
	}
	r := frameReader{conn: bytes.NewReader(header), max: claimed - 1}
	_, err := r.read()
	require.ErrorIs(t, err, errFrame)
	require.ErrorContains(t, err, "1073741824 bytes, more than 1073741823")
}

// Bodies that nobody keeps cost no memory.
func TestReadingWithoutKeepingAllocatesNothing(t *testing.T) {
	var sent []byte
	for range 1000 {
		sent = appendFrame(sent, make([]byte, 50))
	}
	source := bytes.NewReader(sent)
	r := frameReader{conn: source, max: 100}
	_, err := r.read()
	require.NoError(t, err)
	require.Zero(t, testing.AllocsPerRun(10, func() {
		source.Reset(sent)
		r.next, r.end = r.low, r.low
		for range 1000 {
			if _, err := r.read(); err != nil {
				t.Error(err)
			}
		}
	}))
}

func FuzzFrameReader(f *testing.F) {
	f.Add(appendFrame(appendFrame(nil, []byte("hello")), nil), uint16(3))
	f.Add(make([]byte, 40), uint16(100))
	f.Fuzz(func(t *testing.T, sent []byte, piece uint16) {
		r := frameReader{conn: &pieceReader{left: sent, sizes: []int{1 + int(piece)}}, max: 1 << 20}
		var again []byte
		for {
			body, err := r.read()
			if err != nil {
				break
			}
			again = appendFrame(again, body)
		}
		require.True(t, bytes.HasPrefix(sent, again), "what was read is what was sent")
		require.LessOrEqual(t, len(r.buffer), 2*len(sent)+readChunk)
	})
}
