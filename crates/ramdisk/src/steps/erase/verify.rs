//! Whether old content is gone: places spread over the disk are read before and after.

use super::EraseError;
use super::blocks::MIB;
use crate::device::Disk;
use crate::device::direct::{self, AlignedBuffer};
use crate::protocol::Verification;
use sha2::{Digest, Sha256};
use std::fs::File;
use std::io;

/// How much is read at each place.
const SAMPLE_BYTES: u64 = 64 << 10;
/// How many places there are between the first and the last MiB.
const SPREAD: u64 = 512;

/// What places of a disk held at one time.
pub struct Samples {
    places: Vec<(u64, Held)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Held {
    /// Nothing: zeroes, or the ones that some flash reads as when it is erased.
    Nothing,
    Something([u8; 32]),
}

impl Samples {
    pub fn take(file: &File, size_bytes: u64) -> io::Result<Self> {
        let mut buffer = AlignedBuffer::new(SAMPLE_BYTES as usize);
        let places = places(size_bytes)
            .into_iter()
            .map(|place| {
                direct::read_at(file, buffer.bytes_mut(), place)?;
                Ok((place, held(buffer.bytes())))
            })
            .collect::<io::Result<_>>()?;
        Ok(Self { places })
    }

    /// Nothing of what was there may be there still.
    pub fn verify(&self, file: &File, disk: &Disk) -> Result<Verification, EraseError> {
        let after = Self::take(file, disk.size_bytes).map_err(|source| EraseError::Read {
            disk: disk.name.clone(),
            source,
        })?;
        self.compare(&after)
    }

    fn compare(&self, after: &Self) -> Result<Verification, EraseError> {
        let samples = self.places.len() as u64;
        let kept: Vec<u64> = self
            .places
            .iter()
            .zip(&after.places)
            .filter(|((_, before), (_, after))| *before != Held::Nothing && before == after)
            .map(|((place, _), _)| *place)
            .collect();
        match kept.first() {
            None => Ok(Verification {
                samples,
                bytes: samples * SAMPLE_BYTES,
            }),
            Some(&first) => Err(EraseError::NotErased {
                samples,
                kept: kept.len() as u64,
                first,
            }),
        }
    }
}

fn held(bytes: &[u8]) -> Held {
    let all = |value: u8| bytes.iter().all(|byte| *byte == value);
    if all(0) || all(0xff) {
        Held::Nothing
    } else {
        Held::Something(Sha256::digest(bytes).into())
    }
}

/// All of the first and the last MiB, and places between them at equal distances.
fn places(size_bytes: u64) -> Vec<u64> {
    let last = size_bytes.saturating_sub(SAMPLE_BYTES);
    let ends = (0..MIB / SAMPLE_BYTES)
        .map(|index| index * SAMPLE_BYTES)
        .flat_map(|distance| [distance, last.saturating_sub(distance)]);
    let spread = (1..=SPREAD).map(|index| {
        let place = u128::from(last) * u128::from(index) / u128::from(SPREAD);
        place as u64 / SAMPLE_BYTES * SAMPLE_BYTES
    });
    let mut places: Vec<u64> = ends.chain(spread).filter(|place| *place <= last).collect();
    places.sort_unstable();
    places.dedup();
    places
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::FileExt;

    #[test]
    fn both_ends_and_the_middle_are_looked_at_and_all_of_a_small_disk() {
        let size = 1 << 40;
        let places = places(size);
        assert!(places.contains(&0) && places.contains(&(MIB - SAMPLE_BYTES)));
        assert!(places.contains(&(size - MIB)) && places.contains(&(size - SAMPLE_BYTES)));
        assert!(
            places
                .iter()
                .any(|place| (size / 2 - size / 256..size / 2 + size / 256).contains(place))
        );
        assert!(
            places
                .iter()
                .all(|place| place % SAMPLE_BYTES == 0 && place + SAMPLE_BYTES <= size)
        );
        assert_eq!(super::places(MIB).len() as u64, MIB / SAMPLE_BYTES);
        // Where a disk's last block is no multiple of a sample, an old backup table stands in it.
        let odd = 10 * MIB + 512;
        assert!(super::places(odd).contains(&(odd - SAMPLE_BYTES)));
    }

    #[test]
    fn what_stayed_is_found_and_a_blank_disk_may_stay_blank() {
        let size = 8 * MIB;
        let file = tempfile::tempfile().unwrap();
        file.set_len(size).unwrap();
        let blank = Samples::take(&file, size).unwrap();
        assert!(blank.compare(&blank).is_ok());

        file.write_all_at(b"secret", 3 * MIB).unwrap();
        file.write_all_at(b"secret", size - 6).unwrap();
        let before = Samples::take(&file, size).unwrap();
        file.write_all_at(&[0; 6], size - 6).unwrap();
        let halfway = Samples::take(&file, size).unwrap();
        assert!(matches!(
            before.compare(&halfway),
            Err(EraseError::NotErased { kept: 1, first, .. }) if first == 3 * MIB
        ));
        file.write_all_at(b"other!", 3 * MIB).unwrap();
        let after = Samples::take(&file, size).unwrap();
        assert!(before.compare(&after).is_ok());
    }
}
