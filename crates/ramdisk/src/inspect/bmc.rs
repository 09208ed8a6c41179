//! Where the server's management controller is on its network: asked over the server's own way to it (IPMI 2.0, section 23.2).

use crate::device::ioctl;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::fs::File;
use std::io;
use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

const DEVICE: &str = "/dev/ipmi0";
/// The driver says hello to the controller before its device appears.
const DEVICE_PATIENCE: Duration = Duration::from_secs(5);
const DEVICE_PAUSE: Duration = Duration::from_millis(100);
/// A controller that has not answered by then answers nothing.
const ANSWER_PATIENCE: Timespec = Timespec {
    tv_sec: 5,
    tv_nsec: 0,
};

/// The function of commands about the network.
const TRANSPORT: u8 = 0x0c;
const GET_LAN_PARAMETER: u8 = 0x02;
const IP_ADDRESS: u8 = 3;
const MAC_ADDRESS: u8 = 5;
/// Those that may be networks; which one it is its maker chose.
const CHANNELS: std::ops::RangeInclusive<u8> = 1..=11;

/// The controller on its network.
pub struct Lan {
    pub address: Ipv4Addr,
    pub mac: Option<String>,
}

/// Asks the controller. What it does not tell is no reason to end an inspection.
pub fn lan() -> Option<Lan> {
    let found = open().and_then(|device| {
        for channel in CHANNELS {
            let address = parameter(&device, channel, IP_ADDRESS)?;
            if let Some(address) = address.as_deref().and_then(read_address) {
                let mac = parameter(&device, channel, MAC_ADDRESS)?;
                let mac = mac.as_deref().and_then(read_mac);
                return Ok(Some(Lan { address, mac }));
            }
        }
        Ok(None)
    });
    match found {
        Ok(None) => {
            tracing::info!("the management controller answers, and has no address on a network");
            None
        }
        Ok(lan) => lan,
        Err(error) => {
            tracing::warn!("the management controller cannot be asked for its address: {error}");
            None
        }
    }
}

/// The kernel makes the device some time after its driver was loaded, and tells nobody here.
#[allow(
    clippy::disallowed_methods,
    reason = "looks again until the device is there, or the time is over"
)]
fn open() -> io::Result<File> {
    let until = Instant::now() + DEVICE_PATIENCE;
    loop {
        match File::options().read(true).write(true).open(DEVICE) {
            Err(_) if Instant::now() < until => std::thread::sleep(DEVICE_PAUSE),
            opened => return opened,
        }
    }
}

/// One parameter of a channel; none if the controller does not have it.
fn parameter(device: &File, channel: u8, name: u8) -> io::Result<Option<Vec<u8>>> {
    ioctl::ipmi_send(device, TRANSPORT, GET_LAN_PARAMETER, &[channel, name, 0, 0])?;
    let mut ready = [PollFd::new(device, PollFlags::IN)];
    if poll(&mut ready, Some(&ANSWER_PATIENCE))? == 0 {
        return Err(io::ErrorKind::TimedOut.into());
    }
    let mut answer = [0; 64];
    let length = ioctl::ipmi_receive(device, &mut answer)?;
    Ok(value(&answer[..length.min(answer.len())]).map(<[u8]>::to_vec))
}

/// The completion code, the parameter's revision, and the value.
fn value(answer: &[u8]) -> Option<&[u8]> {
    match answer {
        [0, _, value @ ..] => Some(value),
        _ => None,
    }
}

fn read_address(value: &[u8]) -> Option<Ipv4Addr> {
    let address = Ipv4Addr::from(*value.first_chunk::<4>()?);
    (!address.is_unspecified() && !address.is_broadcast()).then_some(address)
}

fn read_mac(value: &[u8]) -> Option<String> {
    let bytes = value.first_chunk::<6>()?;
    let pairs: Vec<String> = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    bytes.iter().any(|byte| *byte != 0).then(|| pairs.join(":"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_an_address_a_refusal_or_nothing() {
        let address = |answer: &[u8]| value(answer).and_then(read_address);
        let expected = Ipv4Addr::new(10, 9, 0, 11);
        assert_eq!(address(&[0, 0x11, 10, 9, 0, 11]), Some(expected));
        // It has no such channel; it has no address yet; it broke off.
        for answer in [&[0xcc][..], &[0, 0x11, 0, 0, 0, 0], &[0, 0x11, 10, 9], &[]] {
            assert_eq!(address(answer), None, "{answer:?}");
        }
        let mac = |answer: &[u8]| value(answer).and_then(read_mac);
        let told = mac(&[0, 0x11, 0x52, 0x54, 0, 0xAA, 0, 1]);
        assert_eq!(told.as_deref(), Some("52:54:00:aa:00:01"));
        assert_eq!(mac(&[0, 0x11, 0, 0, 0, 0, 0, 0]), None);
    }
}
