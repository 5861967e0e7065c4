package bwell

import (
	"context"
	"maps"

	"github.com/smartconnect/connector/internal/secret"
)

// A feed is a list that can be asked for by itself.
type feed[T any] struct {
	op, document, root string
	variables          variables
	row                func(*decoder, *T) verdict
	// id tells rows apart. It is nil if the list comes in one piece.
	id func(T) string
}

// feeds are the lists of Observe.
func feeds() (feed[Connection], feed[Task], feed[Consent]) {
	const op = "observe"
	return feed[Connection]{op: op, document: docConnections, root: rootConnections, row: connection},
		feed[Task]{
			op: op, document: docTasks, root: rootTasks, row: task,
			variables: variables{Code: byCode(codeNetworkSearch)}, id: func(t Task) string { return t.ID },
		},
		feed[Consent]{
			op: op, document: docConsents, root: rootConsents, row: consent,
			id: func(c Consent) string { return c.ID },
		}
}

// read asks for the list's pages from the given one on and appends them to have,
// until a page is not full. b.well says nothing of how many pages there are, and
// may cap a page below what was asked for only beyond 1000 rows (fhir-server,
// searchManager.js).
func (f feed[T]) read(ctx context.Context, c *Client, access secret.Value, tries, from int, have List[T]) List[T] {
	roots := []string{f.root}
	seen := make(map[string]bool)
	for _, item := range have.Items {
		seen[f.id(item)] = true
	}
	for number := from; ; number++ {
		v := f.variables
		if f.id != nil {
			v.Count, v.Page = c.config.PageSize, &number
		}
		r := c.request(f.op, f.document, access, v)
		got, a, err := ask(ctx, c, r, tries, func(d *decoder, name []byte, into *page[T]) {
			if string(name) == f.root {
				*into = list(d, f.row)
			}
		})
		if err != nil {
			return List[T]{Err: err}
		}
		next := finish(a, r, f.root, roots, got)
		if !next.Whole {
			return next
		}
		have = joined(have, next)
		if f.id == nil || got.rows < c.config.PageSize {
			return have
		}
		fresh := len(next.Items) == 0
		for _, item := range next.Items {
			fresh = fresh || !seen[f.id(item)]
			seen[f.id(item)] = true
		}
		switch {
		case !fresh: // the offset is not heeded, and what follows cannot be had
			return List[T]{Err: a.incomplete(r, f.root, "repeated_page")}
		case number+1 >= c.config.MaxPages:
			return List[T]{Err: a.incomplete(r, f.root, "too_many_pages")}
		}
	}
}

// joined is the list of what there was and of the next page, which is whole.
func joined[T any](have, next List[T]) List[T] {
	have.Items = append(have.Items, next.Items...)
	have.Skipped += next.Skipped
	if have.Unknown == nil {
		have.Unknown = next.Unknown
	} else {
		for field, n := range maps.All(next.Unknown) {
			have.Unknown[field] += n
		}
	}
	have.Whole = true
	return have
}

// finish makes a list of one page of the answer to r, whose document has roots.
// Nothing else decides whether a list is Whole.
func finish[T any](a answer, r request, root string, roots []string, p page[T]) List[T] {
	l := List[T]{Skipped: p.skipped, Unknown: p.unknown}
	switch err := a.of(r, root, roots); {
	case err != nil:
		l.Err = err
	case !p.there:
		l.Err = a.incomplete(r, root, "missing")
	case p.amiss != "":
		l.Err = a.incomplete(r, root, p.amiss)
	default:
		l.Items, l.Whole = p.items, true
	}
	return l
}

// observed is the data of Observe's documents.
type observed struct {
	connections page[Connection]
	tasks       page[Task]
	consents    page[Consent]
}

func (o *observed) root(d *decoder, name []byte) {
	switch string(name) {
	case rootConnections:
		o.connections = list(d, connection)
	case rootTasks:
		o.tasks = list(d, task)
	case rootConsents:
		o.consents = list(d, consent)
	}
}

// Observe asks for everything that is polled of a member: one request, and one
// more for each further page of tasks and consents.
//
// Each list says for itself whether it came whole. Where the one document yields
// no data, because a root that may not be null failed (of these only the
// connections) or because b.well does not accept the document, the lists that
// are not known to have failed are asked for again, each alone and once.
//
// The error is nil if at least one list came whole or all are the same, unless
// the token was refused: then it is of class [Auth] whatever came. Beside an
// error, too, the lists say why they are not whole.
func (c *Client) Observe(ctx context.Context, access secret.Value, want Want) (Observation, error) {
	roots, body := []string{rootConnections, rootConsents, rootTasks}, c.observe
	if want.NoTasks {
		roots, body = roots[:2], c.observeNoTasks
	}
	if err := presentable("observe", access); err != nil {
		return unobserved(want, err), err
	}
	r := request{op: "observe", url: c.graphql, header: c.header(access), body: body, seen: want.Seen}
	got, a, err := ask(ctx, c, r, c.config.ObserveTries, func(d *decoder, name []byte, into *observed) { into.root(d, name) })

	var o Observation
	connections, tasks, consents := feeds()
	switch {
	case err == nil && a.same:
		return Observation{Same: true, Digest: a.digest, Date: a.date}, nil
	case err == nil:
		o.Connections = finish(a, r, rootConnections, roots, got.connections)
		o.Tasks = more(ctx, c, access, tasks, got.tasks.rows, finish(a, r, rootTasks, roots, got.tasks))
		o.Consents = more(ctx, c, access, consents, got.consents.rows, finish(a, r, rootConsents, roots, got.consents))
	case a.separable(err, roots):
		o.Connections = again(ctx, c, access, connections, a.named(r, rootConnections))
		o.Consents = again(ctx, c, access, consents, a.named(r, rootConsents))
		if !want.NoTasks {
			o.Tasks = again(ctx, c, access, tasks, a.named(r, rootTasks))
		}
	default:
		o = unobserved(want, err)
	}
	if want.NoTasks {
		o.Tasks = List[Task]{}
	}
	o.Date = a.date
	onePage := max(got.tasks.rows, got.consents.rows) < c.config.PageSize
	if err == nil && onePage && o.Connections.Whole && o.Consents.Whole && (want.NoTasks || o.Tasks.Whole) {
		o.Digest = a.digest
	}
	return o, o.err()
}

// more reads the pages after the first, if that was full.
func more[T any](ctx context.Context, c *Client, access secret.Value, f feed[T], rows int, first List[T]) List[T] {
	if !first.Whole || rows < c.config.PageSize {
		return first
	}
	return f.read(ctx, c, access, c.config.ObserveTries, 1, first)
}

// again reads a list that was lost with another one, unless it failed itself.
func again[T any](ctx context.Context, c *Client, access secret.Value, f feed[T], failed *Error) List[T] {
	if failed != nil {
		return List[T]{Err: failed}
	}
	return f.read(ctx, c, access, 1, 0, List[T]{})
}

// unobserved is the observation that err left nothing of.
func unobserved(want Want, err error) Observation {
	o := Observation{Connections: List[Connection]{Err: err}, Tasks: List[Task]{Err: err}, Consents: List[Consent]{Err: err}}
	if want.NoTasks {
		o.Tasks.Err = nil
	}
	return o
}

// err is what Observe returns beside o.
func (o Observation) err() error {
	for _, err := range []error{o.Connections.Err, o.Tasks.Err, o.Consents.Err} {
		if ClassOf(err) == Auth {
			return err
		}
	}
	if o.Connections.Whole || o.Tasks.Whole || o.Consents.Whole {
		return nil
	}
	return o.Connections.Err
}
