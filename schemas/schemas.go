// Package schemas holds the public contract of the events: for every event
// type the JSON Schema of its data, and one whole event as an example.
package schemas

import "embed"

// FS holds <type>.json, the JSON Schema of the type's data;
// fixtures/<type>.json, a whole event in CloudEvents' JSON format; and
// texts/<language>.json, what to push for a prompt by its action and urgency.
// Schemas say less than the tests beside package events: words that are b.well's
// are open.
//
//go:embed *.json fixtures/*.json texts/*.json
var FS embed.FS
