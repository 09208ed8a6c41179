//! Virtual media of a Redfish service: a collection of the system, or of its manager in older ones.

use super::Redfish;
use super::document::Document;
use super::quirks::InsertKeys;
use crate::bmc::Bmc;
use crate::capability::Capability;
use crate::error::BmcError;
use crate::media::{Media, MediaKind, MediaSlot};
use secrecy::ExposeSecret;
use serde_json::{Value, json};

const KINDS: &[(&str, MediaKind)] = &[
    ("CD", MediaKind::Cdrom),
    ("DVD", MediaKind::Cdrom),
    ("Floppy", MediaKind::Floppy),
    ("USBStick", MediaKind::Usb),
];

fn slot_in(document: &Document) -> MediaSlot {
    let mut kinds = Vec::new();
    for word in document.texts("MediaTypes") {
        let kind = KINDS
            .iter()
            .find(|(known, _)| known.eq_ignore_ascii_case(&word));
        if let Some((_, kind)) = kind
            && !kinds.contains(kind)
        {
            kinds.push(*kind);
        }
    }
    let image = document.text("Image");
    MediaSlot {
        id: document
            .required_text("Id")
            .unwrap_or_else(|| document.path.clone()),
        kinds,
        // Where it is not said, an image tells.
        inserted: document.flag("Inserted").unwrap_or(image.is_some()),
        image,
    }
}

impl Redfish {
    pub(super) async fn media_documents(&self) -> Result<Vec<Document>, BmcError> {
        let system = self.system().await?;
        let slots = self.collection(&system, "VirtualMedia").await?;
        if !slots.is_empty() {
            return Ok(slots);
        }
        for manager in &self.layout().await?.managers {
            let Some(manager) = self.transport.get_part(manager).await? else {
                continue;
            };
            let slots = self.collection(&manager, "VirtualMedia").await?;
            if !slots.is_empty() {
                return Ok(slots);
            }
        }
        Ok(Vec::new())
    }

    pub(super) async fn read_media(&self) -> Result<Vec<MediaSlot>, BmcError> {
        Ok(self.media_documents().await?.iter().map(slot_in).collect())
    }

    async fn slots_for(&self, kind: MediaKind) -> Result<Vec<(Document, MediaSlot)>, BmcError> {
        let slots: Vec<(Document, MediaSlot)> = self
            .media_documents()
            .await?
            .into_iter()
            .map(|document| {
                let slot = slot_in(&document);
                (document, slot)
            })
            .filter(|(_, slot)| slot.kinds.contains(&kind))
            .collect();
        if slots.is_empty() {
            return Err(self.lacks(Capability::VirtualMedia));
        }
        Ok(slots)
    }

    pub(super) async fn insert(
        &self,
        kind: MediaKind,
        media: &Media,
    ) -> Result<MediaSlot, BmcError> {
        if !media.image.username().is_empty() || media.image.password().is_some() {
            return Err(BmcError::Invalid {
                rule: "the address of an image holds no password",
                value: media.image.host_str().unwrap_or_default().to_owned(),
                fix: "give the user and the password apart".to_owned(),
            });
        }
        let slots = self.slots_for(kind).await?;
        let has_it =
            |slot: &MediaSlot| slot.inserted && slot.image.as_deref() == Some(media.image.as_str());
        // Of two discs, a server may boot the wrong one.
        for (document, slot) in slots.iter().filter(|(_, slot)| !has_it(slot)) {
            if slot.inserted {
                self.eject_from(document).await?;
            }
        }
        if let Some((_, slot)) = slots.iter().find(|(_, slot)| has_it(slot)) {
            return Ok(slot.clone());
        }
        let Some((document, _)) = slots.first() else {
            return Err(self.lacks(Capability::VirtualMedia));
        };
        self.ask_insert(document, media).await?;
        let mut settle = self.settle("the virtual media", media.image.as_str());
        let shown = loop {
            let seen = slot_in(&self.transport.get(&document.path).await?);
            if seen.inserted {
                break seen;
            }
            settle.wait("nothing inserted".to_owned()).await?;
        };
        if shown.image.as_deref() != Some(media.image.as_str()) {
            self.transport.oddities.note(
                format!("{}#/Image", document.path),
                format!("{}, as was inserted", media.image),
                format!("{:?}", shown.image),
            );
        }
        Ok(shown)
    }

    /// With as many keys as this BMC takes.
    async fn ask_insert(&self, document: &Document, media: &Media) -> Result<(), BmcError> {
        let keys = self.layout().await?.quirks.insert_keys();
        let action = document.action("VirtualMedia.InsertMedia");
        let mut refused = None;
        for keys in keys {
            let body = insert_body(*keys, media);
            let asked = match &action {
                Some(action) => self.transport.post(&action.target, &body).await,
                None => self.transport.patch(document, &body).await,
            };
            match asked {
                Ok(_) => return Ok(()),
                Err(
                    error @ BmcError::Refused {
                        status: Some(400 | 422),
                        ..
                    },
                ) => {
                    refused.get_or_insert(error);
                }
                Err(error) => return Err(without_password(error, media)),
            }
        }
        let refused = refused.map(|error| without_password(error, media));
        Err(refused.unwrap_or_else(|| self.lacks(Capability::VirtualMedia)))
    }

    pub(super) async fn eject(&self, kind: MediaKind) -> Result<(), BmcError> {
        for (document, slot) in self.slots_for(kind).await? {
            if slot.inserted {
                self.eject_from(&document).await?;
            }
        }
        Ok(())
    }

    async fn eject_from(&self, document: &Document) -> Result<(), BmcError> {
        match document.action("VirtualMedia.EjectMedia") {
            Some(action) => self.transport.post(&action.target, &json!({})).await?,
            None => {
                let body = json!({"Image": null, "Inserted": false});
                self.transport.patch(document, &body).await?
            }
        };
        let mut settle = self.settle("the virtual media", "nothing");
        loop {
            let seen = slot_in(&self.transport.get(&document.path).await?);
            if !seen.inserted {
                return Ok(());
            }
            settle.wait(format!("{:?}", seen.image)).await?;
        }
    }
}

/// A BMC may repeat what it was given.
fn without_password(error: BmcError, media: &Media) -> BmcError {
    let Some(password) = &media.password else {
        return error;
    };
    let clean = |message: String| message.replace(password.expose_secret(), "…");
    match error {
        BmcError::Refused {
            bmc,
            request,
            status,
            message,
        } => BmcError::Refused {
            bmc,
            request,
            status,
            message: clean(message),
        },
        BmcError::Failed {
            bmc,
            request,
            status,
            message,
        } => BmcError::Failed {
            bmc,
            request,
            status,
            message: clean(message),
        },
        other => other,
    }
}

fn insert_body(keys: InsertKeys, media: &Media) -> Value {
    let mut body = json!({"Image": media.image.as_str()});
    if keys != InsertKeys::Image {
        body["Inserted"] = json!(true);
        body["WriteProtected"] = json!(true);
    }
    if keys == InsertKeys::All {
        body["TransferMethod"] = json!("Stream");
        body["TransferProtocolType"] = json!(media.image.scheme().to_ascii_uppercase());
    }
    if let (Some(username), Some(password)) = (&media.username, &media.password) {
        body["UserName"] = json!(username);
        body["Password"] = json!(password.expose_secret());
    }
    body
}
