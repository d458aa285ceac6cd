package history

import "fmt"

// A CounterCall adds an amount to a counter, or reads it.
type CounterCall struct {
	Add  int64
	Read bool // reads; Add means nothing then
}

// String returns the call in words.
func (c CounterCall) String() string {
	if c.Read {
		return "read"
	}
	return fmt.Sprintf("add %d", c.Add)
}

// A CounterResult is the value of the counter after a call. Overflow says that the sum would be no
// int64; the counter then stays as it is.
type CounterResult struct {
	Value    int64
	Overflow bool
}

// String returns the result in words.
func (r CounterResult) String() string {
	if r.Overflow {
		return "overflow"
	}
	return fmt.Sprint(r.Value)
}

// Counter returns the model of one counter, which begins at 0.
func Counter() Model[int64, CounterCall, CounterResult] {
	return Model[int64, CounterCall, CounterResult]{
		Step: func(value int64, c CounterCall) (int64, CounterResult) {
			if c.Read {
				return value, CounterResult{Value: value}
			}
			if after := value + c.Add; (after > value) == (c.Add > 0) {
				return after, CounterResult{Value: after}
			} // otherwise the sum has wrapped around
			return value, CounterResult{Overflow: true}
		},
	}
}

// A RegisterCall writes a value to the register with this key, or reads it.
type RegisterCall struct {
	Key, Value string
	Read       bool // reads; Value means nothing then
}

// String returns the call in words.
func (c RegisterCall) String() string {
	if c.Read {
		return fmt.Sprintf("read %q", c.Key)
	}
	return fmt.Sprintf("write %q = %q", c.Key, c.Value)
}

// Registers returns the model of independent registers, one for each key. Each begins empty. The
// result of a call is the value after it.
func Registers() Model[string, RegisterCall, string] {
	return Model[string, RegisterCall, string]{
		Step: func(value string, c RegisterCall) (string, string) {
			if c.Read {
				return value, value
			}
			return c.Value, c.Value
		},
		Key: func(c RegisterCall) string { return c.Key },
	}
}
