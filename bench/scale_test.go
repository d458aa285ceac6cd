package main

import (
	"bytes"
	"encoding/xml"
	"errors"
	"io"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// resultOf returns a result with one figure.
func resultOf(k key, peer, name string, v float64) result {
	r := result{key: k, Peer: peer, Run: 1, Round: 1}
	r.set(name, v)
	return r
}

// TestScales: a figure is drawn over every parameter that has at least two values, and over no
// other. There is a chart for each combination of the other parameters that were varied.
func TestScales(t *testing.T) {
	var results []result
	for _, payload := range []int{16, 128, 4096} {
		for _, clients := range []int{1, 64} {
			k := key{Cell: "load", Mode: onDisk, Servers: 3, Clients: clients, Payload: payload}
			for i, peer := range []string{"raft", "etcd"} {
				results = append(results, resultOf(k, peer, "throughput", float64((i+1)*clients*1000/payload)))
			}
		}
	}
	for _, entries := range []int{10_000, 1_000_000} {
		results = append(results, resultOf(key{Cell: "restart", Mode: onDisk, Servers: 1, Payload: 128, Entries: entries}, "raft", "replayed_s", float64(entries)/1e6))
	}
	results = append(results, resultOf(key{Cell: "away", Mode: onDisk, Servers: 3, Payload: 128, Entries: 1000}, "raft", "caught_up_s", 1),
		result{key: key{Cell: "away", Mode: onDisk, Servers: 3, Payload: 128, Entries: 2000}, Peer: "raft", Why: "it was raining"})

	var got []string
	for _, s := range scales(results) {
		for _, strip := range s.Strips {
			for _, f := range strip.Figures {
				got = append(got, s.Name+"|"+strip.Title+"|"+f.Title)
			}
		}
	}
	require.Equal(t, []string{
		"bytes in a command|load, mode disk: requests/s|3 servers, 1 clients",
		"bytes in a command|load, mode disk: requests/s|3 servers, 64 clients",
		"clients|load, mode disk: requests/s|3 servers, 16 bytes",
		"clients|load, mode disk: requests/s|3 servers, 128 bytes",
		"clients|load, mode disk: requests/s|3 servers, 4096 bytes",
		"entries in the log|restart, mode disk: replayed after s|1 servers, 128 bytes",
	}, got)

	payloads := scales(results)[0].Strips[0].Figures
	first, second := string(payloads[0].SVG), string(payloads[1].SVG)
	for _, mark := range []string{">16<", ">128<", ">4096<"} {
		require.Contains(t, first, mark)
		require.Contains(t, second, mark)
	}
	grid := regexp.MustCompile(`<line class="grid"[^>]*>`)
	require.Equal(t, grid.FindAllString(first, -1), grid.FindAllString(second, -1), "the charts of a strip have the same axes")
	require.Contains(t, first, string(colourOf("etcd").Colour))
	require.Equal(t, 2, strings.Count(first, "<polyline"))

	var page bytes.Buffer
	require.NoError(t, writeHTML(&page, results))
	for _, want := range []string{"Over bytes in a command", "Over clients", "Over entries in the log"} {
		require.Contains(t, page.String(), want)
	}
	require.NotContains(t, page.String(), "Over servers")
}

// TestChartsInside: every chart is XML, and lies inside its picture.
func TestChartsInside(t *testing.T) {
	var results []result
	for _, servers := range []int{3, 5, 7} {
		for _, clients := range []int{1, 1024} {
			results = append(results, resultOf(key{Cell: "load", Mode: inMemory, Servers: servers, Clients: clients, Payload: 128}, "raft", "p50_us", 0.7*float64(clients*servers)))
		}
	}
	drawn := 0
	for _, s := range scales(results) {
		for _, strip := range s.Strips {
			for _, f := range strip.Figures {
				drawn++
				requireInside(t, string(f.SVG))
			}
		}
	}
	require.Equal(t, 3+2, drawn)
}

// requireInside checks all positions in a chart of a strip.
func requireInside(t *testing.T, svg string) {
	d := xml.NewDecoder(strings.NewReader(svg))
	for {
		token, err := d.Token()
		if errors.Is(err, io.EOF) {
			return
		}
		require.NoError(t, err)
		element, ok := token.(xml.StartElement)
		if !ok {
			continue
		}
		for _, a := range element.Attr {
			limit := map[string]float64{"x": stripWidth, "x1": stripWidth, "x2": stripWidth, "cx": stripWidth,
				"y": stripHeight, "y1": stripHeight, "y2": stripHeight, "cy": stripHeight}[a.Name.Local]
			if limit == 0 {
				continue
			}
			v, err := strconv.ParseFloat(a.Value, 64)
			require.NoError(t, err)
			require.True(t, v >= 0 && v <= limit, "%s is %s: %s", a.Name.Local, a.Value, svg)
		}
	}
}

// TestColumnsDrawn: every figure that a cell has drawn is one of its columns.
func TestColumnsDrawn(t *testing.T) {
	for _, c := range allCells() {
		require.NotEmpty(t, c.drawn, c.name)
		for _, name := range c.drawn {
			require.Equal(t, name, c.column(name).name, c.name)
		}
	}
}
