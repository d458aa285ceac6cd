package wire_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/e17579a5/raft/wire"
)

// Whatever prints a key, alone or within a configuration, shows no byte of it.
func TestKeysAreNotPrinted(t *testing.T) {
	key := wire.ClusterKey(bytes.Repeat([]byte{0xA7}, 32))
	c := wire.Configuration{Keys: []wire.ClusterKey{key, {}}}
	var log bytes.Buffer
	logger := slog.New(slog.NewTextHandler(&log, nil))
	logger.Info("text", "key", key, "configuration", c, "keys", c.Keys)
	logger = slog.New(slog.NewJSONHandler(&log, nil))
	logger.Info("JSON", "key", key, "configuration", c, "keys", c.Keys)
	asJSON, err := json.Marshal(c)
	require.NoError(t, err)
	all := []string{log.String(), string(asJSON), key.String(), wire.ClusterKey{}.String()}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "% x", "%d", "%08b", "%c", "%U"} {
		all = append(all, fmt.Sprintf(verb, key), fmt.Sprintf(verb, c), fmt.Sprintf(verb, &c))
	}
	for _, text := range all {
		require.NotContains(t, text, "167")
		require.NotContains(t, text, "a7")
		require.NotContains(t, text, "A7")
		require.NotContains(t, text, "\xa7")
		require.NotContains(t, text, "10100111")
		require.NotContains(t, text, "\u00a7")
		require.NotContains(t, text, "§")
	}
	require.Equal(t, []string{"redacted", "none"}, all[2:4])
}

// The Stranger of an envelope is what the receiver's transport says, so it isn't sent.
func TestStrangerIsNotEncoded(t *testing.T) {
	m := wire.Heartbeat{Round: 1}.Message().In(wire.Envelope{From: "a", To: "b", Term: 1, Stranger: true})
	got, err := wire.DecodeMessage(wire.AppendMessage(nil, &m))
	require.NoError(t, err)
	require.False(t, got.Stranger)
	m.Stranger = false
	require.True(t, got.Equal(&m))
}
