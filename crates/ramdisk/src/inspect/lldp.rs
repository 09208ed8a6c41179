//! The neighbour's announcement (LLDP, IEEE 802.1AB): which switch and port the boot card hangs on.
//!
//! It is listened for in the background from the moment that the card is up, and no longer than [`PATIENCE`]. What was heard is told
//! to whoever asks; only who wants it by all means waits for it.

use socket2::{Domain, Protocol, Socket, Type};
use std::io::{self, Read};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// The EtherType.
const LLDP: u16 = 0x88cc;
const END: u8 = 0;
/// A switch announces itself each half minute.
const PATIENCE: Duration = Duration::from_secs(31);

/// Type and value (hexadecimal) of each field of an announcement.
pub type Fields = Vec<(u8, String)>;

/// What the boot card's neighbour says of itself.
#[derive(Clone)]
pub struct Neighbour(Arc<(Mutex<State>, Condvar)>);

#[derive(Default)]
struct State {
    ended: bool,
    heard: Option<Fields>,
}

impl Neighbour {
    /// Begins to listen.
    pub fn listen() -> Self {
        Self::listen_by(|| listen(PATIENCE))
    }

    /// There is nothing to be heard.
    pub fn none() -> Self {
        Self::listen_by(|| Ok(None))
    }

    #[cfg(test)]
    pub fn saying(fields: Fields) -> Self {
        Self::listen_by(|| Ok(Some(fields)))
    }

    fn listen_by(listen: impl FnOnce() -> io::Result<Option<Fields>> + Send + 'static) -> Self {
        let neighbour = Self(Arc::default());
        let shared = Arc::clone(&neighbour.0);
        std::thread::spawn(move || {
            let heard = listen().unwrap_or_else(|error| {
                tracing::warn!("the switch cannot be listened to: {error}");
                None
            });
            let (state, changed) = &*shared;
            *state.lock().unwrap_or_else(PoisonError::into_inner) = State { ended: true, heard };
            changed.notify_all();
        });
        neighbour
    }

    /// What was heard, after at most `patience`, which may be none.
    pub fn heard(&self, patience: Duration) -> Option<Fields> {
        let (state, changed) = &*self.0;
        let state = state.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = changed.wait_timeout_while(state, patience, |state| !state.ended);
        let (state, _) = waited.unwrap_or_else(PoisonError::into_inner);
        state.heard.clone()
    }
}

/// Waits for one announcement. Only the boot card is up, so it is its neighbour's.
fn listen(patience: Duration) -> io::Result<Option<Fields>> {
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
fn parse(mut bytes: &[u8]) -> Fields {
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
    fn only_who_has_patience_waits_for_what_is_not_heard_yet() {
        let (speak, spoken) = std::sync::mpsc::channel();
        let neighbour = Neighbour::listen_by(move || Ok(spoken.recv().ok()));
        assert_eq!(neighbour.heard(Duration::ZERO), None);
        let fields = vec![(1, "04".to_owned())];
        speak.send(fields.clone()).unwrap();
        let heard = neighbour.heard(Duration::from_secs(60));
        assert_eq!(heard, Some(fields.clone()));
        assert_eq!(neighbour.heard(Duration::ZERO), Some(fields));
        assert_eq!(Neighbour::none().heard(Duration::from_secs(60)), None);
    }

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
