package httpapi

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"runtime/debug"
	"strconv"
	"time"
)

// A Func answers a request. The answer is written as JSON with status 200; an Answer says more than
// that, and nil stands for an answer without a body (204). The error is answered as ErrorOf says. The
// context of the request ends when the request has taken too long. The body has been read, and is no
// longer than Options.MaxBody; ContentLength is its length. Of GET and HEAD it is empty, whatever the
// client has sent.
type Func func(r *http.Request) (answer any, err error)

// An Answer is the answer to a request that succeeded.
type Answer struct {
	Status int         // 200 to 299; 0 stands for 200, or for 204 without a body
	Header http.Header // nil for none
	// Body is written as JSON. A []byte is written as it is, if Header has a Content-Type. nil stands
	// for no body.
	Body any
}

// Handle makes a handler of a Func, with the timeout and the limit of Options.
func (a *API) Handle(f Func) http.Handler { return a.HandleWithin(a.options.Timeout, f) }

// Handler makes a handler of a Func that belongs to no API, as Handle does. Of the options, Timeout,
// MaxBody and Logger matter.
func Handler(f Func, options Options) http.Handler {
	return (&API{options: options.withDefaults()}).Handle(f)
}

// HandleWithin is Handle with a timeout of its own, for requests that wait for something. Such
// requests should end when Stopping does.
func (a *API) HandleWithin(timeout time.Duration, f Func) http.Handler {
	return a.handle(timeout, func(w http.ResponseWriter, r *http.Request) (any, error) {
		if r.Method == http.MethodGet || r.Method == http.MethodHead {
			return a.proceed(w, r, nil, timeout, f)
		}
		body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, a.options.MaxBody))
		if err != nil {
			return nil, bodyError(err)
		}
		return a.proceed(w, r, body, timeout, f)
	})
}

// bodiless is Handle for requests whose body doesn't matter.
func (a *API) bodiless(f Func) http.Handler {
	return a.handle(a.options.Timeout, func(w http.ResponseWriter, r *http.Request) (any, error) {
		return a.proceed(w, r, nil, a.options.Timeout, f)
	})
}

// proceed carries a request out whose body was read.
func (a *API) proceed(w http.ResponseWriter, r *http.Request, body []byte, timeout time.Duration, f Func) (any, error) {
	r.Body, r.ContentLength = io.NopCloser(bytes.NewReader(body)), int64(len(body))
	// The server's deadline for writing may be too early. A writer that has no deadlines, as in
	// tests, needs none.
	_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(timeout + a.options.Timeout))
	return f(r)
}

// handle answers requests with what f returns. A panic of f becomes an error.
func (a *API) handle(timeout time.Duration, f func(http.ResponseWriter, *http.Request) (any, error)) http.Handler {
	guarded := func(w http.ResponseWriter, r *http.Request) (answer any, err error) {
		defer func() {
			p := recover()
			if p == http.ErrAbortHandler {
				panic(p) // this is the way to break a connection off
			}
			if p != nil {
				a.options.Logger.Error("httpapi: panic", "method", r.Method, "path", r.URL.Path, "panic", p, "stack", string(debug.Stack()))
				answer, err = nil, errors.New("the service has panicked")
			}
		}()
		return f(w, r)
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ctx, cancel := context.WithTimeout(r.Context(), timeout)
		defer cancel()
		if answer, err := guarded(w, r.WithContext(ctx)); err != nil {
			Fail(w, err)
		} else {
			write(w, answer)
		}
	})
}

// bodyError says how it is answered that the body of a request couldn't be read.
func bodyError(err error) *Error {
	bad := BadRequest("the body can't be read: %w", err)
	if tooLarge, ok := errors.AsType[*http.MaxBytesError](err); ok {
		bad.Status, bad.Code = http.StatusRequestEntityTooLarge, "too_large"
		bad.Message = fmt.Sprintf("the body has more than %d bytes", tooLarge.Limit)
	} else if errors.Is(err, os.ErrDeadlineExceeded) {
		bad.Status, bad.Code = http.StatusRequestTimeout, "slow_request"
	}
	return bad
}

// ReadJSON reads the body of a request as one JSON value. A field that into doesn't have is an
// error. The error is a BadRequest.
func ReadJSON(r *http.Request, into any) error {
	decoder := json.NewDecoder(r.Body)
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(into); err != nil {
		return BadRequest("the body is not what was expected: %w", err)
	}
	if _, err := decoder.Token(); err != io.EOF {
		return BadRequest("the body has more than one JSON value")
	}
	return nil
}

// Fail answers a request with an error, as ErrorOf says.
func Fail(w http.ResponseWriter, err error) {
	e := ErrorOf(err)
	if e.Status < 400 || e.Status > 599 {
		e = ErrorOf(fmt.Errorf("the service has failed with status %d: %s", e.Status, e.Message))
	}
	body, err := encode(e)
	if err != nil { // its fields are text
		body = []byte(`{"error":"the error can't be written","code":"internal","outcome":"unknown"}` + "\n")
	}
	if e.RetryAfter > 0 {
		w.Header().Set("Retry-After", strconv.Itoa(int(max(e.RetryAfter.Round(time.Second), time.Second)/time.Second)))
	}
	send(w, e.Status, body)
}

// write answers a request that succeeded.
func write(w http.ResponseWriter, answer any) {
	a, ok := answer.(Answer)
	if !ok {
		a = Answer{Body: answer}
	}
	if a.Status == 0 {
		a.Status = http.StatusOK
		if a.Body == nil {
			a.Status = http.StatusNoContent
		}
	}
	raw, isRaw := a.Body.([]byte)
	var err error
	switch {
	case a.Status < 200 || a.Status > 299:
		err = fmt.Errorf("the service has answered with status %d", a.Status)
	case a.Body != nil && (!isRaw || a.Header.Get("Content-Type") == ""):
		raw, err = encode(a.Body)
	}
	if err != nil {
		Fail(w, err)
		return
	}
	for name, values := range a.Header {
		w.Header()[http.CanonicalHeaderKey(name)] = values
	}
	if a.Body == nil {
		w.WriteHeader(a.Status)
		return
	}
	send(w, a.Status, raw)
}

// encode returns a value as JSON, with a line end for terminals. It isn't made fit for HTML.
func encode(value any) ([]byte, error) {
	var text bytes.Buffer
	encoder := json.NewEncoder(&text)
	encoder.SetEscapeHTML(false)
	err := encoder.Encode(value)
	return text.Bytes(), err
}

// send writes a body, which is JSON unless the header says otherwise.
func send(w http.ResponseWriter, status int, body []byte) {
	if w.Header().Get("Content-Type") == "" {
		w.Header().Set("Content-Type", "application/json")
	}
	w.WriteHeader(status)
	_, _ = w.Write(body) // an error says that the client is gone
}

// Mux returns a handler that answers what no route of the mux takes as every other failure: 404
// not_found, or 405 method_not_allowed with the methods that are allowed. The mux by itself answers
// with plain text.
func Mux(mux *http.ServeMux) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		own, pattern := mux.Handler(r)
		if pattern != "" {
			mux.ServeHTTP(w, r)
			return
		}
		var found verdict
		own.ServeHTTP(&found, r)
		if found.status == http.StatusMethodNotAllowed {
			allowed := found.header.Get("Allow")
			w.Header().Set("Allow", allowed)
			Fail(w, &Error{Status: found.status, Code: "method_not_allowed", Outcome: NotApplied, Message: "the method is not one of " + allowed})
			return
		}
		Fail(w, &Error{Status: http.StatusNotFound, Code: "not_found", Outcome: NotApplied, Message: "there is no " + r.URL.Path})
	})
}

// A verdict is what the mux itself would answer, without the body.
type verdict struct {
	header http.Header
	status int
}

func (v *verdict) Header() http.Header {
	if v.header == nil {
		v.header = http.Header{}
	}
	return v.header
}

func (v *verdict) WriteHeader(status int)      { v.status = status }
func (v *verdict) Write(b []byte) (int, error) { return len(b), nil }
