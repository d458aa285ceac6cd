package resp

import (
	"math"
	"strconv"
	"strings"
)

// A Writer appends replies to Buf. Proto is the version of the protocol: 2, or 3. In version 2 a map
// is an array of keys and values, a set an array, and a double a string.
type Writer struct {
	Buf   []byte
	Proto int
	// Limit, when positive, bounds the length of Buf. What doesn't fit is left out, and so is all
	// that comes after it; Full says so. An error is always appended.
	Limit int
	Full  bool
}

// fits says whether n more bytes may be appended.
func (w *Writer) fits(n int) bool {
	if w.Full || w.Limit > 0 && n > w.Limit-len(w.Buf) {
		w.Full = true
	}
	return !w.Full
}

// headerBytes is more than the bytes of a type, a number, and the ends of two lines.
const headerBytes = 32

func (w *Writer) header(kind byte, n int64) {
	if w.fits(headerBytes) {
		w.Buf = append(w.Buf, kind)
		w.Buf = strconv.AppendInt(w.Buf, n, 10)
		w.Buf = append(w.Buf, '\r', '\n')
	}
}

// Int appends an integer.
func (w *Writer) Int(n int64) { w.header(':', n) }

// Array begins an array of n replies, which are to follow.
func (w *Writer) Array(n int) { w.header('*', int64(n)) }

// Set begins a set of n replies.
func (w *Writer) Set(n int) {
	if w.Proto >= 3 {
		w.header('~', int64(n))
	} else {
		w.Array(n)
	}
}

// Map begins a map of n pairs, each of which is two replies.
func (w *Writer) Map(n int) {
	if w.Proto >= 3 {
		w.header('%', int64(n))
	} else {
		w.Array(2 * n)
	}
}

// Bulk appends a string of any bytes.
func (w *Writer) Bulk(b []byte) {
	if w.fits(len(b) + headerBytes) {
		w.header('$', int64(len(b)))
		w.Buf = append(append(w.Buf, b...), '\r', '\n')
	}
}

// Text is Bulk for a string.
func (w *Writer) Text(s string) {
	if w.fits(len(s) + headerBytes) {
		w.header('$', int64(len(s)))
		w.Buf = append(append(w.Buf, s...), '\r', '\n')
	}
}

// Simple appends a short string such as OK, which has no ends of lines.
func (w *Writer) Simple(s string) {
	if w.fits(len(s) + headerBytes) {
		w.Buf = append(append(append(w.Buf, '+'), s...), '\r', '\n')
	}
}

// Double appends a floating-point number.
func (w *Writer) Double(f float64) {
	text := strconv.FormatFloat(f, 'g', 17, 64)
	switch {
	case math.IsInf(f, 1):
		text = "inf"
	case math.IsInf(f, -1):
		text = "-inf"
	}
	if w.Proto < 3 {
		w.Text(text)
	} else if w.fits(len(text) + headerBytes) {
		w.Buf = append(append(append(w.Buf, ','), text...), '\r', '\n')
	}
}

// Null appends what stands for no value.
func (w *Writer) Null() { w.none("$-1\r\n") }

// NullArray appends what stands for no array. In version 3 it is the same as Null.
func (w *Writer) NullArray() { w.none("*-1\r\n") }

func (w *Writer) none(version2 string) {
	if w.Proto >= 3 {
		version2 = "_\r\n"
	}
	if w.fits(len(version2)) {
		w.Buf = append(w.Buf, version2...)
	}
}

var oneLine = strings.NewReplacer("\r", " ", "\n", " ")

// Error appends an error. Its first word is the code by which clients know it.
func (w *Writer) Error(text string) {
	if strings.ContainsAny(text, "\r\n") {
		text = oneLine.Replace(text)
	}
	w.Buf = append(append(append(w.Buf, '-'), text...), '\r', '\n')
}
