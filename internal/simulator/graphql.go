package simulator

import (
	"encoding/json"
	"slices"
	"sync"

	"github.com/vektah/gqlparser/v2"
	"github.com/vektah/gqlparser/v2/ast"
	"github.com/vektah/gqlparser/v2/gqlerror"
	"github.com/vektah/gqlparser/v2/validator"
	"github.com/vektah/gqlparser/v2/validator/rules"
)

// Parsing and validating are gqlparser's. Executing is ours, since it must be
// able to do what no library would: to break its own schema with nulls where
// there may be none, and with words nobody has seen.

// queryCache keeps documents that were parsed and validated, by their text.
type queryCache struct {
	mu     sync.Mutex
	schema *ast.Schema
	rules  *rules.Rules
	docs   map[string]*ast.QueryDocument
}

const cachedQueries = 256

// ready loads the schema. The caller holds the lock.
func (c *queryCache) ready() {
	if c.schema != nil {
		return
	}
	c.schema = gqlparser.MustLoadSchema(&ast.Source{Name: "schema.graphql", Input: SDL})
	c.rules = rules.NewDefaultRules()
	// The published SDK declares variables it does not use, and sends the same
	// fragment more than once in one document.
	c.rules.RemoveRule(rules.NoUnusedVariablesRule.Name)
	c.rules.RemoveRule(rules.UniqueFragmentNamesRule.Name)
	c.docs = map[string]*ast.QueryDocument{}
}

// has reports whether the schema has a root field.
func (c *queryCache) has(root string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ready()
	return c.schema.Query.Fields.ForName(root) != nil || c.schema.Mutation.Fields.ForName(root) != nil
}

func (c *queryCache) load(text string) (*ast.QueryDocument, gqlerror.List) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ready()
	if doc := c.docs[text]; doc != nil {
		return doc, nil
	}
	doc, errs := gqlparser.LoadQueryWithRules(c.schema, text, c.rules)
	if errs != nil {
		return nil, errs
	}
	if len(c.docs) >= cachedQueries {
		clear(c.docs)
	}
	c.docs[text] = doc
	return doc, nil
}

// failure is an answer that is nothing but errors.
func failure(all ...*fault) map[string]any {
	list := make([]any, len(all))
	for i, f := range all {
		list[i] = f.json("")
	}
	return map[string]any{"errors": list}
}

// A resolver answers one root field.
type resolver func(args map[string]any) (any, *fault)

// An operation is one that is valid, with its variables.
type operation struct {
	def    *ast.OperationDefinition
	vars   map[string]any
	errors []any
}

// prepare finds the operation that a request asks for.
func (c *queryCache) prepare(q request) (*operation, []*fault) {
	invalid := func(message string) []*fault {
		return []*fault{coded(message, "GRAPHQL_VALIDATION_FAILED")}
	}
	doc, errs := c.load(q.Query)
	if errs != nil {
		var all []*fault
		for _, e := range errs {
			all = append(all, invalid(e.Message)...)
		}
		return nil, all
	}
	op := doc.Operations.ForName(q.Operation)
	if op == nil {
		return nil, invalid("There is no operation of this name")
	}
	vars, err := validator.VariableValues(c.schema, op, q.vars())
	if err != nil {
		return nil, invalid("A variable is not of its type")
	}
	o := &operation{def: op, vars: vars}
	if slices.ContainsFunc(o.roots(), func(root string) bool { return root == "__schema" || root == "__type" }) {
		return nil, invalid("Introspection is not allowed")
	}
	return o, nil
}

// roots returns the names of the root fields that are asked for.
func (e *operation) roots() []string {
	var all []string
	for _, f := range e.fields(e.def.SelectionSet, nil) {
		all = append(all, f.Name)
	}
	return all
}

// execute runs the operation. Fields of the root are answered by resolve; all
// below is picked from what that returns.
func (e *operation) execute(resolve func(field string) resolver) map[string]any {
	data := map[string]any{}
	nulled := false
	for _, f := range e.fields(e.def.SelectionSet, nil) {
		if f.Name == "__typename" {
			data[f.Alias] = f.ObjectDefinition.Name
			continue
		}
		value, failed := resolve(f.Name)(f.ArgumentMap(e.vars))
		if failed != nil {
			e.errors = append(e.errors, failed.json(f.Alias))
			data[f.Alias] = nil
			nulled = nulled || f.Definition.Type.NonNull // a null there takes everything with it
			continue
		}
		data[f.Alias] = e.pick(f.SelectionSet, value)
	}
	out := map[string]any{"data": data}
	if nulled {
		out["data"] = nil
	}
	if len(e.errors) > 0 {
		out["errors"] = e.errors
	}
	return out
}

// fields flattens a selection: fragments that fit, directives obeyed, what is
// selected twice selected once.
func (e *operation) fields(set ast.SelectionSet, object map[string]any) []*ast.Field {
	return e.collect(nil, set, object)
}

func (e *operation) collect(all []*ast.Field, set ast.SelectionSet, object map[string]any) []*ast.Field {
	for _, sel := range set {
		switch sel := sel.(type) {
		case *ast.Field:
			if e.wanted(sel.Directives) {
				all = merged(all, sel)
			}
		case *ast.InlineFragment:
			if e.wanted(sel.Directives) && fits(sel.TypeCondition, object) {
				all = e.collect(all, sel.SelectionSet, object)
			}
		case *ast.FragmentSpread:
			if e.wanted(sel.Directives) && fits(sel.Definition.TypeCondition, object) {
				all = e.collect(all, sel.Definition.SelectionSet, object)
			}
		}
	}
	return all
}

// merged adds a field, or its selection to the field of the same name in the
// answer. The document is shared: what is changed is a copy.
func merged(all []*ast.Field, f *ast.Field) []*ast.Field {
	i := slices.IndexFunc(all, func(was *ast.Field) bool { return was.Alias == f.Alias })
	if i < 0 {
		return append(all, f)
	}
	both := *all[i]
	both.SelectionSet = slices.Concat(both.SelectionSet, f.SelectionSet)
	all[i] = &both
	return all
}

func (e *operation) wanted(ds ast.DirectiveList) bool {
	for _, d := range ds {
		on, _ := d.ArgumentMap(e.vars)["if"].(bool)
		if d.Name == "skip" && on || d.Name == "include" && !on {
			return false
		}
	}
	return true
}

// fits reports whether an object is of a type; only members of unions say what
// they are.
func fits(condition string, object map[string]any) bool {
	is, ok := object["__typename"].(string)
	return !ok || condition == "" || condition == is
}

func (e *operation) pick(set ast.SelectionSet, value any) any {
	if len(set) == 0 {
		return value
	}
	switch v := value.(type) {
	case Row:
		return e.pick(set, map[string]any(v))
	case map[string]any:
		out := make(map[string]any, len(set))
		for _, f := range e.fields(set, v) {
			out[f.Alias] = e.pick(f.SelectionSet, v[f.Name])
			if f.Name == "__typename" && v[f.Name] == nil {
				out[f.Alias] = f.ObjectDefinition.Name
			}
		}
		return out
	case []any:
		out := make([]any, len(v))
		for i, x := range v {
			out[i] = e.pick(set, x)
		}
		return out
	default:
		return value
	}
}

// request is the body of a GraphQL request. The documented refresh sends its
// variables as the string "{}".
type request struct {
	Query     string          `json:"query"`
	Operation string          `json:"operationName"`
	Variables json.RawMessage `json:"variables"`
}

func (r request) vars() map[string]any {
	var vars map[string]any
	if json.Unmarshal(r.Variables, &vars) != nil {
		return nil
	}
	return vars
}
