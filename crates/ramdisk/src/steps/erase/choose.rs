//! Which methods a disk is to be erased by, best first. Pure.

use super::facts::EraseFacts;
use crate::protocol::EraseMethod;

/// The methods that the disk has, in the order in which they are to be tried; overwriting is always the last.
///
/// What reaches spare and remapped cells comes before what does not, and the loss of a key, which takes seconds, before
/// the erasure of cells. A disk whose security is on, locked or frozen heeds no security command.
pub fn methods(facts: &EraseFacts) -> Vec<EraseMethod> {
    let nvme = facts.nvme.unwrap_or_default();
    let ata = facts.ata.unwrap_or_default();
    let ata_ready = ata.supported && !ata.enabled && !ata.locked && !ata.frozen;
    [
        (nvme.sanitize_crypto, EraseMethod::NvmeSanitizeCrypto),
        (nvme.sanitize_block, EraseMethod::NvmeSanitizeBlock),
        (
            nvme.format && nvme.format_crypto,
            EraseMethod::NvmeFormatCrypto,
        ),
        (nvme.format, EraseMethod::NvmeFormat),
        (
            ata_ready && ata.enhanced,
            EraseMethod::AtaSecureEraseEnhanced,
        ),
        (ata_ready, EraseMethod::AtaSecureErase),
        (facts.discard, EraseMethod::Discard),
        (true, EraseMethod::Overwrite),
    ]
    .into_iter()
    .filter_map(|(has, method)| has.then_some(method))
    .collect()
}

#[cfg(test)]
mod tests {
    use super::super::facts::{AtaSecurity, NvmeAbilities};
    use super::*;
    use EraseMethod::*;

    #[test]
    fn an_nvme_disk_is_sanitized_before_it_is_formatted() {
        let facts = EraseFacts {
            nvme: Some(NvmeAbilities {
                sanitize_crypto: true,
                sanitize_block: true,
                format: true,
                format_crypto: false,
            }),
            ata: None,
            discard: true,
        };
        assert_eq!(
            methods(&facts),
            [
                NvmeSanitizeCrypto,
                NvmeSanitizeBlock,
                NvmeFormat,
                Discard,
                Overwrite
            ]
        );
    }

    #[test]
    fn an_ata_disk_that_is_frozen_locked_or_has_a_password_is_not_asked_to_erase_itself() {
        let ready = AtaSecurity {
            supported: true,
            enhanced: true,
            ..AtaSecurity::default()
        };
        let with = |ata| {
            methods(&EraseFacts {
                ata: Some(ata),
                ..EraseFacts::default()
            })
        };
        assert_eq!(
            with(ready),
            [AtaSecureEraseEnhanced, AtaSecureErase, Overwrite]
        );
        for unready in [
            AtaSecurity {
                frozen: true,
                ..ready
            },
            AtaSecurity {
                locked: true,
                ..ready
            },
            AtaSecurity {
                enabled: true,
                ..ready
            },
            AtaSecurity {
                supported: false,
                ..ready
            },
        ] {
            assert_eq!(with(unready), [Overwrite], "{unready:?}");
        }
    }

    #[test]
    fn a_disk_that_can_do_nothing_is_overwritten() {
        assert_eq!(methods(&EraseFacts::default()), [Overwrite]);
    }
}
