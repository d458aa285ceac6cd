package main

import (
	"encoding/xml"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestPicture: the picture is well-formed, and names every peer, the day and the numbers of
// clients. Without a sweep there is no picture.
func TestPicture(t *testing.T) {
	var results []result
	for _, clients := range []int{1, 64} {
		for i, peer := range []string{"raft", "etcd", floorName} {
			r := resultOf(key{Cell: "load", Mode: onDisk, Servers: 3, Clients: clients, Payload: 128}, peer, "throughput", float64((i+1)*clients*1000))
			r.set("p50_us", float64(100*(i+1)))
			r.set("p99_us", float64(1000*(i+1)))
			r.Run = 1_750_000_000
			results = append(results, r)
		}
	}
	name := filepath.Join(t.TempDir(), "picture.svg")
	require.NoError(t, writePictureFile(name, results))
	drawn, err := os.ReadFile(name)
	require.NoError(t, err)
	for decoder := xml.NewDecoder(strings.NewReader(string(drawn))); ; {
		if _, err = decoder.Token(); err != nil {
			break
		}
	}
	require.True(t, errors.Is(err, io.EOF), "%v", err)
	for _, text := range []string{">raft<", ">etcd<", ">floor<", "2025-06-15", ">64<", ">1<"} {
		require.Contains(t, string(drawn), text)
	}
	require.ErrorIs(t, writePictureFile(name, results[:3]), errNoPicture)
}
