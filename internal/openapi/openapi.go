// Package openapi holds HTTP handlers to an OpenAPI 3.1 file, in tests. It knows the part of OpenAPI
// and of JSON Schema that the files of this module use, and refuses a file that has more: what isn't
// understood isn't checked.
package openapi

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

// An object is a JSON object.
type object = map[string]any

// A Document is an OpenAPI file, with what was seen of it.
type Document struct {
	path  string
	files map[string]object // by path: this one, and those that it refers to
	seen  map[string]bool   // the answers that Check was given, as Answers has them
	codes map[string]bool   // the codes of failures among them
}

// Read reads a file, and those that it refers to. The error says what is wrong with one of them.
func Read(path string) (*Document, error) {
	d := &Document{path: path, files: map[string]object{}, seen: map[string]bool{}, codes: map[string]bool{}}
	root, err := d.file(path)
	if err != nil {
		return nil, err
	}
	if version, _ := root["openapi"].(string); !strings.HasPrefix(version, "3.1.") {
		return nil, fmt.Errorf("%s: openapi is %q, not 3.1", path, version)
	}
	if info, _ := root["info"].(object); info["title"] == nil || info["version"] == nil {
		return nil, fmt.Errorf("%s: info has no title or no version", path)
	}
	if err := d.checkShape(); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return d, nil
}

// file reads a file, unless it has been read.
func (d *Document) file(path string) (object, error) {
	if root, found := d.files[path]; found {
		return root, nil
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var root object
	if err := json.Unmarshal(text, &root); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	d.files[path] = root
	return root, checkReferences(d, root, path)
}

// checkReferences follows all references in a file.
func checkReferences(d *Document, value any, path string) error {
	switch value := value.(type) {
	case object:
		if _, found := value["$ref"].(string); found {
			if _, _, err := d.follow(value, path); err != nil {
				return err
			}
		}
		for _, key := range slices.Sorted(maps.Keys(value)) {
			if err := checkReferences(d, value[key], path); err != nil {
				return err
			}
		}
	case []any:
		for _, element := range value {
			if err := checkReferences(d, element, path); err != nil {
				return err
			}
		}
	}
	return nil
}

// follow returns what an object refers to and the file that this is in, or the object itself.
func (d *Document) follow(o object, path string) (object, string, error) {
	reference, found := o["$ref"].(string)
	if !found {
		return o, path, nil
	}
	file, pointer, _ := strings.Cut(reference, "#/")
	if file != "" {
		path = filepath.Join(filepath.Dir(path), filepath.FromSlash(file))
	}
	root, err := d.file(path)
	if err != nil {
		return nil, "", err
	}
	at := root
	for step := range strings.SplitSeq(pointer, "/") {
		step = strings.NewReplacer("~1", "/", "~0", "~").Replace(step)
		if at, found = at[step].(object); !found {
			return nil, "", fmt.Errorf("%s leads nowhere: there is no %s", reference, step)
		}
	}
	return d.follow(at, path)
}

// methods are the keys of a path's object that are operations.
var methods = []string{"get", "put", "post", "delete", "patch", "head", "options"}

// An operation is one of a document.
type operation struct {
	name, file   string // POST /sessions, and where it is described
	body         object
	parameters   []object
	described    object
	pathSegments []string
}

// operations returns all operations of the document, in order.
func (d *Document) operations() (all []operation, err error) {
	paths, _ := d.files[d.path]["paths"].(object)
	for _, path := range slices.Sorted(maps.Keys(paths)) {
		item, _ := paths[path].(object)
		item, file, err := d.follow(item, d.path)
		if err != nil {
			return nil, err
		}
		for _, method := range slices.Sorted(maps.Keys(item)) {
			described, ok := item[method].(object)
			if !ok || !slices.Contains(methods, method) {
				return nil, fmt.Errorf("%s: %s is no operation", path, method)
			}
			o := operation{
				name: strings.ToUpper(method) + " " + path, file: file, described: described, pathSegments: strings.Split(path, "/"),
			}
			list, _ := described["parameters"].([]any)
			for _, p := range list {
				p, _ := p.(object)
				if p, _, err = d.follow(p, file); err != nil {
					return nil, err
				}
				o.parameters = append(o.parameters, p)
			}
			o.body, _ = described["requestBody"].(object)
			all = append(all, o)
		}
	}
	return all, nil
}

// checkShape checks what every tool that reads such a file counts on.
func (d *Document) checkShape() error {
	all, err := d.operations()
	if err != nil {
		return err
	}
	names := map[any]bool{}
	for _, o := range all {
		id := o.described["operationId"]
		if id == nil || names[id] {
			return fmt.Errorf("%s: operationId is missing, or that of another operation", o.name)
		}
		names[id] = true
		for _, segment := range o.pathSegments {
			if name, found := strings.CutPrefix(segment, "{"); found && !slices.ContainsFunc(o.parameters, func(p object) bool {
				return p["in"] == "path" && p["name"] == strings.TrimSuffix(name, "}") && p["required"] == true
			}) {
				return fmt.Errorf("%s: %s is no required parameter", o.name, segment)
			}
		}
		for _, p := range o.parameters {
			if err := d.checkSchemaShape(p["schema"], o.file); err != nil {
				return fmt.Errorf("%s: parameter %v: %w", o.name, p["name"], err)
			}
		}
		responses, _ := o.described["responses"].(object)
		if len(responses) == 0 {
			return fmt.Errorf("%s: no responses", o.name)
		}
		for status, r := range responses {
			if err := d.checkResponseShape(r, o.file); err != nil {
				return fmt.Errorf("%s: %s: %w", o.name, status, err)
			}
		}
	}
	return nil
}

func (d *Document) checkResponseShape(response any, file string) error {
	r, _ := response.(object)
	r, file, err := d.follow(r, file)
	if err != nil {
		return err
	}
	if r["description"] == nil {
		return errors.New("no description")
	}
	content, _ := r["content"].(object)
	for kind, c := range content {
		c, _ := c.(object)
		if err := d.checkSchemaShape(c["schema"], file); err != nil {
			return fmt.Errorf("%s: %w", kind, err)
		}
	}
	return nil
}

// Operations returns the names of all operations: "POST /sessions".
func (d *Document) Operations() (names []string) {
	all, _ := d.operations() // Read has found no error
	for _, o := range all {
		names = append(names, o.name)
	}
	return names
}

// Answers returns all answers that the document has: "POST /sessions 201".
func (d *Document) Answers() (answers []string) {
	all, _ := d.operations() // Read has found no error
	for _, o := range all {
		responses, _ := o.described["responses"].(object)
		for status := range responses {
			answers = append(answers, o.name+" "+status)
		}
	}
	slices.Sort(answers)
	return answers
}

// Seen returns the answers that Check was given, as Answers has them.
func (d *Document) Seen() []string { return slices.Sorted(maps.Keys(d.seen)) }

// SeenCodes returns the codes of the failures that Check was given.
func (d *Document) SeenCodes() []string { return slices.Sorted(maps.Keys(d.codes)) }

// Codes returns all codes of failures that the document's files name.
func (d *Document) Codes() []string {
	found := map[string]bool{}
	for _, root := range d.files {
		collectCodes(root, found)
	}
	return slices.Sorted(maps.Keys(found))
}

func collectCodes(value any, found map[string]bool) {
	switch value := value.(type) {
	case object:
		if code, ok := value["code"].(object); ok {
			list, _ := code["enum"].([]any)
			for _, c := range list {
				found[fmt.Sprint(c)] = true
			}
		}
		for _, member := range value {
			collectCodes(member, found)
		}
	case []any:
		for _, element := range value {
			collectCodes(element, found)
		}
	}
}

// find returns the operation that a request is for.
func (d *Document) find(r *http.Request) (found operation, err error) {
	all, err := d.operations()
	if err != nil {
		return found, err
	}
	asked := strings.Split(r.URL.Path, "/")
	for _, o := range all {
		if strings.HasPrefix(o.name, r.Method+" ") && slices.EqualFunc(o.pathSegments, asked, func(template, segment string) bool {
			return template == segment || strings.HasPrefix(template, "{") && segment != ""
		}) {
			return o, nil
		}
	}
	return found, fmt.Errorf("the document has no %s %s", r.Method, r.URL.Path)
}

// Check checks a request and its answer against the document. A request that succeeds must be one
// that the document allows. sent is the request's body.
func (d *Document) Check(r *http.Request, sent string, answer *http.Response) error {
	o, err := d.find(r)
	if err != nil {
		return err
	}
	name := fmt.Sprintf("%s %d", o.name, answer.StatusCode)
	responses, _ := o.described["responses"].(object)
	described, found := responses[fmt.Sprint(answer.StatusCode)].(object)
	if !found {
		return fmt.Errorf("the document has no %s", name)
	}
	described, file, err := d.follow(described, o.file)
	if err != nil {
		return err
	}
	body, err := io.ReadAll(answer.Body)
	if err != nil {
		return err
	}
	if err := d.checkContent(described, file, answer.Header.Get("Content-Type"), body); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	if err := d.checkHeaders(described, file, answer.Header); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	if answer.StatusCode < 300 {
		if err := d.checkRequest(&o, r, sent); err != nil {
			return fmt.Errorf("%s, to a request that shouldn't succeed: %w", name, err)
		}
	}
	d.seen[name] = true
	if answer.StatusCode >= 400 {
		var failure struct{ Code string }
		if err := json.Unmarshal(body, &failure); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		d.codes[failure.Code] = true
	}
	return nil
}

// checkContent checks a body. No content stands for no body.
func (d *Document) checkContent(described object, file, kind string, body []byte) error {
	content, found := described["content"].(object)
	if !found {
		if len(body) > 0 || kind != "" {
			return fmt.Errorf("a body of type %q, where none is described", kind)
		}
		return nil
	}
	of, found := content[kind].(object)
	if !found {
		return fmt.Errorf("a body of type %q, which isn't described", kind)
	}
	if kind != "application/json" {
		return nil
	}
	value, err := decode(body)
	if err != nil {
		return err
	}
	return d.checkValue(of["schema"], file, value, "the body")
}

// telling are the headers of answers that mean something to clients. They are there if, and only
// if, the document has them.
var telling = []string{"Retry-After", "Location", "Allow"}

func (d *Document) checkHeaders(described object, file string, got http.Header) error {
	headers, _ := described["headers"].(object)
	for _, name := range telling {
		h, found := headers[name].(object)
		switch values := got.Values(name); {
		case found && len(values) == 0 && h["required"] == true:
			return fmt.Errorf("no header %s", name)
		case !found && len(values) > 0:
			return fmt.Errorf("a header %s, which isn't described", name)
		case found && len(values) > 0:
			if err := d.checkText(h["schema"], file, values[0], "header "+name); err != nil {
				return err
			}
		}
	}
	return nil
}

// checkRequest checks what a request brings along.
func (d *Document) checkRequest(o *operation, r *http.Request, sent string) error {
	asked := strings.Split(r.URL.Path, "/")
	for _, p := range o.parameters {
		name, _ := p["name"].(string)
		var values []string
		switch p["in"] {
		case "header":
			values = r.Header.Values(name)
		case "query":
			values = r.URL.Query()[name]
		case "path":
			values = []string{asked[slices.Index(o.pathSegments, "{"+name+"}")]}
		}
		if len(values) == 0 {
			if p["required"] == true {
				return fmt.Errorf("it lacks the parameter %s", name)
			}
			continue
		}
		if err := d.checkText(p["schema"], o.file, values[0], "parameter "+name); err != nil {
			return err
		}
	}
	if o.body == nil || sent == "" && o.body["required"] != true {
		return nil
	}
	content, _ := o.body["content"].(object)
	of, isJSON := content["application/json"].(object)
	if !isJSON {
		return nil
	}
	value, err := decode([]byte(sent))
	if err != nil {
		return err
	}
	return d.checkValue(of["schema"], o.file, value, "the request's body")
}

// checkText checks a text that is no JSON. A number is one by its digits.
func (d *Document) checkText(schema any, file, text, what string) error {
	s, _ := schema.(object)
	s, file, err := d.follow(s, file)
	if err != nil {
		return err
	}
	if s["type"] == "integer" && regexp.MustCompile(`^-?\d+$`).MatchString(text) {
		return d.checkValue(s, file, json.Number(text), what)
	}
	return d.checkValue(s, file, text, what)
}

// decode reads one JSON value. Numbers keep all their digits.
func decode(text []byte) (value any, err error) {
	decoder := json.NewDecoder(strings.NewReader(string(text)))
	decoder.UseNumber()
	if err := decoder.Decode(&value); err != nil {
		return nil, err
	}
	if _, err := decoder.Token(); err != io.EOF {
		return nil, errors.New("more than one JSON value")
	}
	return value, nil
}
