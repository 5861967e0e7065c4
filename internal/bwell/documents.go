package bwell

import "strings"

// The documents are the constants doc…, each the whole of what one request asks. Names and arguments
// are those of b.well's schema (SDK 2.x, graphql/schema.d.ts).
//
// What is not asked: isDirect, which only the 1.x schema has; free text, since a
// code says why and nobody has to look after a text; the performer of tasks,
// since the search is a system task, which the SDK's default filter hides.

const (
	docObserve = `query Observe($code: SearchToken, $n: Int, $p: Int) { ` +
		`getMemberConnections ` + ofConnection +
		` tasks(code: $code, _count: $n, _getpagesoffset: $p) ` + ofTask +
		` consents(_count: $n, _getpagesoffset: $p) ` + ofConsent + ` }`

	docObserveNoTasks = `query ObserveNoTasks($n: Int, $p: Int) { ` +
		`getMemberConnections ` + ofConnection +
		` consents(_count: $n, _getpagesoffset: $p) ` + ofConsent + ` }`

	docConnections = `query Connections($sync: [String!]) { getMemberConnections(syncStatus: $sync) ` + ofConnection + ` }`

	docTasks = `query Tasks($code: SearchToken, $n: Int, $p: Int) { ` +
		`tasks(code: $code, _count: $n, _getpagesoffset: $p) ` + ofTask + ` }`

	docConsents = `query Consents($n: Int, $p: Int) { consents(_count: $n, _getpagesoffset: $p) ` + ofConsent + ` }`

	docRecommendations = `query Recommendations($cat: SearchToken, $n: Int, $p: Int) { ` +
		`careTeams(category: $cat, _count: $n, _getpagesoffset: $p) ` + ofCareTeam + ` }`

	docOAuthURL = `query OauthUrl($id: String!) { getOauthUrl(connectionId: $id) { redirectUrl } }`

	docActivate = `mutation Activate($id: String!) { activateDirectConnection(connectionId: $id) { status statusUpdated } }`

	docVerification = `query Verification { verificationStatus { status errorCode } }`

	// The SDKs leave refreshToken out and keep their first one for ever; whoever
	// rotates tokens ends a grant that does so.
	docRefresh = `query Refresh { refresh { accessToken idToken refreshToken } }`
)

const (
	ofConnection = `{ id name category integrationType type status syncStatus syncErrors { coding { code } } ` +
		`statusUpdated lastSynced created }`

	ofTask = `{ entry { resource { id status code { coding { code } } statusReason { coding { code } } ` +
		`lastModified authoredOn meta { lastUpdated } output { valueString valueCodeableConcept { coding { code } } } } } }`

	ofConsent = `{ entry { resource { id status dateTime meta { lastUpdated } category { coding { code } } provision { type } } } }`

	ofCareTeam = `{ entry { resource { id category { coding { code } } ` +
		`participant { member { reference type resource { __typename ... on Organization { id name alias } } } } } } }`
)

// The roots of the documents that read lists.
const (
	rootConnections = "getMemberConnections"
	rootTasks       = "tasks"
	rootConsents    = "consents"
	rootCareTeams   = "careTeams"
)

// The codes that lists are filtered by, without their systems: that of the
// category is published nowhere, and fhir-server matches a code without a system
// in all of them. What comes is checked again.
const (
	codeNetworkSearch = "network-data-retrieval"
	codeRecommended   = "recommended-connections"
)

// A searchToken is b.well's filter by code. fhir-server concatenates code and
// value, so only one of them may be given.
type searchToken struct {
	Value struct {
		Code string `json:"code"`
	} `json:"value"`
}

func byCode(code string) *searchToken {
	var t searchToken
	t.Value.Code = code
	return &t
}

// variables are those of all documents together. An absent one is not sent: a
// document that does not declare it may refuse it.
type variables struct {
	Code  *searchToken `json:"code,omitempty"`
	Cat   *searchToken `json:"cat,omitempty"`
	Sync  []string     `json:"sync,omitempty"`
	ID    string       `json:"id,omitempty"`
	Count int          `json:"n,omitempty"`
	Page  *int         `json:"p,omitempty"`
}

// operation returns the name of a document's one operation.
func operation(document string) string {
	_, name, _ := strings.Cut(document, " ")
	return name[:strings.IndexAny(name, " (")]
}
