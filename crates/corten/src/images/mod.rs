//! Images: the tiny guest, the Debian guest and the deploy ramdisk built here, and the catalogue's fetched from their vendors.

mod catalog;
mod checksums;
mod command;
mod debian;
mod disk;
mod kernel;
mod packages;
mod programs;
mod progress;
mod pull;
mod ramdisk;
mod tiny;

pub use catalog::{CatalogImage, ImageClass, Source, catalog, catalog_table, find};
pub use debian::{DebianOptions, build_debian};
pub use disk::{BuiltImage, DiskFormat};
pub use progress::{ConsoleProgress, Progress, Silent};
pub use pull::{PulledImage, pull};
pub use ramdisk::{BuiltRamdisk, RamdiskOptions, build_ramdisk};
pub use tiny::{TinyOptions, build_tiny};
