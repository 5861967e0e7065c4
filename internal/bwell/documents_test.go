package bwell

import (
	"go/ast"
	"go/constant"
	"go/importer"
	"go/parser"
	gotoken "go/token"
	"go/types"
	"maps"
	"slices"
	"strings"
	"testing"

	gql "github.com/vektah/gqlparser/v2/ast"
	gqlparser "github.com/vektah/gqlparser/v2/parser"
)

// allDocuments reads the documents out of documents.go itself, so that none can
// be added that no test looks at.
func allDocuments(t *testing.T) map[string]string {
	t.Helper()
	files := gotoken.NewFileSet()
	file, err := parser.ParseFile(files, "documents.go", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	pkg, err := (&types.Config{Importer: importer.Default(), Error: func(error) {}}).Check("documents", files, []*ast.File{file}, nil)
	if pkg == nil {
		t.Fatal(err)
	}
	all := make(map[string]string)
	for _, name := range pkg.Scope().Names() {
		if c, ok := pkg.Scope().Lookup(name).(*types.Const); ok && strings.HasPrefix(name, "doc") {
			all[name] = constant.StringVal(c.Val())
		}
	}
	return all
}

func TestDocuments(t *testing.T) {
	all := allDocuments(t)
	if len(all) != 10 {
		t.Errorf("%d documents: %q", len(all), slices.Sorted(maps.Keys(all)))
	}
	for name, text := range all {
		document, err := gqlparser.ParseQuery(&gql.Source{Name: name, Input: text})
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if len(document.Operations) != 1 || document.Operations[0].Name != operation(text) {
			t.Errorf("%s: operation %q", name, operation(text))
			continue
		}
		switch op := document.Operations[0]; {
		case op.Operation == gql.Query:
		case op.Operation == gql.Mutation && len(op.SelectionSet) == 1 && op.SelectionSet[0].(*gql.Field).Name == "activateDirectConnection":
		default:
			t.Errorf("%s: a %s that this connector does not have", name, op.Operation)
		}
	}
}

// The words that make a document a mutation stand in documents.go only.
func TestNoOtherMutation(t *testing.T) {
	all := allDocuments(t)
	n := 0
	for _, text := range all {
		n += strings.Count(text, "mutation")
	}
	if n != 1 {
		t.Errorf("%d mutations", n)
	}
}
