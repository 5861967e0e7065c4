package consumer

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/smartconnect/connector/schemas"
)

// A schema is what of a JSON Schema the bodies of events are held to. The
// decoder sees to types; what else a schema says is for those who write.
type schema struct {
	Ref        string            `json:"$ref"`
	Defs       map[string]schema `json:"$defs"`
	Enum       []string          `json:"enum"` // closed; open lists have none
	Minimum    *float64          `json:"minimum"`
	Maximum    *float64          `json:"maximum"`
	MinLength  int               `json:"minLength"`
	Required   []string          `json:"required"`
	Properties map[string]schema `json:"properties"`
	Items      *schema           `json:"items"`
	Values     json.RawMessage   `json:"additionalProperties"` // false, or the schema of a map's values
}

// schemaOf returns the schema of a type, or another of the contract.
func schemaOf(name string) (schema, error) {
	var s schema
	raw, err := schemas.FS.ReadFile(name + ".json")
	if err == nil {
		err = json.Unmarshal(raw, &s)
	}
	if err != nil {
		return s, fmt.Errorf("consumer: schema %s: %w", name, err)
	}
	return s, nil
}

// A body reads the bodies of one type of event.
type body[T any] struct {
	required []field
	rule     rule
}

func bodyOf[T any](t Type) (body[T], error) {
	var b body[T]
	s, err := schemaOf(string(t))
	if err != nil {
		return b, err
	}
	for _, name := range s.Required {
		b.required = append(b.required, field{name, mayBeNull(reflect.TypeFor[T](), name)})
	}
	b.rule, err = ruleOf(reflect.TypeFor[T](), s, s.Defs, "", true)
	if err != nil {
		return b, fmt.Errorf("consumer: schema %s: %w", t, err)
	}
	return b, nil
}

// read reads the body of e. Its errors quote nothing of it.
func (b body[T]) read(e Event) (T, error) {
	var data T
	malformed := func(format string, args ...any) (T, error) {
		return data, fmt.Errorf("%w: the body of %s "+format, append([]any{ErrMalformed, e.Type}, args...)...)
	}
	err := json.Unmarshal(e.Data, &data)
	var syntax *json.SyntaxError
	if object := bytes.HasPrefix(bytes.TrimLeft(e.Data, " \t\r\n"), []byte("{")); !object || errors.As(err, &syntax) {
		return malformed("is no JSON object")
	}
	if name, why := lacks(e.Data, b.required); why != "" {
		return malformed("has %s", fmt.Sprintf(why, name))
	}
	if err != nil {
		return malformed("is not what its schema says")
	}
	// What was decoded is looked at, not the text: a key that stands there twice,
	// or in another case, is the decoder's to choose.
	if b.rule != nil {
		if name, why := b.rule(reflect.ValueOf(&data).Elem()); why != "" {
			return malformed("has a %s that %s", name, why)
		}
	}
	return data, nil
}

// A rule says which field breaks it, and how; why is empty if none does.
type rule func(v reflect.Value) (name, why string)

// ruleOf returns the rule of values of t, in a field called name that must be
// there or need not; nil if any value will do.
func ruleOf(t reflect.Type, s schema, defs map[string]schema, name string, needed bool) (rule, error) {
	if s.Ref != "" {
		to, ok := defs[strings.TrimPrefix(s.Ref, "#/$defs/")]
		if !ok {
			return nil, fmt.Errorf("there is no %s", s.Ref)
		}
		s = to
	}
	switch {
	case t == reflect.TypeFor[time.Time]():
		if !needed {
			return nil, nil
		}
		return func(v reflect.Value) (string, string) {
			if at, ok := reflect.TypeAssert[time.Time](v); ok && at.IsZero() {
				return name, "is no time"
			}
			return "", ""
		}, nil
	case t.Kind() == reflect.String:
		return ruleOfText(s, name, needed), nil
	case t.Kind() == reflect.Pointer:
		inner, err := ruleOf(t.Elem(), s, defs, name, needed)
		if inner == nil || err != nil {
			return nil, err
		}
		return func(v reflect.Value) (string, string) {
			if v.IsNil() {
				return "", ""
			}
			return inner(v.Elem())
		}, nil
	case t.Kind() == reflect.Slice && s.Items != nil:
		inner, err := ruleOf(t.Elem(), *s.Items, defs, name, true)
		if inner == nil || err != nil {
			return nil, err
		}
		return func(v reflect.Value) (string, string) {
			for i := range v.Len() {
				if name, why := inner(v.Index(i)); why != "" {
					return name, why
				}
			}
			return "", ""
		}, nil
	case t.Kind() == reflect.Map && bytes.HasPrefix(s.Values, []byte("{")):
		return ruleOfMap(t, s, defs, name)
	case t.Kind() == reflect.Struct:
		return ruleOfStruct(t, s, defs)
	case s.Minimum != nil || s.Maximum != nil:
		return func(v reflect.Value) (string, string) {
			var n float64
			switch {
			case v.CanInt():
				n = float64(v.Int())
			case v.CanUint():
				n = float64(v.Uint())
			case v.CanFloat():
				n = v.Float()
			}
			if s.Minimum != nil && n < *s.Minimum || s.Maximum != nil && n > *s.Maximum {
				return name, "is out of bounds"
			}
			return "", ""
		}, nil
	default:
		return nil, nil
	}
}

// ruleOfText returns the rule of a text. An id is never empty, whatever its
// schema says of its length; a field that may be absent may.
func ruleOfText(s schema, name string, needed bool) rule {
	id := strings.HasSuffix(name, "Id")
	switch {
	case s.Enum != nil:
		return func(v reflect.Value) (string, string) {
			if word := v.String(); !slices.Contains(s.Enum, word) && (needed || word != "") {
				return name, "is none of the words of its closed list"
			}
			return "", ""
		}
	case needed && (id || s.MinLength > 0):
		return func(v reflect.Value) (string, string) {
			if v.Len() < max(1, s.MinLength) {
				return name, "is empty or too short"
			}
			return "", ""
		}
	default:
		return nil
	}
}

func ruleOfMap(t reflect.Type, s schema, defs map[string]schema, name string) (rule, error) {
	var values schema
	if err := json.Unmarshal(s.Values, &values); err != nil {
		return nil, err
	}
	inner, err := ruleOf(t.Elem(), values, defs, name, true)
	if inner == nil || err != nil {
		return nil, err
	}
	return func(v reflect.Value) (string, string) {
		for all := v.MapRange(); all.Next(); {
			if name, why := inner(all.Value()); why != "" {
				return name, why
			}
		}
		return "", ""
	}, nil
}

func ruleOfStruct(t reflect.Type, s schema, defs map[string]schema) (rule, error) {
	type part struct {
		index []int
		rule  rule
	}
	var parts []part
	for _, f := range reflect.VisibleFields(t) {
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		of, ok := s.Properties[name]
		if !ok {
			continue
		}
		inner, err := ruleOf(f.Type, of, defs, name, slices.Contains(s.Required, name))
		if err != nil {
			return nil, err
		}
		if inner != nil {
			parts = append(parts, part{f.Index, inner})
		}
	}
	if parts == nil {
		return nil, nil
	}
	return func(v reflect.Value) (string, string) {
		for _, p := range parts {
			if name, why := p.rule(v.FieldByIndex(p.index)); why != "" {
				return name, why
			}
		}
		return "", ""
	}, nil
}

// A field is one that the schema requires.
type field struct {
	name string
	null bool // may be null
}

// lacks returns the first required field that an object does not have, or has
// as a null it must not be, and how to say so. To the JSON decoder a field that
// is absent and one that is empty are the same, so it cannot tell.
func lacks(object []byte, required []field) (name, why string) {
	there := make([]bool, len(required))
	for key, value := range members(object) {
		i := slices.IndexFunc(required, func(f field) bool { return f.name == string(key) })
		if i < 0 {
			continue
		}
		if !required[i].null && bytes.HasPrefix(value, []byte("null")) {
			return required[i].name, "a %s that is null"
		}
		there[i] = true
	}
	if i := slices.Index(there, false); i >= 0 {
		return required[i].name, "no %s"
	}
	return "", ""
}

// members goes through the members of a JSON object that the decoder has found
// well-formed: each key as it is written, and what begins with its value.
func members(object []byte) iter.Seq2[[]byte, []byte] {
	return func(yield func(key, value []byte) bool) {
		depth, isKey := 0, false
		for i := 0; i < len(object); i++ {
			switch object[i] {
			case '{', '[':
				depth++
				isKey = depth == 1
			case '}', ']':
				depth--
			case ',':
				isKey = depth == 1
			case '"':
				from := i + 1
				for i = from; object[i] != '"'; i++ {
					if object[i] == '\\' {
						i++
					}
				}
				if !isKey {
					continue
				}
				isKey = false
				value := bytes.TrimLeft(object[i+1:], ": \t\r\n")
				if !yield(object[from:i], value) {
					return
				}
			}
		}
	}
}

// mayBeNull reports whether the field of t that is called name can hold that
// it is null.
func mayBeNull(t reflect.Type, name string) bool {
	return slices.ContainsFunc(reflect.VisibleFields(t), func(f reflect.StructField) bool {
		tag, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		return tag == name && f.Type.Kind() == reflect.Pointer
	})
}
