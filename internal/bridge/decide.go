package bridge

import (
	"net/http"
	"strconv"
	"time"
)

// A Why says what became of one try. It stands in the log, in the metrics' help
// and in bridge list.
type Why string

// What may become of a try.
const (
	Delivered      Why = "delivered"
	Throttled      Why = "throttled"       // 429
	Gone           Why = "gone"            // 410: the receiver wants no more
	Redirected     Why = "redirected"      // 3xx: redirects are not followed
	Refused        Why = "refused"         // other 4xx
	ServerError    Why = "server_error"    // 5xx, and 408 and 425, which pass too
	AddressRefused Why = "address_refused" // not of the public internet, see guard.go
	Timeout        Why = "timeout"
	NoName         Why = "dns"
	TLS            Why = "tls"
	NoConnection   Why = "connection"
)

// longestWait is the most that a receiver may have us wait by Retry-After.
const longestWait = 24 * time.Hour

// A verdict is what follows from a try.
type verdict struct {
	why   Why
	delay time.Duration // until the next try
	pause bool          // the endpoint gets nothing until somebody resumes it
}

// judge decides what follows from an answer. next is the delay that is due
// after so many tries, longest the one that is due where only a person can
// mend what is wrong. Nothing is ever given up: an event that is not delivered
// comes again.
func judge(status int, retryAfter, next, longest time.Duration) verdict {
	next = max(next, min(retryAfter, longestWait))
	longest = max(longest, next)
	switch {
	case status >= 200 && status < 300:
		return verdict{why: Delivered}
	case status == http.StatusGone:
		return verdict{why: Gone, delay: longest, pause: true}
	case status == http.StatusTooManyRequests:
		return verdict{why: Throttled, delay: next}
	case status == http.StatusRequestTimeout, status == http.StatusTooEarly, status >= 500:
		return verdict{why: ServerError, delay: next}
	case status >= 400:
		return verdict{why: Refused, delay: longest}
	default:
		return verdict{why: Redirected, delay: longest}
	}
}

// failed decides what follows where there was no answer.
func failed(why Why, next, longest time.Duration) verdict {
	if why == AddressRefused {
		next = longest
	}
	return verdict{why: why, delay: next}
}

// retryAfter reads the header of that name: seconds, or a date.
func retryAfter(value string, now time.Time) time.Duration {
	if s, err := strconv.ParseUint(value, 10, 32); err == nil {
		return time.Duration(s) * time.Second
	}
	if at, err := http.ParseTime(value); err == nil {
		return max(0, at.Sub(now))
	}
	return 0
}
