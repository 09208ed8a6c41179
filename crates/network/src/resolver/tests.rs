//! A resolver between guests and the world, both played on loopback.

use super::*;
use hickory_proto::op::Query;
use hickory_proto::rr::rdata::A;
use hickory_proto::rr::{Name, RData, Record};
use std::net::Ipv4Addr;

/// A network that knows one guest.
struct OneGuest;

#[async_trait]
impl Inside for OneGuest {
    async fn find(&self, name: &str) -> Known {
        match name {
            "web.cloud.internal" => Known::Addresses(vec![
                "10.0.0.5".parse().unwrap(),
                "fd00::5".parse().unwrap(),
            ]),
            _ if name.ends_with(".cloud.internal") => Known::Nothing,
            _ => Known::Elsewhere,
        }
    }
}

const LOOPBACK: (Ipv4Addr, u16) = (Ipv4Addr::LOCALHOST, 0);

/// A pair of sockets with one address.
async fn sockets() -> (NameSockets, SocketAddr) {
    loop {
        let tcp = TcpListener::bind(LOOPBACK).await.unwrap();
        let address = tcp.local_addr().unwrap();
        // Somebody else may have the datagrams of this port.
        if let Ok(udp) = UdpSocket::bind(address).await {
            return (NameSockets { udp, tcp }, address);
        }
    }
}

struct Lab {
    address: SocketAddr,
    resolver: Resolver,
    _tasks: JoinSet<()>,
}

async fn lab(outside: Vec<SocketAddr>) -> Lab {
    let (sockets, address) = sockets().await;
    let resolver = Resolver::new(Arc::new(OneGuest), "cloud.internal", outside.into());
    let mut tasks = JoinSet::new();
    resolver.serve(vec![sockets], &mut tasks);
    Lab {
        address,
        resolver,
        _tasks: tasks,
    }
}

/// Answers every question with one address, by TCP; by UDP it says that the answer does not fit, after a forged one.
async fn world() -> (SocketAddr, JoinSet<()>) {
    let (NameSockets { udp, tcp }, address) = sockets().await;
    let answered = |asked: &[u8]| {
        let query = Message::from_vec(asked).unwrap();
        let mut reply = Message::response(query.metadata.id, OpCode::Query);
        let name = query.queries[0].name.clone();
        reply.add_queries(query.queries);
        let data = RData::A(A(Ipv4Addr::new(192, 0, 2, 7)));
        reply.add_answer(Record::from_rdata(name, 60, data));
        reply
    };
    let mut tasks = JoinSet::new();
    tasks.spawn(async move {
        let mut buffer = [0; 512];
        loop {
            let (length, client) = udp.recv_from(&mut buffer).await.unwrap();
            let reply = answered(&buffer[..length]);
            let mut forged = reply.clone();
            forged.metadata.id = forged.metadata.id.wrapping_add(1);
            udp.send_to(&forged.to_vec().unwrap(), client)
                .await
                .unwrap();
            let truncated = reply.truncate().to_vec().unwrap();
            udp.send_to(&truncated, client).await.unwrap();
        }
    });
    tasks.spawn(async move {
        loop {
            let (mut stream, _) = tcp.accept().await.unwrap();
            let asked = read_framed(&mut stream).await.unwrap();
            let reply = answered(&asked).to_vec().unwrap();
            write_framed(&mut stream, &reply).await.unwrap();
        }
    });
    (address, tasks)
}

fn question(name: &str, kind: RecordType) -> Message {
    let mut query = Message::query();
    query.metadata.recursion_desired = true;
    query.add_query(Query::query(Name::from_ascii(name).unwrap(), kind));
    query
}

impl Lab {
    async fn datagram(&self, bytes: &[u8]) -> Message {
        let guest = UdpSocket::bind(LOOPBACK).await.unwrap();
        guest.send_to(bytes, self.address).await.unwrap();
        let mut buffer = [0; 4096];
        let length = guest.recv(&mut buffer).await.unwrap();
        Message::from_vec(&buffer[..length]).unwrap()
    }

    async fn udp(&self, query: &Message) -> Message {
        let reply = self.datagram(&query.to_vec().unwrap()).await;
        assert_eq!(reply.metadata.id, query.metadata.id);
        assert_eq!(reply.queries, query.queries);
        reply
    }

    async fn tcp(&self, query: &Message) -> Message {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        write_framed(&mut stream, &query.to_vec().unwrap())
            .await
            .unwrap();
        let reply = read_framed(&mut stream).await.unwrap();
        let reply = Message::from_vec(&reply).unwrap();
        assert_eq!(reply.metadata.id, query.metadata.id);
        reply
    }
}

fn addresses(reply: &Message) -> Vec<String> {
    let data = reply.answers.iter().map(|record| record.data.to_string());
    data.collect()
}

#[tokio::test]
async fn names_inside_are_answered_here_and_told_to_nobody_outside() {
    let lab = lab(Vec::new()).await;
    for (kind, wanted) in [
        (RecordType::A, vec!["10.0.0.5"]),
        (RecordType::AAAA, vec!["fd00::5"]),
        (RecordType::MX, vec![]),
    ] {
        let query = question("Web.Cloud.Internal.", kind);
        for reply in [lab.udp(&query).await, lab.tcp(&query).await] {
            assert_eq!(reply.metadata.response_code, ResponseCode::NoError);
            assert_eq!(addresses(&reply), wanted);
        }
    }
    let nobody = lab
        .udp(&question("nobody.cloud.internal.", RecordType::A))
        .await;
    assert_eq!(nobody.metadata.response_code, ResponseCode::NXDomain);
}

#[tokio::test]
async fn names_outside_are_asked_of_the_machines_resolvers_and_only_their_answer_counts() {
    let (world, _tasks) = world().await;
    // The first one is away: nothing listens where a socket was just closed.
    let away = sockets().await.1;
    let lab = lab(vec![away, world]).await;
    let query = question("www.example.org.", RecordType::A);
    let reply = lab.udp(&query).await;
    assert!(reply.metadata.truncation && reply.answers.is_empty());
    assert_eq!(addresses(&lab.tcp(&query).await), ["192.0.2.7"]);
}

#[tokio::test]
async fn what_cannot_be_answered_is_told_why() {
    let refusing = lab(Vec::new()).await;
    let outside = question("www.example.org.", RecordType::A);
    let code = async |lab: &Lab, query: &Message| lab.udp(query).await.metadata.response_code;
    assert_eq!(code(&refusing, &outside).await, ResponseCode::Refused);
    let zone = question("cloud.internal.", RecordType::AXFR);
    assert_eq!(code(&refusing, &zone).await, ResponseCode::Refused);
    let mut status = outside.clone();
    status.metadata.op_code = OpCode::Status;
    assert_eq!(code(&refusing, &status).await, ResponseCode::NotImp);
    let mut bytes = outside.to_vec().unwrap();
    bytes.truncate(bytes.len() - 3);
    let unreadable = refusing.datagram(&bytes).await;
    assert_eq!(unreadable.metadata.response_code, ResponseCode::FormErr);

    let away = sockets().await.1;
    let broken = lab(vec![away]).await;
    assert_eq!(code(&broken, &outside).await, ResponseCode::ServFail);
}

/// A guest that asks without end takes the room of its own network only, and is told so.
#[tokio::test]
async fn a_network_has_so_many_questions_in_work_and_no_more() {
    let lab = lab(Vec::new()).await;
    let inside = question("web.cloud.internal.", RecordType::A);
    let room = lab.resolver.queries.clone();
    let all = room.acquire_many_owned(QUERIES_MAX as u32).await.unwrap();
    let reply = lab.udp(&inside).await;
    assert_eq!(reply.metadata.response_code, ResponseCode::ServFail);
    drop(all);
    assert_eq!(addresses(&lab.udp(&inside).await), ["10.0.0.5"]);

    let connections = lab.resolver.connections.clone();
    let all = connections.acquire_many_owned(CONNECTIONS_MAX as u32).await;
    let mut stream = TcpStream::connect(lab.address).await.unwrap();
    let closed = read_framed(&mut stream).await.unwrap_err();
    assert_eq!(closed.kind(), io::ErrorKind::UnexpectedEof);
    drop(all.unwrap());
}

/// A reply is no question: two resolvers that were led to one another would never end.
#[tokio::test]
async fn replies_are_not_replied_to() {
    let lab = lab(Vec::new()).await;
    let mut echo = question("web.cloud.internal.", RecordType::A);
    echo.metadata.message_type = MessageType::Response;
    let bytes = echo.to_vec().unwrap();
    assert_eq!(lab.resolver.answer(&bytes, Way::Udp, None).await, None);
    assert_eq!(
        lab.resolver.answer(&bytes[..14], Way::Udp, None).await,
        None
    );
    assert_eq!(lab.resolver.answer(b"short", Way::Udp, None).await, None);
}

#[test]
fn the_machines_resolvers_are_those_of_its_resolv_conf() {
    let text = "# a comment\nsearch example.org\nnameserver 192.0.2.1\n nameserver\t2001:db8::1 # fast\n\
                nameserver fe80::1%eth0\nnameserver\noptions edns0\n";
    let wanted: Vec<SocketAddr> = vec![
        "192.0.2.1:53".parse().unwrap(),
        "[2001:db8::1]:53".parse().unwrap(),
    ];
    assert_eq!(nameservers(text), wanted);
    assert_eq!(nameservers(""), []);
}
