package main

import (
	"errors"
	"fmt"
	"html"
	"os"
	"strings"
	"time"
)

// Sizes in pixels: of the picture, of the title above its chart, and of the legend below.
const (
	pictureWidth, pictureHeight = 900, 560
	pictureTitle, pictureLegend = 34, 60
	pictureEntry                = 150 // the width of an entry of the legend
)

// pictureStyle assumes a white ground, which the picture brings along wherever it is shown.
const pictureStyle = `<style>text{font:12px sans-serif;fill:#333}text.head{font:600 14px sans-serif}text.point{font-weight:600}.grid{stroke:#ddd}</style>`

var errNoPicture = errors.New("-svg needs results that differ only in the number of clients or only in the rate")

// writePictureFile draws the first sweep into a file that needs no other file.
func writePictureFile(name string, results []result) error {
	all := sweeps(results)
	if len(all) == 0 {
		return errNoPicture
	}
	return os.WriteFile(name, []byte(picture(all[0], peersOf(results), time.Unix(results[0].Run, 0).UTC())), 0o644)
}

// picture draws a sweep that was measured on a day, with its title and a legend.
func picture(s sweep, peers []string, day time.Time) string {
	s.chart.width, s.chart.height = pictureWidth, pictureHeight-pictureTitle-pictureLegend
	var b strings.Builder
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" width="%d" height="%d">`, pictureWidth, pictureHeight, pictureWidth, pictureHeight)
	b.WriteString(pictureStyle + `<rect width="100%" height="100%" fill="#fff"/>`)
	fmt.Fprintf(&b, `<text class="head" x="%d" y="22">%s</text>`, chartLeft, html.EscapeString(s.title))
	fmt.Fprintf(&b, `<g transform="translate(0 %d)">%s</g>`, pictureTitle, s.chart.draw())
	y := pictureHeight - pictureLegend + 16
	for i, peer := range peers {
		x := chartLeft + i%6*pictureEntry - 20
		fmt.Fprintf(&b, `<circle cx="%d" cy="%d" r="4" fill="%s"/><text x="%d" y="%d">%s</text>`,
			x, y+i/6*18-4, colourOf(peer).Colour, x+9, y+i/6*18, html.EscapeString(peer))
	}
	fmt.Fprintf(&b, `<text x="%d" y="%d">solid: median; dashed: 99th percentile; beside the points: the number of clients; %s, %s</text>`,
		chartLeft, pictureHeight-8, day.Format("2006-01-02"), html.EscapeString(thisMachine()))
	b.WriteString("</svg>\n")
	return b.String()
}
