"""Queries and replies as bytes (RFC 1035, EDNS: RFC 6891), on a library's codec.  Pure.

A query is hostile: whatever does not parse as exactly one question is dropped or answered FORMERR, never raised past here.
"""

from __future__ import annotations

from dataclasses import dataclass

from dnslib import CNAME, EDNS0, PTR, QTYPE, RCODE, RR, SOA, SRV, A, DNSRecord
from dnslib.dns import DNSError

from cluster.dns.records import TTL_S, Answer, Kind

UDP_SIZE_BYTES = 512
UDP_SIZE_MAX_BYTES = 1232
"""What we send over UDP at most, whatever the peer offers: it fits every path unfragmented."""


class NotAQuery(Exception):
    """The bytes are not a question to be answered; `reply` is what to send back, if anything."""

    def __init__(self, reply: bytes | None) -> None:
        super().__init__("not a query")
        self.reply = reply


@dataclass(frozen=True, slots=True)
class Query:
    """One question; `name` is lower-case without its trailing dot, `udp_size_bytes` what the asker can take."""

    record: DNSRecord
    name: str
    type: str
    udp_size_bytes: int


def parse_query(data: bytes) -> Query:
    """Raises NotAQuery."""
    try:
        record = DNSRecord.parse(data)
    except (DNSError, ValueError, IndexError, UnicodeError):
        raise NotAQuery(None) from None
    if record.header.qr:
        raise NotAQuery(None)
    if record.header.opcode != 0:
        raise NotAQuery(_failure(record, RCODE.NOTIMP))
    if len(record.questions) != 1 or record.q.qclass != 1:
        raise NotAQuery(_failure(record, RCODE.FORMERR))
    size = next((max(rr.rclass, UDP_SIZE_BYTES) for rr in record.ar if rr.rtype == QTYPE.OPT), UDP_SIZE_BYTES)
    kind = QTYPE.forward.get(record.q.qtype, str(record.q.qtype))
    return Query(record, str(record.q.qname).rstrip(".").lower(), kind, min(size, UDP_SIZE_MAX_BYTES))


def reply_of(query: Query, answer: Answer, *, domain: str, chased: tuple[RR, ...] = ()) -> DNSRecord:
    """An authoritative reply; `chased` follows a CNAME's own record.  What has no records carries the zone's SOA."""
    reply = query.record.reply(aa=1)
    reply.header.ra = 1
    name = query.record.q.qname
    if answer.kind is Kind.CNAME and answer.records:
        reply.add_answer(RR(name, QTYPE.CNAME, ttl=TTL_S, rdata=CNAME(answer.records[0].target)))
        for record in chased:
            reply.add_answer(record)
    elif answer.kind.value == query.type or query.type == "ANY":
        for found in answer.records:
            match answer.kind:
                case Kind.A:
                    reply.add_answer(RR(name, QTYPE.A, ttl=TTL_S, rdata=A(found.target)))
                case Kind.SRV:
                    reply.add_answer(RR(name, QTYPE.SRV, ttl=TTL_S, rdata=SRV(0, 100, found.port, found.target)))
                case Kind.PTR:
                    reply.add_answer(RR(name, QTYPE.PTR, ttl=TTL_S, rdata=PTR(found.target)))
                case Kind.CNAME:
                    pass
    if not reply.rr:
        if not answer.exists:
            reply.header.rcode = RCODE.NXDOMAIN
        soa = SOA(f"ns.dns.{domain}", f"hostmaster.{domain}", (1, 7200, 1800, 86400, TTL_S))
        reply.add_auth(RR(domain, QTYPE.SOA, ttl=TTL_S, rdata=soa))
    return _with_edns(query, reply)


def failure_of(query: Query) -> bytes:
    """SERVFAIL: nobody could be asked."""
    return _failure(query.record, RCODE.SERVFAIL)


def packed(query: Query, reply: DNSRecord, *, over_udp: bool) -> bytes:
    """The reply's bytes; over UDP one that does not fit is cut and says so, so that the asker comes back over TCP."""
    data: bytes = reply.pack()
    if not over_udp or len(data) <= query.udp_size_bytes:
        return data
    short = query.record.reply(aa=reply.header.aa)
    short.header.tc = 1
    short.header.ra = 1
    cut: bytes = _with_edns(query, short).pack()
    return cut


def _with_edns(query: Query, reply: DNSRecord) -> DNSRecord:
    if any(rr.rtype == QTYPE.OPT for rr in query.record.ar):
        reply.add_ar(EDNS0(udp_len=UDP_SIZE_MAX_BYTES))
    return reply


def _failure(record: DNSRecord, rcode: int) -> bytes:
    reply = record.reply(aa=0) if record.questions else DNSRecord()
    reply.header.id = record.header.id
    reply.header.qr = 1
    reply.header.rcode = rcode
    reply.header.ra = 1
    data: bytes = reply.pack()
    return data
