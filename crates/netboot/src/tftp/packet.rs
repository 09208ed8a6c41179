//! TFTP's packets (RFC 1350 section 5, RFC 2347).

/// A request is one datagram of at most so much (RFC 2347).
pub const REQUEST_BYTES_MAX: usize = 512;
pub const NOT_FOUND: u16 = 1;

const READ: u16 = 1;
const DATA: u16 = 3;
const ACK: u16 = 4;
const ERROR: u16 = 5;
const OPTIONS: u16 = 6;

/// What a client may send.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Packet {
    Read(Request),
    Ack(u16),
    Error(String),
}

/// A read request for a file as it is ("octet").
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    pub file: String,
    /// Names in lower case, with their values.
    pub options: Vec<(String, String)>,
}

impl Packet {
    /// None for what is malformed, a write, or a text transfer, which no firmware asks for.
    pub fn decode(datagram: &[u8]) -> Option<Self> {
        let (&code, rest) = datagram.split_first_chunk::<2>()?;
        match u16::from_be_bytes(code) {
            READ => Request::decode(rest).map(Self::Read),
            ACK => rest
                .first_chunk::<2>()
                .map(|&block| Self::Ack(u16::from_be_bytes(block))),
            ERROR => {
                let text = rest.get(2..)?.split(|&byte| byte == 0).next()?;
                Some(Self::Error(String::from_utf8_lossy(text).into_owned()))
            }
            _ => None,
        }
    }
}

impl Request {
    fn decode(rest: &[u8]) -> Option<Self> {
        // Each text ends with a zero; some firmware pads behind the last.
        let end = rest.iter().rposition(|&byte| byte == 0)?;
        let texts: Option<Vec<&str>> = rest[..end]
            .split(|&byte| byte == 0)
            .map(|text| std::str::from_utf8(text).ok())
            .collect();
        let texts = texts?;
        let [file, mode, options @ ..] = texts.as_slice() else {
            return None;
        };
        if file.is_empty() || !mode.eq_ignore_ascii_case("octet") {
            return None;
        }
        let options = options.chunks_exact(2);
        Some(Self {
            file: (*file).to_owned(),
            options: options
                .map(|pair| (pair[0].to_ascii_lowercase(), pair[1].to_owned()))
                .collect(),
        })
    }
}

pub fn data(block: u16, bytes: &[u8]) -> Vec<u8> {
    [&DATA.to_be_bytes(), &block.to_be_bytes(), bytes].concat()
}

/// Answers a request's options with those that are agreed to.
pub fn options(agreed: &[(&str, u64)]) -> Vec<u8> {
    let mut packet = OPTIONS.to_be_bytes().to_vec();
    for (name, value) in agreed {
        packet.extend(format!("{name}\0{value}\0").into_bytes());
    }
    packet
}

pub fn error(code: u16, text: &str) -> Vec<u8> {
    let mut packet = [ERROR.to_be_bytes(), code.to_be_bytes()].concat();
    packet.extend(text.bytes().filter(|&byte| byte != 0).chain([0]));
    packet
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_read_with_its_options() {
        let read = Packet::decode(b"\0\x01boot/x\0OCTET\0BlkSize\x001468\0tsize\x000\0\0\0");
        let Some(Packet::Read(request)) = read else {
            panic!("{read:?}");
        };
        assert_eq!(request.file, "boot/x");
        let expected = [("blksize", "1468"), ("tsize", "0")];
        for (name, value) in expected {
            assert!(
                request
                    .options
                    .contains(&(name.to_owned(), value.to_owned()))
            );
        }
    }

    #[test]
    fn what_is_no_request_is_dropped() {
        for datagram in [
            &b""[..],
            b"\0",
            b"\0\x01",
            b"\0\x01file",
            b"\0\x01\0octet\0",
            b"\0\x01file\0netascii\0",
            b"\0\x02file\0octet\0",
            b"\0\x01fi\xffle\0octet\0",
            b"\0\x04\0",
        ] {
            assert_eq!(Packet::decode(datagram), None, "{datagram:?}");
        }
    }
}
