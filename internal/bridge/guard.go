package bridge

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"syscall"
)

// errAddress reports an address that may not be posted to.
var errAddress = errors.New("the address is not one of the public internet")

// A guard looks at the address of every connection at the moment it is made,
// after names were resolved. A name that resolves to another address each time
// does not get past it.
type guard struct {
	private  bool // loopback and private networks are allowed
	loopback bool // nothing but loopback is allowed: there is no TLS
}

// control is for net.Dialer.
func (g guard) control(_ context.Context, _, address string, _ syscall.RawConn) error {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return errAddress
	}
	addr, err := netip.ParseAddr(host)
	if err != nil {
		return errAddress
	}
	return g.check(addr)
}

// check says whether an address may be posted to. Link-local ones never may, nor
// others that clouds keep for themselves: that is where they hand out
// credentials.
func (g guard) check(addr netip.Addr) error {
	addr = real4(addr.WithZone("").Unmap())
	switch {
	case clouds(addr):
		return errAddress
	case g.loopback:
		if !addr.IsLoopback() {
			return errAddress
		}
		return nil
	case public(addr), g.private && (addr.IsLoopback() || private(addr)):
		return nil
	default:
		return errAddress
	}
}

// real4 returns the IPv4 address that a translator of the well-known prefix
// (RFC 6052) would send to, and other addresses as they are.
func real4(addr netip.Addr) netip.Addr {
	if !netip.MustParsePrefix("64:ff9b::/96").Contains(addr) {
		return addr
	}
	b := addr.As16()
	return netip.AddrFrom4([4]byte(b[12:]))
}

// clouds reports addresses at which clouds answer what runs in them, metadata and
// credentials among it, and that look like private or public ones: those of AWS,
// Google, Alibaba and Azure. The others are link-local or reserved.
func clouds(addr netip.Addr) bool {
	for _, p := range []string{"fd00:ec2::/32", "fd20:ce::254/128", "100.100.100.200/32", "168.63.129.16/32"} {
		if netip.MustParsePrefix(p).Contains(addr) {
			return true
		}
	}
	return false
}

// private reports the networks of an organisation: RFC 1918, RFC 6598 (between
// a provider and its customers), RFC 4193.
func private(addr netip.Addr) bool {
	return addr.IsPrivate() || netip.MustParsePrefix("100.64.0.0/10").Contains(addr)
}

// public reports an address of the public internet. For IPv4 it is what no
// registry keeps back, for IPv6 what was given out, less what leads back into
// IPv4 or is for documentation.
func public(addr netip.Addr) bool {
	if !addr.IsValid() || !addr.IsGlobalUnicast() || private(addr) {
		return false
	}
	kept := []string{
		"0.0.0.0/8", "192.0.0.0/24", "192.0.2.0/24", "192.88.99.0/24", "198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24", "240.0.0.0/4",
	}
	if addr.Is6() {
		if !netip.MustParsePrefix("2000::/3").Contains(addr) {
			return false
		}
		kept = []string{"2001::/23", "2001:db8::/32", "2002::/16", "3fff::/20"}
	}
	for _, p := range kept {
		if netip.MustParsePrefix(p).Contains(addr) {
			return false
		}
	}
	return true
}
