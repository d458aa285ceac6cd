package kv

import (
	"bytes"
	"math/big"
)

// These are the precision and the largest exponent of the numbers that Redis adds, which are the
// long doubles of C on amd64.
const (
	floatBits     = 64
	floatExponent = 16384
)

// float reads a number with a fraction.
func float(b []byte) (*big.Float, bool) {
	if len(b) == 0 || len(b) > 4096 || len(bytes.Trim(b, "+-.0123456789eE")) != 0 {
		return nil, false
	}
	f, _, err := big.ParseFloat(string(b), 10, floatBits, big.ToNearestEven)
	if err != nil || f.IsInf() || f.MantExp(nil) > floatExponent {
		return nil, false
	}
	return f, true
}

// addFloat adds an amount to a number that is there, or else to 0. It replies what is wrong.
func (c *call) addFloat(there bool, number, amount []byte, wrong string) ([]byte, bool) {
	sum := new(big.Float).SetPrec(floatBits)
	if there {
		var ok bool
		if sum, ok = float(number); !ok {
			c.Error(wrong)
			return nil, false
		}
	}
	plus, ok := float(amount)
	if !ok {
		c.Error(notFloat)
		return nil, false
	}
	if sum.Add(sum, plus); sum.MantExp(nil) > floatExponent {
		c.Error("ERR increment would produce NaN or Infinity")
		return nil, false
	}
	text := sum.Append(nil, 'f', 17)
	if bytes.IndexByte(text, '.') >= 0 {
		text = bytes.TrimRight(text, "0")
		text = bytes.TrimSuffix(text, []byte("."))
	}
	if string(text) == "-0" {
		text = text[1:]
	}
	return text, true
}
