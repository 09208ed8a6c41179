//! The neighbour's announcement (LLDP, IEEE 802.1AB): which switch and port the boot card hangs on.

use socket2::{Domain, Protocol, Socket, Type};
use std::io::{self, Read};
use std::time::{Duration, Instant};

/// The EtherType.
const LLDP: u16 = 0x88cc;
const END: u8 = 0;

/// Waits for one announcement; switches send one every half minute. Only the boot card is up, so it is its neighbour's.
pub fn listen(patience: Duration) -> io::Result<Option<Vec<(u8, String)>>> {
    let protocol = Protocol::from(i32::from(LLDP.to_be()));
    let mut socket = Socket::new(Domain::PACKET, Type::DGRAM, Some(protocol))?;
    let until = Instant::now() + patience;
    let mut buffer = [0; 1600];
    loop {
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Ok(None);
        }
        socket.set_read_timeout(Some(left))?;
        match socket.read(&mut buffer) {
            Ok(length) => {
                let fields = parse(&buffer[..length]);
                if !fields.is_empty() {
                    return Ok(Some(fields));
                }
            }
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut
                ) => {}
            Err(error) => return Err(error),
        }
    }
}

/// Type (7 bits), length (9 bits) and value of each field, up to the end mark or to one that is cut off.
fn parse(mut bytes: &[u8]) -> Vec<(u8, String)> {
    let mut fields = Vec::new();
    while let [first, second, rest @ ..] = bytes {
        let kind = first >> 1;
        let length = usize::from(first & 1) << 8 | usize::from(*second);
        if kind == END {
            break;
        }
        let Some((value, after)) = rest.split_at_checked(length) else {
            break;
        };
        fields.push((kind, hex::encode(value)));
        bytes = after;
    }
    fields
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_read_up_to_the_end_and_no_further() {
        let announcement = [
            &[0x02, 0x07, 4, 0, 1, 2, 3, 4, 5][..], // chassis: a MAC address
            &[0x04, 0x05, 5, b'e', b't', b'h', b'1'],
            &[0x06, 0x02, 0, 120],
            &[0x00, 0x00, 0xff, 0xff],
        ]
        .concat();
        let fields = parse(&announcement);
        assert_eq!(
            fields.iter().map(|(kind, _)| *kind).collect::<Vec<_>>(),
            [1, 2, 3]
        );
        assert_eq!(fields[1].1, "0565746831");
        assert_eq!(parse(&announcement[..12]).len(), 1);
        assert!(parse(&[]).is_empty());
        assert_eq!(
            parse(&[[0x0f, 0x00].as_slice(), &[7; 256]].concat())[0]
                .1
                .len(),
            512
        );
    }
}
