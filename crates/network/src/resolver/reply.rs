//! The replies that are made here: names inside the network, and refusals.

use super::relay::Way;
use hickory_proto::op::{Edns, Message, Metadata, OpCode, Query, ResponseCode};
use hickory_proto::rr::rdata::{A, AAAA};
use hickory_proto::rr::{RData, Record, RecordType};
use std::net::IpAddr;

/// For how long a guest may remember an address, in seconds: ports come and go.
const TTL: u32 = 30;
/// The header of a message, and its bit that says that it is a reply (RFC 1035, section 4.1.1).
const HEADER_BYTES: usize = 12;
const IS_REPLY: u8 = 0x80;

fn reply(query: &Message, code: ResponseCode) -> Message {
    let mut reply = Message::response(query.metadata.id, query.metadata.op_code);
    reply.metadata = Metadata::response_from_request(&query.metadata);
    reply.metadata.recursion_available = true;
    reply.metadata.response_code = code;
    reply.add_queries(query.queries.iter().cloned());
    if query.edns.is_some() {
        let mut edns = Edns::new();
        edns.set_max_payload(query.max_payload());
        reply.set_edns(edns);
    }
    reply
}

/// Says why there is no answer.
pub fn error(query: &Message, code: ResponseCode) -> Option<Vec<u8>> {
    reply(query, code).to_vec().ok()
}

/// FORMERR, to what could be read no further than its header, if that is of a question.
pub fn to_unreadable(asked: &[u8]) -> Option<Vec<u8>> {
    let header = asked.get(..HEADER_BYTES)?;
    if header[2] & IS_REPLY != 0 {
        return None;
    }
    let id = u16::from_be_bytes([header[0], header[1]]);
    let reply = Message::error_msg(id, OpCode::Query, ResponseCode::FormErr);
    reply.to_vec().ok()
}

/// The addresses of a name: those of the kind that was asked for, perhaps none.
pub fn addresses(
    query: &Message,
    question: &Query,
    addresses: &[IpAddr],
    way: Way,
) -> Option<Vec<u8>> {
    let mut reply = reply(query, ResponseCode::NoError);
    reply.metadata.authoritative = true;
    let wanted = question.query_type;
    for address in addresses {
        let (kind, data) = match address {
            IpAddr::V4(address) => (RecordType::A, RData::A(A(*address))),
            IpAddr::V6(address) => (RecordType::AAAA, RData::AAAA(AAAA(*address))),
        };
        if [kind, RecordType::ANY].contains(&wanted) {
            reply.add_answer(Record::from_rdata(question.name.clone(), TTL, data));
        }
    }
    let bytes = reply.to_vec().ok()?;
    if way == Way::Udp && bytes.len() > usize::from(query.max_payload()) {
        return reply.truncate().to_vec().ok();
    }
    Some(bytes)
}
