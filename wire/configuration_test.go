package wire_test

import (
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/e17579a5/raft/wire"
)

func TestConfigurationsRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := drawConfiguration().Draw(t, "configuration")
		got, err := wire.DecodeConfiguration(wire.AppendConfiguration(nil, &c))
		require.NoError(t, err)
		if c.LevelInForce() == wire.LevelFirst {
			c.Level = 0
		}
		require.Equal(t, c, got)
	})
}

func TestDecodeConfigurationNamesWhatIsWrong(t *testing.T) {
	encode := func(change func(*wire.Configuration)) []byte {
		c := sampleConfiguration()
		change(&c)
		return wire.AppendConfiguration(nil, &c)
	}
	valid := encode(func(*wire.Configuration) {})
	for _, test := range []struct {
		want string
		b    []byte
	}{
		{"configuration: of version 3, not 1 or 2", append([]byte{3}, valid[1:]...)},
		{"configuration: fields: cut off", append([]byte{2}, valid[1:]...)},
		{"configuration: 1 bytes behind its end", append(slices.Clone(valid), 0)},
		{`configuration: member "a" after "b": not sorted`, encode(func(c *wire.Configuration) { slices.Reverse(c.Members) })},
		{`configuration: member "a" after "a": not sorted`, encode(func(c *wire.Configuration) { c.Members[1].ID = "a" })},
		{"configuration: member 0 has no ID", encode(func(c *wire.Configuration) { c.Members[0].ID = "" })},
		{`configuration: member "b" has the unknown role 4`, encode(func(c *wire.Configuration) { c.Members[1].Role = 4 })},
		{"configuration: of version 2, yet without fields", slices.Concat([]byte{2}, valid[1:], []byte{0})},
		{"configuration: KeyOutworn is neither 0 nor 1", slices.Concat([]byte{2}, valid[1:], []byte{0x80, 2, 1}, make([]byte, 32))},
		{"configuration: 0 Keys, not 1 to 16", slices.Concat([]byte{2}, valid[1:], []byte{0x80, 0, 0})},
		{"configuration: a key is zero", slices.Concat([]byte{2}, valid[1:], []byte{0x80, 0, 1}, make([]byte, 32))},
		{"configuration: 17 Keys, not 1 to 16", encode(func(c *wire.Configuration) {
			for i := range byte(17) {
				c.Keys = append(c.Keys, wire.ClusterKey{i + 1})
			}
		})},
		{"configuration: Members: 256, more than 255", encode(func(c *wire.Configuration) { c.Members = make([]wire.Member, 256) })},
	} {
		_, err := wire.DecodeConfiguration(test.b)
		require.ErrorIs(t, err, wire.ErrMalformed)
		require.ErrorContains(t, err, test.want)
	}
	for n := range valid {
		_, err := wire.DecodeConfiguration(valid[:n])
		require.ErrorIs(t, err, wire.ErrMalformed, "cut at %d", n)
	}
}

func FuzzDecodeConfiguration(f *testing.F) {
	c := sampleConfiguration()
	f.Add(wire.AppendConfiguration(nil, &c))
	f.Fuzz(func(t *testing.T, b []byte) {
		c, err := wire.DecodeConfiguration(b)
		if err != nil {
			require.ErrorIs(t, err, wire.ErrMalformed)
			require.Zero(t, c)
			return
		}
		require.Equal(t, b, wire.AppendConfiguration(nil, &c), "a configuration has one encoding")
	})
}
