package browsertest

import (
	"bufio"
	"context"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
	"github.com/stretchr/testify/require"

	"github.com/e17579a5/raft/internal/buildtest"
)

var shots = flag.String("shots", "", "a folder for pictures of the pages")

// patience bounds each wait for something that the page shows. Real nodes elect real leaders, on a
// machine that may have much else to do.
const patience = 60 * time.Second

// browsers are the names under which Chromium may be installed.
var browsers = []string{"chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome"}

// browser returns the program of a browser. It skips the test where there is none.
func browser(t *testing.T) string {
	t.Helper()
	for _, name := range browsers {
		if path, err := exec.LookPath(name); err == nil {
			return path
		}
	}
	t.Skipf("this machine has no Chromium: none of %q is in PATH", browsers)
	return ""
}

// built is the program, once a test has needed it.
var built struct {
	sync.Once
	folder string
	err    error
}

func TestMain(m *testing.M) {
	code := m.Run()
	if built.folder != "" {
		_ = os.RemoveAll(built.folder)
	}
	os.Exit(code)
}

// program builds raftlab, once for all tests, and returns the name of its file.
func program(t *testing.T) string {
	t.Helper()
	built.Do(func() {
		if built.folder, built.err = os.MkdirTemp("", "raftlab-browsertest"); built.err != nil {
			return
		}
		command := buildtest.Go(t, "build", "-buildvcs=false", "-o", filepath.Join(built.folder, "raftlab.exe"), "./cmd/raftlab")
		command.Dir = "../../.."
		if out, err := command.CombinedOutput(); err != nil {
			built.err = fmt.Errorf("%w: %s", err, out)
		}
	})
	require.NoError(t, built.err)
	return filepath.Join(built.folder, "raftlab.exe")
}

// startLab runs raftlab until the test ends, and returns the address that it prints.
func startLab(t *testing.T, arguments ...string) (address string) {
	t.Helper()
	browser(t) // without one there is nothing to start it for
	lab := exec.Command(program(t), append([]string{"-listen", "127.0.0.1:0"}, arguments...)...)
	out, err := lab.StdoutPipe()
	require.NoError(t, err)
	lab.Stderr = os.Stderr
	require.NoError(t, lab.Start())
	t.Cleanup(func() {
		require.NoError(t, lab.Process.Signal(syscall.SIGTERM))
		require.NoError(t, lab.Wait(), "raftlab ends in order")
	})
	line, err := bufio.NewReader(out).ReadString('\n')
	require.NoError(t, err)
	_, address, found := strings.Cut(strings.TrimSpace(line), "open ")
	require.True(t, found, line)
	return address
}

// A page is a page in a browser.
type page struct {
	t   *testing.T
	ctx context.Context

	mu       sync.Mutex
	problems []string // what the browser's console has complained of
}

// openPage opens an address in a new browser, of a width and a height in pixels. At the end of the
// test the console must have had no error.
func openPage(t *testing.T, address string, width, height int64) *page {
	t.Helper()
	options := append(chromedp.DefaultExecAllocatorOptions[:], chromedp.ExecPath(browser(t)), chromedp.DisableGPU)
	if os.Getuid() == 0 {
		options = append(options, chromedp.NoSandbox) // Chromium's own sandbox is none for root
	}
	p := &page{t: t}
	ctx, cancel := chromedp.NewExecAllocator(t.Context(), options...)
	t.Cleanup(cancel)
	p.ctx, cancel = chromedp.NewContext(ctx, chromedp.WithListener(p.hear))
	t.Cleanup(cancel)
	require.NoError(t, chromedp.Do(p.ctx)) // starts the browser, which lives as long as this context
	p.do(chromedp.EmulateViewport(width, height), command(log.Enable, cdp.Empty{}), chromedp.Navigate(address))
	t.Cleanup(func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		require.Empty(t, p.problems, "the console")
	})
	return p
}

// command is a command of the protocol as an action.
func command[P, R any](c cdp.Command[P, R], parameters P) chromedp.Action[chromedp.Void] {
	return chromedp.Func(func(ctx context.Context, target *chromedp.Target) error {
		_, err := cdp.Call(ctx, target, c, parameters)
		return err
	})
}

// hear notes what the console complains of.
func (p *page) hear(event any) {
	problem := ""
	switch e := event.(type) {
	case *runtime.EventExceptionThrown:
		problem = fmt.Sprintf("%+v", *e.ExceptionDetails)
	case *log.EventEntryAdded:
		if e.Entry.Level == log.EntryLevelError || e.Entry.Level == log.EntryLevelWarning {
			problem = e.Entry.Text + " " + e.Entry.URL
		}
	case *runtime.EventConsoleAPICalled:
		if e.Type == runtime.ConsoleAPICalledTypeError || e.Type == runtime.ConsoleAPICalledTypeWarning {
			problem = "it was told something by the page"
			for _, a := range e.Args {
				problem += fmt.Sprintf(" %s %s", a.Value, a.Description)
			}
		}
	}
	if problem != "" {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.problems = append(p.problems, problem)
	}
}

// run runs an action in the page.
func run[T any](p *page, action chromedp.Action[T]) T {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(p.ctx, patience)
	defer cancel()
	v, err := chromedp.Run(ctx, action)
	require.NoError(p.t, err)
	return v
}

// do runs actions in the page, one after the other.
func (p *page) do(actions ...chromedp.Action[chromedp.Void]) {
	p.t.Helper()
	run(p, chromedp.Steps(actions...))
}

// value returns what an expression is in the page.
func value[T any](p *page, expression string) T {
	p.t.Helper()
	return run(p, chromedp.Evaluate[T](expression))
}

// await waits until an expression is true in the page.
func (p *page) await(what, expression string) {
	p.t.Helper()
	for end := time.Now().Add(patience); !value[bool](p, expression); {
		if time.Now().After(end) {
			p.shoot("failed")
			require.Fail(p.t, "it doesn't happen: "+what, "the page says:\n%s", value[string](p, "document.body.innerText"))
		}
		p.do(chromedp.Sleep(20 * time.Millisecond))
	}
}

// press presses keys, one after the other.
func (p *page) press(keys string) {
	p.t.Helper()
	p.do(chromedp.KeyEvent(keys))
}

// click clicks on an element.
func (p *page) click(selector string) {
	p.t.Helper()
	p.do(chromedp.Click(chromedp.CSS(selector)))
}

// prefer says which colours and which motion the user of the page prefers.
func (p *page) prefer(scheme, motion string) {
	p.t.Helper()
	p.do(command(emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{Features: []*emulation.MediaFeature{
		{Name: "prefers-color-scheme", Value: scheme}, {Name: "prefers-reduced-motion", Value: motion},
	}}))
}

// shoot leaves a picture of the page, if the user has asked for pictures.
func (p *page) shoot(name string) {
	p.t.Helper()
	if *shots == "" {
		return
	}
	picture := run(p, chromedp.FullScreenshot(100))
	require.NoError(p.t, os.MkdirAll(*shots, 0o755))
	require.NoError(p.t, os.WriteFile(filepath.Join(*shots, name+".png"), picture, 0o644))
}
