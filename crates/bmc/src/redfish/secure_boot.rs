//! Secure boot of a Redfish system: the document `SecureBoot`.

use super::Redfish;
use super::document::Document;
use crate::bmc::{Bmc, SecureBoot};
use crate::capability::Capability;
use crate::error::BmcError;
use serde_json::json;

impl Redfish {
    pub(super) async fn read_secure_boot(&self) -> Result<SecureBoot, BmcError> {
        let document = self.secure_boot_document().await?;
        self.secure_boot_in(&document)
    }

    async fn secure_boot_document(&self) -> Result<Document, BmcError> {
        let document = self.of_system("SecureBoot").await?;
        document.ok_or_else(|| self.lacks(Capability::SecureBoot))
    }

    fn secure_boot_in(&self, document: &Document) -> Result<SecureBoot, BmcError> {
        let enabled = document
            .flag("SecureBootEnable")
            .ok_or_else(|| document.without(self.name(), "SecureBootEnable", "true or false"))?;
        Ok(SecureBoot {
            enabled,
            in_force: document.word(
                "SecureBootCurrentBoot",
                &[("Enabled", true), ("Disabled", false)],
            ),
        })
    }

    pub(super) async fn write_secure_boot(&self, enabled: bool) -> Result<(), BmcError> {
        let document = self.secure_boot_document().await?;
        if self.secure_boot_in(&document)?.enabled == enabled {
            return Ok(());
        }
        let body = json!({"SecureBootEnable": enabled});
        self.transport.patch(&document, &body).await?;
        let mut settle = self.settle("secure boot", enabled.to_string());
        while self.read_secure_boot().await?.enabled != enabled {
            settle.wait((!enabled).to_string()).await?;
        }
        Ok(())
    }
}
