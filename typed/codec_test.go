package typed_test

import (
	"bytes"
	"encoding/gob"
	"encoding/json"
	"math"
	"math/big"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/e17579a5/raft"
	"github.com/e17579a5/raft/memory"
	"github.com/e17579a5/raft/typed"
)

// An echo returns each command, and has no state.
type echo[C any] struct{}

func (echo[C]) Apply(command C) (C, error) { return command, nil }

// accepts returns the error of a machine whose commands are of a type.
func accepts[C any]() error {
	_, err := typed.Options[C, C]{}.StateMachine(&echo[C]{})
	return err
}

type (
	unexported struct {
		Kept    int
		dropped int
	}
	tagged struct {
		Kept  int
		cache int `json:"-"`
	}
	twins struct {
		A int `json:"B"`
		B int
	}
	base      struct{ A int }
	embedding struct {
		base
		B int
	}
	hidden struct {
		*base
	}
	shadowing struct {
		base
		A int
	}
	writesOnly struct{}
	list       struct {
		Next  *list
		Value []byte
	}
)

func (writesOnly) MarshalJSON() ([]byte, error) { return nil, nil }

// TestJSONRefusesWhatItWouldLose: the error names the part of the type.
func TestJSONRefusesWhatItWouldLose(t *testing.T) {
	_ = unexported{dropped: 1}
	_ = tagged{cache: 1}
	for want, err := range map[string]error{
		"typed_test.unexported.dropped is unexported, so JSON would leave it out": accepts[unexported](),
		"typed_test.twins.A and typed_test.twins.B have one name in JSON":         accepts[twins](),
		"typed_test.hidden.base is unexported":                                    accepts[hidden](),
		"typed_test.shadowing.base.A and typed_test.shadowing.A have one name":    accepts[shadowing](),
		"is an interface, and JSON doesn't say of which type":                     accepts[map[string]any](),
		"is a func, which JSON can't carry":                                       accepts[[]func()](),
		"is a complex128":                                                         accepts[complex128](),
		"has keys of the type bool":                                               accepts[map[bool]int](),
		"has only one of json.Marshaler and json.Unmarshaler":                     accepts[writesOnly](),
	} {
		require.ErrorIs(t, err, raft.ErrConfig, want)
		require.ErrorContains(t, err, want)
	}
	for _, err := range []error{
		accepts[tagged](), accepts[embedding](), accepts[list](), accepts[map[string][]time.Time](), accepts[*big.Int](),
		accepts[json.RawMessage](), accepts[map[uint8]string](), accepts[struct{}](),
	} {
		require.NoError(t, err)
	}
}

// TestJSONCarriesStringsOrSaysThatItDoesnt: encoding/json puts U+FFFD in the place of what is no UTF-8.
func TestJSONCarriesStringsOrSaysThatItDoesnt(t *testing.T) {
	require.NoError(t, typed.CheckCodec(typed.JSON[string](), "", "ä", "\ufffd", `\ufffd`, `\\ufffd`, `\\\ufffd`, "<&>\u2028"))
	for _, lost := range []string{"\xff", `\` + "\xff", `\\ufffd` + "\xff", "a\xc3"} {
		require.ErrorContains(t, typed.CheckCodec(typed.JSON[string](), lost), "a string isn't UTF-8", "%q", lost)
	}
	require.ErrorContains(t, typed.CheckCodec(typed.JSON[float64](), math.NaN()), "NaN")
	require.NoError(t, typed.CheckCodec(typed.JSON[map[string]int](), map[string]int{"a": 1, "b": 2, "c": 3, "d": 4}))
	require.NoError(t, typed.CheckCodec(typed.Binary[transfer](), transfer{}, transfer{1, 2, -3}))
}

// TestJSONDecodesAllOrNothing: what a version doesn't know is an error.
func TestJSONDecodesAllOrNothing(t *testing.T) {
	var c struct{ A int }
	decode := func(text string) error { return typed.JSON[struct{ A int }]().Decode([]byte(text), &c) }
	require.NoError(t, decode(`{"A":1}`))
	require.NoError(t, decode(`{}`))
	require.ErrorContains(t, decode(`{"A":1,"B":2}`), `unknown field "B"`)
	require.ErrorContains(t, decode(`{"A":1} {}`), "more than one JSON value")
	require.Error(t, decode(`{"A":1`))
	require.Error(t, decode(``))
}

// A gobCodec is a codec that isn't deterministic.
type gobCodec[T any] struct{}

func (gobCodec[T]) Append(b []byte, value *T) ([]byte, error) {
	buffer := bytes.NewBuffer(b)
	err := gob.NewEncoder(buffer).Encode(value)
	return buffer.Bytes(), err
}

func (gobCodec[T]) Decode(b []byte, value *T) error {
	return gob.NewDecoder(bytes.NewReader(b)).Decode(value)
}

// TestCheckCodecSeesMapsByGob: gob ranges over maps.
func TestCheckCodecSeesMapsByGob(t *testing.T) {
	err := typed.CheckCodec(gobCodec[map[int]int]{}, map[int]int{1: 1, 2: 2, 3: 3, 4: 4, 5: 5})
	require.ErrorContains(t, err, "aren't the same each time")
	require.ErrorContains(t, typed.CheckCodec(gobCodec[tagged]{}, tagged{1, 2}), "comes back as")
}

type (
	order  interface{ isOrder() }
	buy    struct{ Count int }
	sell   transfer
	cancel struct{}
)

func (buy) isOrder()    {}
func (*sell) isOrder()  {}
func (cancel) isOrder() {}

func (s *sell) AppendBinary(b []byte) ([]byte, error) { return transfer(*s).AppendBinary(b) }
func (s *sell) UnmarshalBinary(b []byte) error        { return (*transfer)(s).UnmarshalBinary(b) }

// pointerTo is the codec of a pointer, by that of what it points to.
type pointerTo[T any] struct{ typed.Codec[T] }

func (p pointerTo[T]) Append(b []byte, value **T) ([]byte, error) { return p.Codec.Append(b, *value) }
func (p pointerTo[T]) Decode(b []byte, value **T) error {
	*value = new(T)
	return p.Codec.Decode(b, *value)
}

// TestSum: each type of an interface has a name and a codec.
func TestSum(t *testing.T) {
	orders := typed.Sum(
		typed.CaseOf[order]("buy", typed.JSON[buy]()),
		typed.CaseOf[order]("sell", pointerTo[sell]{typed.Binary[sell]()}),
	)
	require.NoError(t, typed.CheckCodec(orders, order(buy{3}), order(&sell{1, 2, 3})))
	require.ErrorContains(t, typed.CheckCodec(orders, order(cancel{})), "typed_test.cancel is none of the cases of typed_test.order")
	require.ErrorContains(t, typed.CheckCodec(orders, order(nil)), "<nil> is none of the cases")
	var o order
	require.ErrorContains(t, orders.Decode([]byte("\x06cancel{}"), &o), `"cancel" is no case of typed_test.order that this version knows`)
	require.Error(t, orders.Decode([]byte("\x06can"), &o))
	require.Error(t, orders.Decode(nil, &o))

	for want, codec := range map[string]typed.Codec[order]{
		`case "buy" is there twice`:                                   typed.Sum(typed.CaseOf[order]("buy", typed.JSON[buy]()), typed.CaseOf[order]("buy", typed.JSON[cancel]())),
		"typed_test.sell is no type that implements typed_test.order": typed.Sum(typed.CaseOf[order]("sell", typed.JSON[sell]())),
		"the name has 0 bytes":                                        typed.Sum(typed.CaseOf[order]("", typed.JSON[buy]())),
		"typed_test.order is no type that":                            typed.Sum(typed.CaseOf[order]("any", typed.JSON[order]())),
		"typed_test.holder.Order is an interface":                     typed.Sum(typed.CaseOf[order]("h", typed.JSON[holder]())),
	} {
		_, err := typed.Options[order, int]{Commands: codec}.StateMachine(&counts{})
		require.ErrorContains(t, err, want)
		require.ErrorIs(t, err, raft.ErrConfig)
	}
	require.ErrorContains(t, typed.CheckCodec(typed.Sum(typed.CaseOf[int]("int", typed.JSON[int]())), 1), "int is no interface")
}

type holder struct{ Order order }

func (holder) isOrder() {}

type counts struct{ Count int }

func (c *counts) Apply(o order) (int, error) {
	c.Count++
	return c.Count, nil
}

// TestStartRefuses: what Start refuses closes the storage and the transport, and says what is wrong.
func TestStartRefuses(t *testing.T) {
	for want, start := range map[string]func(raft.Config) error{
		"dropped is unexported": func(c raft.Config) error {
			_, err := typed.Start(&echo[unexported]{}, c)
			return err
		},
		"the config has a Machine": func(c raft.Config) error {
			c.Machine = new(plainBank)
			_, err := typed.Start(&echo[int]{}, c)
			return err
		},
		"the config has Validate": func(c raft.Config) error {
			c.Validate = func([]byte) error { return nil }
			_, err := typed.Start(&echo[int]{}, c)
			return err
		},
		"no Machine": func(c raft.Config) error {
			_, err := typed.Start[int, int](nil, c)
			return err
		},
		"it must be a pointer": func(c raft.Config) error {
			_, err := typed.Start(echo[int]{}, c)
			return err
		},
		"Level is 4294967295, more than 4294967294": func(c raft.Config) error {
			_, err := typed.Options[int, int]{Level: typed.MaxLevel + 1}.Start(&echo[int]{}, c)
			return err
		},
		`Errors: "a" is nil`: func(c raft.Config) error {
			_, err := typed.Options[int, int]{Errors: typed.Errors{"a": nil}}.Start(&echo[int]{}, c)
			return err
		},
		`Errors: "a": *typed_test.secretive.why is unexported`: func(c raft.Config) error {
			_, err := typed.Options[int, int]{Errors: typed.Errors{"a": (*secretive)(nil)}}.Start(&echo[int]{}, c)
			return err
		},
	} {
		network := memory.NewNetwork(memory.Options{})
		storage := memory.NewStorage()
		err := start(raft.Config{ID: "a", Storage: storage, Transport: network.Join("a"), Bootstrap: []raft.Server{{ID: "a"}}})
		require.ErrorIs(t, err, raft.ErrConfig, want)
		require.ErrorContains(t, err, want)
		_, err = storage.Load()
		require.Error(t, err, "the storage is closed: %s", want)
	}
}

type secretive struct{ why string }

func (s *secretive) Error() string { return s.why }
