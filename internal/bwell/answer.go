package bwell

import (
	"context"
	"time"

	"github.com/smartconnect/connector/internal/secret"
)

// Unknown is the Value of a [Word] that is not of its set.
const Unknown = "UNKNOWN"

// A Word is one of a set of words that b.well may add to at any time.
//
// Value is the word in b.well's own spelling whatever the spelling it came in:
// upper case with underscores for connections (CONNECTED, DIRECT_IAS), lower
// case with hyphens for FHIR resources (in-progress, permit). A word outside
// the set is [Unknown] with the text as sent in Raw, cut to 128 bytes; the value
// of a field that is not even a word is Unknown with its JSON in Raw. A field
// that is null or missing is the zero Word. Since Raw is empty for known words,
// two Words mean the same if they are ==.
type Word struct{ Value, Raw string }

// IsZero reports whether b.well said nothing: null, missing or blank.
func (w Word) IsZero() bool { return w == Word{} }

// A Time is a timestamp of b.well's, in UTC. Raw is the text as sent. A text
// that is no timestamp has a zero Time; null and missing have an empty Raw, too.
// b.well's time is not ours: order nothing of ours by it.
type Time struct {
	time.Time

	Raw string
}

// A Connection is one row of a member's list of data connections. Rows with the
// same ID may occur, one by PROA and one by IAS or as plain doubles; all are
// kept. (b.well docs, managing-data-connections.)
type Connection struct {
	// ID names the data source and is compared byte by byte. Never empty.
	ID string
	// Name is the source's display name: with a member it is health information.
	Name string
	// Status is CONNECTED, EXPIRED, DISCONNECTED, DELETED, ACCESS_ENDED or ERROR.
	Status Word
	// IntegrationType is PROA, DIRECT_IAS, INDIRECT_IAS, DIRECT or IAL2.
	IntegrationType Word
	// Category is BASIC, OAUTH or IDENTITY.
	Category Word
	// Type is CLINICAL, INSURANCE, LAB, PHARMACY or PRACTITIONER.
	Type Word
	// SyncStatus is PENDING, RETRIEVING, RETRIEVED, ERROR, DELETING or
	// DATA_DELETED.
	SyncStatus Word
	// SyncErrors are b.well's codes, sorted, each once; nil if there are none. An
	// error that has no code is [Unknown].
	SyncErrors []string

	// StatusUpdated is when Status became what it is. Created may move when the
	// member reconnects. LastSynced moves all the time.
	StatusUpdated, Created, LastSynced Time
}

// A Task is a run of b.well's search for the member's records in the networks.
// Other tasks are left out when they say which they are.
type Task struct {
	ID string
	// Status is a FHIR task status: draft requested received accepted rejected
	// ready cancelled in-progress on-hold failed completed entered-in-error.
	Status Word
	// Reason is a code of why, of statusReason, else of the output; empty if
	// neither has one.
	Reason string
	// LastModified, Updated (meta.lastUpdated) and AuthoredOn date the task; each
	// may be missing.
	LastModified, Updated, AuthoredOn Time
}

// CategoryIAS is the [Consent] Category of consent to Individual Access Services.
const CategoryIAS = "iasimportrecords"

// A Consent is one answer the member gave. Answers are appended, never replaced,
// and their order in a list means nothing.
type Consent struct {
	ID string
	// Category is the first code of the category in lower case without ':', '_'
	// and '-', since b.well writes IAS_IMPORT_RECORDS and reads
	// ias:import:records. It is [CategoryIAS] if any of the codes is that one.
	Category string
	// Status is active, draft, proposed, inactive, rejected or entered-in-error.
	Status Word
	// Provision is permit or deny.
	Provision Word
	// DateTime is the consent's own date, Updated its meta.lastUpdated. Each may
	// be missing.
	DateTime, Updated Time
}

// A Recommendation is a data source b.well recommends the member to connect.
type Recommendation struct {
	// Alias is the connection id to ask an OAuth URL for.
	Alias string
	// Name is the source's display name, maybe empty.
	Name string
}

// A List is what came of a list. Only a Whole one may say that something is not
// there: an error on a list means that nothing was observed, never that it is
// empty.
type List[T any] struct {
	// Items are the rows that came, in b.well's order, doubles included; none if
	// the list is not Whole.
	Items []T
	// Whole says that every page came and no error concerned the list.
	Whole bool
	// Err is why the list is not Whole, an [*Error]. A list that is not Whole and
	// has no Err was not asked for.
	Err error
	// Skipped counts the nulls among the rows, which b.well's schema allows.
	Skipped int
	// Unknown counts, per field such as "connection.status", the values that no
	// rule of ours understood. It is nil if there are none.
	Unknown map[string]int
}

// Want says what Observe asks for. The zero Want is everything.
type Want struct {
	// NoTasks leaves the tasks out.
	NoTasks bool
	// Seen is the Digest of an earlier observation by the same Client with the
	// same NoTasks. If the answer is that one again, byte by byte, Observe does
	// not read it and returns Same. Zero, Observe reads every answer.
	Seen Digest
}

// A Digest stands for an answer as it came. It means something only to the
// Client that made it: keep it in memory.
type Digest uint64

// An Observation is what b.well said of a member at one time.
type Observation struct {
	Connections List[Connection]
	Tasks       List[Task]
	Consents    List[Consent]
	// Same says that the answer was that of Want.Seen. The lists are left out
	// then: they were whole, and are what they were, lastSynced included.
	Same bool
	// Digest stands for the answer if it came in one request and every list in it
	// was whole; otherwise it is zero.
	Digest Digest
	// Date is b.well's clock when it answered, in whole seconds; zero if the
	// answer had no such header.
	Date time.Time
}

// An Activation is b.well's answer to activateDirectConnection.
type Activation struct {
	Status        Word // as of a Connection
	StatusUpdated Time
}

// A Verification says how far the member's identity is proven.
type Verification struct {
	// Status is attested, validated (IAL2 reached), in-process, req-revalid,
	// val-fail or reval-fail (b.well docs,
	// retrieve-user-identity-verification-status).
	Status Word
	// ErrorCode is b.well's code of why not, such as PERSON_MATCH_ERROR.
	ErrorCode string
}

// A Grant is a set of tokens.
type Grant struct {
	Access secret.Value
	// Refresh is zero if b.well sent none: the one in hand stays valid. Otherwise
	// store it before using Access: b.well has rotated it.
	Refresh secret.Value
	// Expires is when Access ends, on our clock.
	Expires time.Time
	// PersonID is the person claim of the tokens, not verified; empty if they
	// have none that can be read. It is an identity: keep it out of logs.
	PersonID string
}

// Tokens knows the tokens of one member.
type Tokens interface {
	// Access returns an access token that is thought to be valid.
	Access(ctx context.Context) (secret.Value, error)
	// Renew returns another one than refused, which b.well did not accept: one
	// that somebody else has got meanwhile, or a new one.
	Renew(ctx context.Context, refused secret.Value) (secret.Value, error)
}

// Do calls with the member's access token. If b.well refuses the token, Do
// renews it once and calls once more; what then is refused is an error of class
// [Auth]. Errors of tokens are returned wrapped.
func Do[T any](ctx context.Context, tokens Tokens, call func(ctx context.Context, access secret.Value) (T, error)) (T, error) {
	var none T
	access, err := tokens.Access(ctx)
	if err != nil {
		return none, wrap("access token", err)
	}
	result, err := call(ctx, access)
	if ClassOf(err) != Auth {
		return result, err
	}
	if access, err = tokens.Renew(ctx, access); err != nil {
		return none, wrap("renew access token", err)
	}
	return call(ctx, access)
}
