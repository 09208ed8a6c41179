//! The password of a rescue, as agents take it.

use crate::error::BmcError;
use secrecy::{ExposeSecret, SecretString};
use sha_crypt::{ROUNDS_DEFAULT, Sha512Params, sha512_simple};

/// As crypt(3) has it: the ramdisk, and whoever reads its memory, sees no password.
pub fn hashed(bmc: &str, password: &SecretString) -> Result<String, BmcError> {
    let cost = Sha512Params::new(ROUNDS_DEFAULT);
    let hash = cost.and_then(|cost| sha512_simple(password.expose_secret(), &cost));
    hash.map_err(|error| BmcError::Failed {
        bmc: bmc.to_owned(),
        request: "hashing the rescue password".to_owned(),
        status: None,
        message: format!("{error:?}"),
    })
}
