// Package schemas holds the public contract of the events: for every event
// type the JSON Schema of its data, and one whole event as an example.
package schemas

import "embed"

// FS holds <type>.json, the JSON Schema of the type's data, and
// fixtures/<type>.json, a whole event in CloudEvents' JSON format. Schemas say
// less than the tests beside package events: words that are b.well's are open.
//
//go:embed *.json fixtures/*.json
var FS embed.FS
