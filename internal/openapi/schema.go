package openapi

import (
	"encoding/json"
	"fmt"
	"math/big"
	"reflect"
	"regexp"
	"slices"
	"unicode/utf8"
)

// keywords are those of a schema that are understood. Some only inform.
var keywords = []string{
	"$ref", "type", "properties", "required", "additionalProperties", "items", "enum", "pattern", "minimum", "maximum", "minLength",
	"description", "format", "examples", "contentEncoding",
}

// checkSchemaShape refuses a schema with keywords that aren't understood.
func (d *Document) checkSchemaShape(schema any, file string) error {
	s, ok := schema.(object)
	if !ok {
		return fmt.Errorf("%v is no schema", schema)
	}
	for keyword := range s {
		if !slices.Contains(keywords, keyword) {
			return fmt.Errorf("keyword %s isn't understood", keyword)
		}
	}
	if pattern, ok := s["pattern"].(string); ok {
		if _, err := regexp.Compile(pattern); err != nil {
			return err
		}
	}
	if _, found := s["$ref"]; found {
		of, file, err := d.follow(s, file)
		if err != nil {
			return err
		}
		if err := d.checkSchemaShape(of, file); err != nil {
			return err
		}
	}
	properties, _ := s["properties"].(object)
	for name, property := range properties {
		if err := d.checkSchemaShape(property, file); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	if items, found := s["items"]; found {
		return d.checkSchemaShape(items, file)
	}
	return nil
}

// checkValue checks a JSON value against a schema. where names the value.
func (d *Document) checkValue(schema any, file string, value any, where string) error {
	s, _ := schema.(object)
	if _, found := s["$ref"]; found { // what stands beside it holds too
		of, in, err := d.follow(s, file)
		if err != nil {
			return err
		}
		if err := d.checkValue(of, in, value, where); err != nil {
			return err
		}
	}
	if kind, found := s["type"].(string); found && kind != typeOf(value) && (kind != "number" || typeOf(value) != "integer") {
		return fmt.Errorf("%s is of type %s, not %s", where, typeOf(value), kind)
	}
	if enum, found := s["enum"].([]any); found && !slices.ContainsFunc(enum, func(e any) bool { return reflect.DeepEqual(e, value) }) {
		return fmt.Errorf("%s is %v, not one of %v", where, value, enum)
	}
	switch value := value.(type) {
	case string:
		if pattern, found := s["pattern"].(string); found && !regexp.MustCompile(pattern).MatchString(value) {
			return fmt.Errorf("%s is %q, which isn't like %s", where, value, pattern)
		}
		if least, found := s["minLength"].(float64); found && utf8.RuneCountInString(value) < int(least) {
			return fmt.Errorf("%s is %q, which is too short", where, value)
		}
	case json.Number:
		return checkRange(s, value, where)
	case []any:
		for i, element := range value {
			if err := d.checkValue(s["items"], file, element, fmt.Sprintf("%s[%d]", where, i)); err != nil {
				return err
			}
		}
	case object:
		return d.checkObject(s, file, value, where)
	}
	return nil
}

// checkObject checks the members of a JSON object.
func (d *Document) checkObject(s object, file string, value object, where string) error {
	required, _ := s["required"].([]any)
	for _, name := range required {
		if _, found := value[name.(string)]; !found {
			return fmt.Errorf("%s has no %v", where, name)
		}
	}
	properties, _ := s["properties"].(object)
	for name, member := range value {
		schema, found := properties[name]
		if !found {
			if s["additionalProperties"] == false {
				return fmt.Errorf("%s has a %s, which isn't described", where, name)
			}
			continue
		}
		if err := d.checkValue(schema, file, member, where+"."+name); err != nil {
			return err
		}
	}
	return nil
}

// checkRange checks a number against minimum and maximum.
func checkRange(s object, value json.Number, where string) error {
	n, ok := new(big.Float).SetString(value.String())
	if !ok {
		return fmt.Errorf("%s is %s, which is no number", where, value)
	}
	if least, found := s["minimum"].(float64); found && n.Cmp(big.NewFloat(least)) < 0 {
		return fmt.Errorf("%s is %s, less than %v", where, value, least)
	}
	if most, found := s["maximum"].(float64); found && n.Cmp(big.NewFloat(most)) > 0 {
		return fmt.Errorf("%s is %s, more than %v", where, value, most)
	}
	return nil
}

// typeOf returns the name that JSON Schema has for the type of a value.
func typeOf(value any) string {
	switch value := value.(type) {
	case nil:
		return "null"
	case bool:
		return "boolean"
	case string:
		return "string"
	case json.Number:
		if _, ok := new(big.Int).SetString(value.String(), 10); ok {
			return "integer"
		}
		return "number"
	case []any:
		return "array"
	}
	return "object"
}
