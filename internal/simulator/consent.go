package simulator

import (
	"errors"
	"maps"
	"slices"
	"strings"
	"time"
)

// SetConsent gives or revokes the member's IAS consent, permit or deny in any
// case, with what b.well makes follow from it.
func (s *Simulator) SetConsent(memberID, provision string) error {
	p := strings.ToLower(provision)
	if p != "permit" && p != "deny" {
		return errors.New("simulator: provision: want permit or deny")
	}
	return s.with(memberID, func(m *member) error {
		s.consent(m, strings.ToUpper(p), s.now())
		return nil
	})
}

const (
	consentCategories = "http://www.icanbwell.com/consent-category"
	iasCategory       = "IAS_IMPORT_RECORDS"
)

// stored returns how a category that is written in one way is read back.
func stored(code string) string {
	switch code {
	case iasCategory:
		return "ias:import:records"
	case "COMMUNICATION_PREFERENCES_PHI":
		return "communicationPreferences:includePHI"
	case "DATA_SHARING":
		return "dataSharing"
	case "HEALTH_CIRCLE_ADOLESCENT":
		return "healthCircleAdolescent"
	case "HEALTH_CIRCLE_MINOR":
		return "healthCircleMinor"
	case "HEALTH_MATCH":
		return "healthMatch"
	case "MOBILE_COMMUNICATION_PREFERENCES":
		return "mobileCommunicationPreferences"
	case "PERSONALIZED_HEALTH_OFFERS_AND_ADS":
		return "personalizedHealthOffersAndAds"
	case "PROA_ATTESTATION":
		return "proaAttestation"
	default:
		return code
	}
}

// plain is what is left of a code where its spellings agree.
func plain(code string) string {
	return strings.Map(func(r rune) rune {
		if strings.ContainsRune(":_-", r) {
			return -1
		}
		return r
	}, strings.ToLower(code))
}

// give appends a consent: none is ever changed.
func (m *member) give(at time.Time, status, provision string, codes ...string) map[string]any {
	if n := len(m.consents); n > 0 {
		// Of two of the same millisecond nobody could tell which is in force.
		if last, err := time.Parse(time.RFC3339, m.consents[n-1]["dateTime"].(string)); err == nil && !at.After(last) {
			at = last.Add(time.Millisecond)
		}
	}
	var coding []any
	for _, code := range codes {
		coding = append(coding, map[string]any{"system": consentCategories, "code": stored(code)})
	}
	c := map[string]any{
		"resourceType": "Consent", "id": m.uuid(), "status": strings.ToLower(strings.ReplaceAll(status, "_", "-")),
		"dateTime": instant(at), "meta": map[string]any{"lastUpdated": instant(at)},
		"category":  []any{map[string]any{"coding": coding}},
		"provision": map[string]any{"type": strings.ToLower(provision)},
		"patient":   map[string]any{"reference": "Patient/" + m.id},
	}
	m.consents = append(m.consents, c)
	return c
}

// consent appends an IAS consent that is in force: denying ends access of the
// IAS connections that work, permitting restores them; what the member
// disconnected stays so.
func (s *Simulator) consent(m *member, provision string, now time.Time) map[string]any {
	c := m.give(now, "ACTIVE", provision, iasCategory)
	for _, r := range m.rows {
		switch {
		case !r.ias():
		case provision == "DENY" && slices.Contains([]string{"CONNECTED", "EXPIRED", "ERROR"}, r.text("status")):
			r["status"], r["statusUpdated"] = "ACCESS_ENDED", zoneless(now)
		case provision == "PERMIT" && r.text("status") == "ACCESS_ENDED":
			r["status"], r["statusUpdated"] = "CONNECTED", zoneless(now)
		}
	}
	if provision == "DENY" {
		s.task(m, "rejected", now)
	} else {
		s.task(m, "ready", now)
		m.taskAt = now.Add(step)
	}
	return c
}

// provision returns what is in force of the member's IAS consents: permit, deny,
// or none.
func (s *state) provision() string {
	for _, c := range slices.Backward(s.consents) {
		category, _ := c["category"].([]any)
		if c["status"] == "active" && overlap(codesOf(category...), []string{iasCategory}) {
			p, _ := c["provision"].(map[string]any)
			t, _ := p["type"].(string)
			return t
		}
	}
	return "none"
}

func (c *call) consents(args map[string]any) (any, *fault) {
	q := search(args)
	var list []map[string]any
	for _, consent := range c.seen.consents {
		category, _ := consent["category"].([]any)
		id, _ := consent["id"].(string)
		status, _ := consent["status"].(string)
		if q.token("category", codesOf(category...)...) && q.token("status", status) && q.text("id", id) {
			list = append(list, consent)
		}
	}
	return bundle(list, args), nil
}

// createConsent takes the enums upper case, as b.well does, and answers with
// the provision as it was sent.
func (c *call) createConsent(args map[string]any) (any, *fault) {
	input, _ := args["consentInput"].(map[string]any)
	provision, _ := input["provision"].(map[string]any)
	p, _ := provision["type"].(string)
	status, _ := input["status"].(string)
	category, _ := input["category"].([]any)
	codes := codesOf(category...)
	organization, _ := input["organization"].([]any)
	switch {
	case p == "":
		return nil, outcome("A provision is required", "400", "invalid")
	case overlap(codes, []string{"PROA_ATTESTATION"}) && len(organization) == 0:
		return nil, outcome("An organization is required", "400", "invalid")
	}
	c.s.remember(c.member, c.s.now())
	var made map[string]any
	if status == "ACTIVE" && overlap(codes, []string{iasCategory}) {
		made = c.s.consent(c.member, p, c.s.now())
	} else {
		made = c.member.give(c.s.now(), status, p, codes...)
		made["organization"] = organization
	}
	answer := maps.Clone(made)
	answer["provision"] = map[string]any{"type": p}
	return answer, nil
}
