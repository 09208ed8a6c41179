//! Guest images: the tiny guest and the Debian guest built here, and the catalogue's images fetched from their vendors.

mod catalog;
mod checksums;
mod command;
mod debian;
mod disk;
mod packages;
mod progress;
mod pull;
mod tiny;

pub use catalog::{CatalogImage, ImageClass, Source, catalog, catalog_table, find};
pub use debian::{DebianOptions, build_debian};
pub use disk::{BuiltImage, DiskFormat};
pub use progress::{ConsoleProgress, Progress, Silent};
pub use pull::{PulledImage, pull};
pub use tiny::{TinyOptions, build_tiny};
