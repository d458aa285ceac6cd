package history

import "fmt"

// A CounterCall adds an amount to a counter, or reads it.
type CounterCall struct {
	Add  int64
	Read bool // then Add counts for nothing
}

// String returns the call in words.
func (c CounterCall) String() string {
	if c.Read {
		return "read"
	}
	return fmt.Sprintf("add %d", c.Add)
}

// A CounterResult is the value after a call, or that the sum would have been no int64, which leaves the counter as it is.
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

// Counter is the model of one counter that begins at 0.
func Counter() Model[int64, CounterCall, CounterResult] {
	return Model[int64, CounterCall, CounterResult]{
		Step: func(value int64, c CounterCall) (int64, CounterResult) {
			if c.Read {
				return value, CounterResult{Value: value}
			}
			if after := value + c.Add; (after > value) == (c.Add > 0) {
				return after, CounterResult{Value: after}
			} // it wraps around otherwise
			return value, CounterResult{Overflow: true}
		},
	}
}

// A RegisterCall writes a value to a register, by its key, or reads it.
type RegisterCall struct {
	Key, Value string
	Read       bool // then Value counts for nothing
}

// String returns the call in words.
func (c RegisterCall) String() string {
	if c.Read {
		return fmt.Sprintf("read %q", c.Key)
	}
	return fmt.Sprintf("write %q = %q", c.Key, c.Value)
}

// Registers is the model of independent registers, one for each key, that begin empty. The result is the value after the call.
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
