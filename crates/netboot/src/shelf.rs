//! Every file that goes out, by its name, and who may have it. TFTP and HTTP give out the same.
//!
//! | name | what | for whom |
//! | --- | --- | --- |
//! | `boot/MAC/ARCHITECTURE/ipxe.efi`, or `ipxe.kpxe` | iPXE for that firmware | the node's address |
//! | `boot/MAC/ARCHITECTURE/boot.ipxe` | what iPXE is to do | the node's address |
//! | `boot/MAC/ARCHITECTURE/kernel`, `…/ramdisk` | | the node's address |
//! | `boot/MAC/ARCHITECTURE/boot.iso` | all of it as one image, for HTTP boot with Secure Boot | the node's address |
//! | `media/NAME.iso` | a virtual-media image | who knows the name |

use crate::client::{Architecture, Client, Stage};
use crate::content::Content;
use crate::directory::{Answer, Asker, Boot, Directory, DirectoryError};
use crate::loaders::Loaders;
use crate::media::{MediaError, MediaPlan};
use crate::script;
use corten_model::ids::NodeId;
use corten_model::mac::Mac;
use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddrV4};
use std::sync::Arc;

/// What firmware takes for a disc, by its ending, and boots from memory.
const IMAGE: &str = "boot.iso";

pub(crate) struct Shelf {
    directory: Arc<dyn Directory>,
    loaders: Loaders,
    http: SocketAddrV4,
}

/// A file of one node, or a virtual-media image.
#[derive(Debug)]
pub(crate) struct Found {
    pub node: Option<NodeId>,
    /// Its name for the boot timeline: the last part of the path.
    pub file: String,
    pub content: Content,
}

/// Why there is no file.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Missing {
    #[error("there is no such file")]
    Nowhere,
    #[error("the boot files of {mac} are for {owner} only, and {from} asks")]
    NotYours {
        mac: Mac,
        owner: Ipv4Addr,
        from: IpAddr,
    },
    #[error("the directory does not answer")]
    Directory(#[from] DirectoryError),
    #[error("the file {file} cannot be read")]
    Unreadable {
        file: String,
        #[source]
        source: io::Error,
    },
    #[error("the image cannot be made")]
    Media(#[from] MediaError),
}

impl Shelf {
    pub fn new(directory: Arc<dyn Directory>, loaders: Loaders, http: SocketAddrV4) -> Self {
        Self {
            directory,
            loaders,
            http,
        }
    }

    pub fn directory(&self) -> &dyn Directory {
        self.directory.as_ref()
    }

    /// The boot file for a client: a path for TFTP, or a URL. None if it boots nothing, or if no loader is kept for it.
    pub fn boot_file(&self, mac: Mac, client: Client, boot: &Boot) -> Option<String> {
        let Client {
            stage,
            architecture,
        } = client;
        let architecture = architecture?;
        let file = match (stage, boot.secure_boot) {
            (Stage::AddressOnly, _) => return None,
            (Stage::Ipxe, _) => "boot.ipxe",
            (Stage::Pxe | Stage::HttpBoot, false) => self.ipxe(architecture)?.0,
            (Stage::HttpBoot, true) if architecture == Architecture::UefiX64 => IMAGE,
            (Stage::Pxe | Stage::HttpBoot, true) => return None,
        };
        let path = format!("boot/{mac}/{architecture}/{file}");
        Some(match stage {
            Stage::Pxe => path,
            _ => format!("http://{}/{path}", self.http),
        })
    }

    /// iPXE for this firmware, and its name. HTTP boot knows a program by its ending.
    fn ipxe(&self, architecture: Architecture) -> Option<(&'static str, &Content)> {
        match architecture {
            Architecture::Bios => Some(("ipxe.kpxe", &self.loaders.ipxe_bios)),
            Architecture::UefiX64 => Some(("ipxe.efi", &self.loaders.ipxe_uefi)),
            Architecture::UefiArm64 | Architecture::Other(_) => None,
        }
    }

    /// The file of a path, without a slash in front, for who asks from this address.
    pub async fn find(&self, path: &str, from: IpAddr) -> Result<Found, Missing> {
        let parts: Vec<&str> = path.split('/').collect();
        match parts[..] {
            ["boot", mac, architecture, file] => {
                let (Ok(mac), Ok(architecture)) = (mac.parse(), architecture.parse()) else {
                    return Err(Missing::Nowhere);
                };
                self.boot(mac, architecture, file, from).await
            }
            ["media", file] => self.media(file).await,
            _ => Err(Missing::Nowhere),
        }
    }

    async fn boot(
        &self,
        mac: Mac,
        architecture: Architecture,
        file: &str,
        from: IpAddr,
    ) -> Result<Found, Missing> {
        let asker = Asker {
            mac,
            architecture: Some(architecture),
            relay: None,
            begins_boot: false,
        };
        let answer = self.directory.find(asker).await?;
        let Some(Answer {
            node,
            lease,
            boot: Some(boot),
        }) = answer
        else {
            return Err(Missing::Nowhere);
        };
        let owner = lease.address.addr();
        if from != IpAddr::V4(owner) {
            return Err(Missing::NotYours { mac, owner, from });
        }
        let base = format!("http://{}/boot/{mac}/{architecture}", self.http);
        Ok(Found {
            node: Some(node),
            file: file.to_owned(),
            content: self.boot_content(&boot, architecture, file, &base).await?,
        })
    }

    async fn boot_content(
        &self,
        boot: &Boot,
        architecture: Architecture,
        file: &str,
        base: &str,
    ) -> Result<Content, Missing> {
        let path = match file {
            "boot.ipxe" => {
                let text = script::ipxe(base, &boot.command_line);
                return Ok(Content::memory(text.into_bytes()));
            }
            IMAGE if architecture == Architecture::UefiX64 => {
                let plan = MediaPlan {
                    boot: boot.clone(),
                    network: None,
                    files: BTreeMap::new(),
                };
                return Ok(plan.image(&self.loaders).await?);
            }
            "kernel" => &boot.kernel,
            "ramdisk" => &boot.ramdisk,
            other => {
                let ipxe = self.ipxe(architecture).filter(|(name, _)| *name == other);
                let (_, content) = ipxe.ok_or(Missing::Nowhere)?;
                return Ok(content.clone());
            }
        };
        Content::file(path)
            .await
            .map_err(|source| Missing::Unreadable {
                file: path.display().to_string(),
                source,
            })
    }

    async fn media(&self, file: &str) -> Result<Found, Missing> {
        let name = file.strip_suffix(".iso").ok_or(Missing::Nowhere)?;
        let plan = self.directory.media(name).await?;
        let plan = plan.ok_or(Missing::Nowhere)?;
        Ok(Found {
            node: None,
            file: file.to_owned(),
            content: plan.image(&self.loaders).await?,
        })
    }
}
