package browsertest

import (
	"bufio"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"
	"github.com/stretchr/testify/require"

	"github.com/e17579a5/raft/cmd/raftlab/internal/player"
	"github.com/e17579a5/raft/internal/buildtest"
	"github.com/e17579a5/raft/rafttest/link"
	"github.com/e17579a5/raft/rafttest/sim"
)

var replayScreenshots = flag.String("replay-screenshots", "", "write pictures of the replay page to this folder, to look at")

// replayPatience bounds each wait for something that the page shows.
const replayPatience = 60 * time.Second

// TestReplay opens the replay page in a browser: as any web server serves it that has what raftlab
// -export wrote, and as raftlab serves it. The console must have no error at the end of each part.
func TestReplay(t *testing.T) {
	browser := replayBrowser(t)
	dir := t.TempDir()
	if out, err := buildtest.Go(t, "run", "-C", "../../..", "./cmd/raftlab", "-export", dir).CombinedOutput(); err != nil {
		t.Fatalf("raftlab -export: %v\n%s", err, out)
	}
	server := httptest.NewServer(http.FileServer(http.Dir(dir)))
	defer server.Close()
	for _, part := range []struct {
		name string
		do   func(*replayPage)
	}{
		{"Keys", replayKeys}, {"Files", replayFiles}, {"Told", replayTold}, {"Stop", replayStop}, {"Looks", replayLooks}, {"Scrub", replayScrub},
	} {
		t.Run(part.name, func(t *testing.T) { part.do(openReplay(t, browser, server.URL+"/replay.html")) })
	}
	t.Run("Served", func(t *testing.T) { replayServed(openReplay(t, browser, startReplay(t)+"/replay")) })
}

// A replayPage is the replay page in a browser.
type replayPage struct {
	t   *testing.T
	ctx context.Context

	mu       sync.Mutex
	mistakes []string // errors in the console
}

// replayBrowser starts a browser without a window, and skips the test if there is none.
func replayBrowser(t *testing.T) context.Context {
	t.Helper()
	program := ""
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome"} {
		if path, err := exec.LookPath(name); err == nil && program == "" {
			program = path
		}
	}
	if program == "" {
		t.Skip("there is no Chromium in the PATH")
	}
	options := append(chromedp.DefaultExecAllocatorOptions[:], chromedp.ExecPath(program), chromedp.NoSandbox)
	allocator, cancel := chromedp.NewExecAllocator(context.Background(), options...)
	t.Cleanup(cancel)
	ctx, cancel := chromedp.NewContext(allocator)
	t.Cleanup(cancel)
	require.NoError(t, chromedp.Do(ctx))
	return ctx
}

// openReplay opens an address in a window of its own.
func openReplay(t *testing.T, browser context.Context, address string) *replayPage {
	t.Helper()
	p := &replayPage{t: t}
	ctx, cancel := chromedp.NewContext(browser, chromedp.WithNewWindow(true))
	t.Cleanup(cancel)
	p.ctx = ctx
	require.NoError(t, chromedp.Do(ctx)) // the first call makes the window, which lives as long as ctx
	require.NoError(t, chromedp.Listen(ctx, p.hear))
	_, err := chromedp.Call(ctx, log.Enable, cdp.Empty{})
	require.NoError(t, err)
	p.do(chromedp.EmulateViewport(1400, 900), chromedp.Navigate(address))
	t.Cleanup(func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		require.Empty(t, p.mistakes, "the console")
	})
	return p
}

// hear keeps what the console complains of.
func (p *replayPage) hear(event any) {
	mistake := ""
	switch e := event.(type) {
	case *runtime.EventExceptionThrown:
		text, _ := json.Marshal(e.ExceptionDetails)
		mistake = string(text)
	case *runtime.EventConsoleAPICalled:
		if e.Type == runtime.ConsoleAPICalledTypeError || e.Type == runtime.ConsoleAPICalledTypeWarning {
			text, _ := json.Marshal(e.Args)
			mistake = string(text)
		}
	case *log.EventEntryAdded:
		if e.Entry.Level == log.EntryLevelError {
			mistake = e.Entry.Text + " " + e.Entry.URL
		}
	}
	if mistake != "" {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.mistakes = append(p.mistakes, mistake)
	}
}

func (p *replayPage) do(actions ...chromedp.Action[chromedp.Void]) {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(p.ctx, replayPatience)
	defer cancel()
	require.NoError(p.t, chromedp.Do(ctx, actions...))
}

// script runs a script in the page.
func (p *replayPage) script(format string, args ...any) {
	p.t.Helper()
	p.do(chromedp.Evaluate[chromedp.Void](fmt.Sprintf(format, args...)))
}

// replayValue returns what an action finds in the page.
func replayValue[T any](p *replayPage, action chromedp.Action[T]) T {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(p.ctx, replayPatience)
	defer cancel()
	v, err := chromedp.Run(ctx, action)
	require.NoError(p.t, err)
	return v
}

// value returns what an expression is in the page, as a text.
func (p *replayPage) value(expression string) string {
	p.t.Helper()
	return replayValue(p, chromedp.Evaluate[string]("String("+expression+")"))
}

// text returns the text of the first element that a selector names.
func (p *replayPage) text(selector string) string {
	p.t.Helper()
	return p.value(fmt.Sprintf("document.querySelector(%q).textContent", selector))
}

// wait waits until an expression is true in the page.
func (p *replayPage) wait(format string, args ...any) {
	p.t.Helper()
	expression := fmt.Sprintf(format, args...)
	until := time.Now().Add(replayPatience)
	for p.value("!!("+expression+")") != "true" {
		if time.Now().After(until) {
			require.Fail(p.t, "it never came true: "+expression, "step %s; the page says %q; console: %q",
				p.value("document.body.dataset.step"), p.text("#status"), p.mistakes)
		}
		p.do(chromedp.Sleep(20 * time.Millisecond))
	}
}

// shows waits until a step is drawn.
func (p *replayPage) shows(step int) {
	p.t.Helper()
	p.wait("document.body.dataset.step === '%d' && !state.asking", step)
}

// open opens a fragment, and waits for its run.
func (p *replayPage) open(fragment string, step int) {
	p.t.Helper()
	p.script("delete document.body.dataset.step; history.replaceState(null, '', '#'); location.hash = %q", fragment)
	p.shows(step)
}

// startReplay starts raftlab and returns its address. It ends with the test.
func startReplay(t *testing.T) string {
	t.Helper()
	binary := buildtest.Build(t, "../../..", nil, "./cmd/raftlab")
	command := exec.Command(binary, "-listen", "127.0.0.1:0")
	out, err := command.StdoutPipe()
	require.NoError(t, err)
	command.Stderr = os.Stderr
	require.NoError(t, command.Start())
	t.Cleanup(func() {
		if command.Process.Signal(os.Interrupt) != nil { // not every system can
			_ = command.Process.Kill()
		}
		_ = command.Wait() // it was told to end
	})
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		if found := regexp.MustCompile(`http://[0-9.]+:[0-9]+`).FindString(lines.Text()); found != "" {
			return found
		}
	}
	t.Fatal("raftlab has ended without an address")
	return ""
}

// unfounded is a schedule that breaks an invariant with any core: all links are cut, so that the
// cluster is never founded.
const unfounded = "raft schedule 1\nseed 1\nservers 3\n\ncut 1>2\ncut 2>1\ncut 1>3\ncut 3>1\ncut 2>3\ncut 3>2\nfound\n"

func fragmentOf(t *testing.T, text, told string) string {
	t.Helper()
	run := link.Run{Schedule: new(sim.Schedule), Told: told, Step: -1}
	require.NoError(t, run.Schedule.UnmarshalText([]byte(text)))
	fragment, err := run.Fragment()
	require.NoError(t, err)
	return fragment
}

func summaryOf(t *testing.T, fragment string) player.Summary {
	t.Helper()
	p, err := player.OpenLink(fragment)
	require.NoError(t, err)
	return p.Summary()
}

// The page that raftlab serves replays the run of a link: what it shows is what the same code shows
// natively, at any step.
func replayServed(page *replayPage) {
	t := page.t
	require.Equal(t, "true", page.value(`document.body.classList.contains("empty")`))
	page.open("seed=4711", 0)
	native, err := player.OpenLink("seed=4711")
	require.NoError(t, err)
	summary := native.Summary()
	require.Greater(t, summary.Steps, 3000)
	require.Contains(t, page.text("#numbers"), "hash "+summary.Hash)
	require.Equal(t, "no violation", page.text("#verdict"))

	for _, step := range []int{0, 1, 700, summary.Steps / 2, summary.Steps - 1, 3} {
		page.script("go(%d)", step)
		page.shows(step)
		frame := native.At(step, 10)
		event := page.text("#event")
		require.Contains(t, event, frame.Text)
		for _, effect := range frame.Effects {
			require.Contains(t, event, effect)
		}
		for i, s := range frame.Servers {
			card := page.value(fmt.Sprintf(`document.querySelectorAll("#servers .card")[%d].textContent`, i+1))
			for _, part := range []string{s.Role, s.Text, fmt.Sprintf("disk: term %d", s.Disk.Term), s.Disk.Snapshot} {
				require.Contains(t, strings.Replace(card, "new disk:", "disk:", 1), part, "step %d, server %d", step, i+1)
			}
		}
		require.Contains(t, page.text("#flights"), fmt.Sprintf("%d on their way", len(frame.Flights)+frame.More))
		page.wait(`document.querySelector(".row.now .text")`)
		require.Contains(t, page.text(".row.now"), frame.Text)
	}
	page.wait(`location.hash === "#seed=4711&step=3"`) // the address follows, so that it can be passed on
}

// Keys step, find turning points, play and pause, and open the help. The violation is a key away, and
// its text is shown.
func replayKeys(page *replayPage) {
	t := page.t
	fragment := fragmentOf(t, unfounded, "")
	summary := summaryOf(t, fragment)
	require.NotNil(t, summary.Violation)
	page.open(fragment, summary.Broken)
	said := page.text("#said")
	require.Contains(t, said, summary.Violation.Text)
	require.Contains(t, said, summary.Violation.Meaning)
	require.Contains(t, page.text("#event"), "✱ "+summary.Violation.Text)

	last := summary.Steps - 1
	for _, press := range []struct {
		key  string
		step int
	}{
		{kb.Home, 0}, {kb.ArrowRight, 1}, {kb.ArrowRight, 2}, {kb.ArrowLeft, 1}, {kb.End, last}, {kb.ArrowRight, last},
		{kb.Home, 0}, {kb.ArrowLeft, 0}, {kb.ArrowDown, summary.Turns[1]}, {kb.ArrowDown, summary.Turns[2]}, {kb.ArrowUp, summary.Turns[1]},
		{kb.PageDown, min(summary.Turns[1]+100, last)}, {"v", summary.Broken},
	} {
		page.do(chromedp.KeyEvent(press.key))
		page.shows(press.step)
	}
	page.do(chromedp.KeyEvent(kb.Home))
	page.shows(0)
	page.do(chromedp.KeyEvent(" "))
	page.wait(`Number(document.body.dataset.step) >= 2`)
	page.do(chromedp.KeyEvent(" "))
	page.wait(`!state.playing && !state.asking`)

	page.do(chromedp.KeyEvent("?"))
	page.wait(`document.getElementById("help").open`)
	page.do(chromedp.KeyEvent(kb.Enter)) // the button has the focus
	page.wait(`!document.getElementById("help").open`)

	page.do(chromedp.KeyEvent("/"))
	page.wait(`document.activeElement.id === "find"`)
	page.script(`document.getElementById("find").value = ""`) // the driver of the browser types the / all the same
	page.do(chromedp.KeyEvent("prevoterequest"), chromedp.KeyEvent(kb.Enter))
	page.wait(`/PreVoteRequest/.test(document.getElementById("event").textContent)`)
	page.do(chromedp.KeyEvent(kb.Escape))
	page.wait(`document.activeElement.id !== "find"`)
}

// A file is opened by the button and by dropping it. What isn't a schedule gets an error that says
// so, and what a link says wrongly, too.
func replayFiles(page *replayPage) {
	t := page.t
	dir := t.TempDir()
	good, bad := filepath.Join(dir, "good.schedule"), filepath.Join(dir, "bad.schedule")
	require.NoError(t, os.WriteFile(good, []byte(unfounded), 0o644))
	require.NoError(t, os.WriteFile(bad, []byte("raft schedule 1\nservers 3\n\nfly 1\n"), 0o644))

	page.do(chromedp.SetUploadFiles("#file", []string{good}, chromedp.NodeReady))
	page.wait(`/good.schedule/.test(document.getElementById("title").textContent) && !state.asking`)
	require.Equal(t, "✱ Convergence", page.text("#verdict"))
	page.wait(`/^#schedule=/.test(location.hash)`) // a file can be passed on as a link

	page.do(chromedp.SetUploadFiles("#file", []string{bad}, chromedp.NodeReady))
	page.wait(`/no event is called "fly"/.test(document.getElementById("status").textContent)`)
	require.Equal(t, "true", page.value(`document.body.classList.contains("empty")`))

	page.script(`{
		const carried = new DataTransfer();
		carried.items.add(new File([%q], "dropped.schedule"));
		for (const kind of ["dragenter", "dragover", "drop"]) dispatchEvent(new DragEvent(kind, {dataTransfer: carried, cancelable: true}));
	}`, unfounded)
	page.wait(`/dropped.schedule/.test(document.getElementById("title").textContent) && !state.asking`)
	require.Equal(t, "true", page.value(`document.getElementById("drop").hidden`))

	page.script(`location.hash = "schedule=AAAA"`)
	page.wait(`/is the link whole/.test(document.getElementById("status").textContent)`)
}

// What was found with a tested state machine is told, and that the page hasn't that machine.
func replayTold(page *replayPage) {
	t := page.t
	text, err := os.ReadFile("../../../rafttest/testdata/batched.schedule")
	require.NoError(t, err)
	fragment := fragmentOf(t, string(text), "Replicas Equal at server 1: the counters differ <b>")
	page.open(fragment, summaryOf(t, fragment).Steps-1)
	said := page.text("#said")
	require.Contains(t, said, "Where this run was found, it broke: Replicas Equal at server 1: the counters differ <b>")
	require.Contains(t, said, "This page hasn't the state machine that was tested")
}

// A run that takes for ever doesn't stop the page, and can be stopped.
func replayStop(page *replayPage) {
	page.open("seed=1", 0)
	// A single leader tells nobody that it lives, in a year of a heartbeat a nanosecond.
	endless := fragmentOf(page.t, "raft schedule 1\nseed 1\nservers 1\nheartbeat 1\nelection 2\n\nstart 1\npass 30000000000000000\n", "")
	page.script("location.hash = %q", endless)
	page.wait(`document.querySelector("#status button")`)
	page.script(`document.querySelector("#status button").click()`)
	page.wait(`document.getElementById("status").textContent === "Stopped."`)
	page.open("seed=2", 0)
}

// Each size and scheme shows all of the page, and nothing beside it: no scrolling sideways. Nothing
// glides for a reader who wants less motion. With -replay-screenshots there are pictures to look at.
func replayLooks(page *replayPage) {
	t := page.t
	broken := fragmentOf(t, unfounded, "")
	for _, look := range []struct {
		name, fragment string
		step           int
	}{
		{"seed", "seed=4711&step=1800", 1800}, {"violation", broken, summaryOf(t, broken).Broken}, {"intro", "", -1},
	} {
		for _, width := range []int64{1400, 400} {
			for _, scheme := range []string{"light", "dark"} {
				page.do(chromedp.EmulateViewport(width, 900))
				_, err := chromedp.Call(page.ctx, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{Features: []*emulation.MediaFeature{
					{Name: "prefers-color-scheme", Value: scheme}, {Name: "prefers-reduced-motion", Value: "reduce"},
				}})
				require.NoError(t, err)
				if look.step >= 0 {
					page.open(look.fragment, look.step)
					page.wait(`document.querySelector(".row.now .text")`)
					require.Equal(t, "0s", page.value(`getComputedStyle(document.querySelector(".flight .dot") || document.body).transitionDuration`))
				} else {
					page.script(`location.hash = ""`)
					page.wait(`document.body.classList.contains("empty")`)
				}
				require.Equal(t, "true", page.value(`document.documentElement.scrollWidth <= innerWidth`), "%s at %d", look.name, width)
				if *replayScreenshots != "" {
					replayValue(page, chromedp.CaptureScreenshot()) // after this one, all is painted
					picture := replayValue(page, chromedp.CaptureScreenshot())
					name := filepath.Join(*replayScreenshots, fmt.Sprintf("%s-%d-%s.png", look.name, width, scheme))
					require.NoError(t, os.WriteFile(name, picture, 0o644))
				}
			}
		}
	}
}

// Scrubbing over a run of thousands of steps shows the step that was wanted last, whatever was
// skipped. With -v it prints how long that took.
func replayScrub(page *replayPage) {
	t := page.t
	page.open("seed=4711", 0)
	last := summaryOf(t, "seed=4711").Steps - 1
	begun := time.Now()
	drawn := replayValue(page, chromedp.Evaluate[int](fmt.Sprintf(`(async () => {
		const slider = document.getElementById("time"), seen = new Set();
		for (let i = 0; i < 100; i++) {
			slider.value = Math.round(i / 99 * %d);
			slider.dispatchEvent(new Event("input"));
			await new Promise(requestAnimationFrame);
			seen.add(state.shown);
		}
		return seen.size;
	})()`, last), chromedp.EvalAwaitPromise))
	page.shows(last)
	t.Logf("%d of 100 steps were drawn in %s", drawn, time.Since(begun).Round(time.Millisecond))

	times := replayValue(page, chromedp.Evaluate[[]float64](`(async () => {
		const begun = performance.now(), frames = [];
		for (let i = 0; i < 100; i++) frames.push(await call("at", i * 40, cellsThatFit()));
		const told = performance.now();
		for (const frame of frames) {
			draw(frame);
			document.body.getBoundingClientRect();
		}
		return [(told - begun) / 100, (performance.now() - told) / 100];
	})()`, chromedp.EvalAwaitPromise))
	t.Logf("a step takes %.1f ms to be told and %.1f ms to be drawn and laid out", times[0], times[1])

	// With a pointer on the map, too.
	box := replayValue(page, chromedp.Evaluate[[]float64](
		`(b => [b.left, b.top, b.width, b.height])(document.getElementById("timeline").getBoundingClientRect())`))
	page.do(chromedp.MouseClickXY(box[0]+box[2]/2, box[1]+box[3]/2))
	page.wait(`Math.abs(Number(document.body.dataset.step) - %d) < 10`, last/2)
	page.do(chromedp.DragAndDropXY(box[0]+2, box[1]+4, box[0]+box[2]-1, box[1]+4))
	page.wait(`Number(document.body.dataset.step) > %d`, last-10)
}
