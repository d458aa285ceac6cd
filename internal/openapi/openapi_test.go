package openapi_test

import (
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/e17579a5/raft/internal/openapi"
)

const document = `{
  "openapi": "3.1.0",
  "info": {"title": "Things", "version": "1"},
  "paths": {
    "/things/{id}": {
      "put": {
        "operationId": "put",
        "parameters": [
          {"name": "id", "in": "path", "required": true, "schema": {"type": "integer", "minimum": 1, "maximum": 9}},
          {"name": "q", "in": "query", "required": true, "schema": {"type": "string", "pattern": "^q"}},
          {"name": "X-H", "in": "header", "schema": {"type": "string", "minLength": 2}}
        ],
        "requestBody": {"content": {"application/json": {"schema": {"$ref": "#/components/schemas/Thing"}}}},
        "responses": {
          "200": {"description": "yes", "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Thing", "properties": {"a": {"minimum": 3}}}}}},
          "201": {"description": "made", "headers": {"Location": {"required": true, "schema": {"type": "string", "pattern": "^/"}}}},
          "204": {"description": "nothing"},
          "400": {"description": "no", "content": {"application/json": {"schema": {"type": "object", "properties": {"code": {"enum": ["bad"]}}}}}}
        }
      }
    }
  },
  "components": {"schemas": {"Thing": {
    "type": "object", "required": ["a"], "additionalProperties": false,
    "properties": {"a": {"type": "integer"}, "b": {"type": "array", "items": {"type": "string"}}, "c": {"type": "boolean"}, "d": {"type": "number"}}
  }}}
}`

// read reads the document with something replaced.
func read(t *testing.T, is, becomes string) (*openapi.Document, error) {
	require.Contains(t, document, is)
	path := filepath.Join(t.TempDir(), "openapi.json")
	require.NoError(t, os.WriteFile(path, []byte(strings.ReplaceAll(document, is, becomes)), 0o600))
	return openapi.Read(path)
}

func TestReadRefuses(t *testing.T) {
	for _, c := range []struct{ is, becomes, want string }{
		{`"3.1.0"`, `"3.0.0"`, "not 3.1"},
		{`"3.1.0",`, `"3.1.0"`, "invalid character"},
		{`"title": "Things", `, ``, "no title"},
		{`"put": {`, `"place": {`, "no operation"},
		{`"operationId": "put",`, ``, "operationId"},
		{`{"name": "id", "in": "path", "required": true`, `{"name": "id", "in": "path"`, "{id} is no required parameter"},
		{`"maximum": 9`, `"most": 9`, "keyword most"},
		{`"pattern": "^q"`, `"pattern": "("`, "missing closing"},
		{`"description": "nothing"`, `"summary": "nothing"`, "no description"},
		{`schemas/Thing"}`, `schemas/Thong"}`, "there is no Thong"},
		{`"#/components/schemas/Thing"}`, `"other.json#/Thing"}`, "other.json"},
		{`"c": {"type"`, `"c": {"kind"`, "keyword kind"},
		{`"items": {"type": "string"}`, `"items": {"kind": "string"}`, "keyword kind"},
		{`"schema": {"type": "object", "properties"`, `"schemes": {"type": "object", "properties"`, "is no schema"},
	} {
		_, err := read(t, c.is, c.becomes)
		require.ErrorContains(t, err, c.want, "%s → %s", c.is, c.becomes)
	}
	_, err := openapi.Read(filepath.Join(t.TempDir(), "openapi.json"))
	require.ErrorIs(t, err, os.ErrNotExist)
}

// answer makes an answer. header has names and values in turn.
func answer(status int, body string, header ...string) *http.Response {
	w := httptest.NewRecorder()
	for i := 0; i < len(header); i += 2 {
		w.Header().Set(header[i], header[i+1])
	}
	if body != "" {
		w.Header().Set("Content-Type", "application/json")
	}
	w.WriteHeader(status)
	_, _ = w.WriteString(body) // it never fails
	return w.Result()
}

func TestCheck(t *testing.T) {
	d, err := read(t, "Things", "Things")
	require.NoError(t, err)
	const sound, good = "/things/5?q=q", `{"a": 3}`
	for _, c := range []struct {
		url, sent string
		answer    *http.Response
		want      string // "" for no error
	}{
		{sound, good, answer(200, `{"a": 3, "b": ["x", ""], "c": true, "d": 1.5}`), ""},
		{sound, "", answer(200, `{"a": 12345678901234567890123, "d": 1}`), ""},
		{sound, good, answer(201, "", "Location", "/x"), ""},
		{sound, good, answer(204, ""), ""},
		{"/things/x", "", answer(400, `{"code": "bad"}`), ""},

		{"/thongs/5", "", answer(204, ""), "the document has no PUT /thongs/5"},
		{"/things/", "", answer(204, ""), "the document has no PUT /things/"},
		{sound, good, answer(202, ""), "the document has no PUT /things/{id} 202"},
		{sound, good, answer(204, "{}"), "where none is described"},
		{sound, good, answer(200, ""), "which isn't described"},
		{sound, good, answer(200, `{"a": 3}`, "Retry-After", "1"), "a header Retry-After"},
		{sound, good, answer(201, ""), "no header Location"},
		{sound, good, answer(201, "", "Location", "x"), "header Location"},
		{sound, good, answer(200, `{"a": 3} 1`), "more than one JSON value"},
		{sound, good, answer(200, `{`), "EOF"},
		{sound, good, answer(200, `[]`), "the body is of type array, not object"},
		{sound, good, answer(200, `{}`), "the body has no a"},
		{sound, good, answer(200, `{"a": 3, "e": 1}`), "the body has a e"},
		{sound, good, answer(200, `{"a": 2}`), "the body.a is 2, less than 3"},
		{sound, good, answer(200, `{"a": 3.5}`), "of type number, not integer"},
		{sound, good, answer(200, `{"a": null}`), "of type null"},
		{sound, good, answer(200, `{"a": 3, "b": [1]}`), "the body.b[0] is of type integer"},
		{sound, good, answer(400, `{"code": "worse"}`), "the body.code is worse"},

		{"/things/x?q=q", good, answer(204, ""), "parameter id is of type string"},
		{"/things/0?q=q", good, answer(204, ""), "parameter id is 0, less than 1"},
		{"/things/10?q=q", good, answer(204, ""), "parameter id is 10, more than 9"},
		{"/things/5", good, answer(204, ""), "lacks the parameter q"},
		{"/things/5?q=x", good, answer(204, ""), `parameter q is "x"`},
		{sound, `{"a": "3"}`, answer(204, ""), "the request's body.a"},
		{sound, `{`, answer(204, ""), "EOF"},
	} {
		err := d.Check(httptest.NewRequest(http.MethodPut, c.url, nil), c.sent, c.answer)
		if c.want == "" {
			require.NoError(t, err)
		} else {
			require.ErrorContains(t, err, c.want)
		}
	}
	r := httptest.NewRequest(http.MethodPut, sound, nil)
	r.Header.Set("X-H", "x")
	require.ErrorContains(t, d.Check(r, good, answer(204, "")), "parameter X-H is \"x\", which is too short")

	require.Equal(t, []string{"PUT /things/{id}"}, d.Operations())
	require.Equal(t, []string{"PUT /things/{id} 200", "PUT /things/{id} 201", "PUT /things/{id} 204", "PUT /things/{id} 400"}, d.Answers())
	require.Equal(t, d.Answers(), d.Seen())
	require.Equal(t, []string{"bad"}, d.Codes())
	require.Equal(t, []string{"bad"}, d.SeenCodes())
}
