//! The OpenStack APIs: a folder per service, a file per resource, a small function per HTTP operation.
//!
//! Compatibility is exact or absent: each service has its own error body, dates, paging and status codes.

pub mod baremetal;
pub mod compute;
pub mod identity;
pub mod image;
pub mod network;
pub mod placement;
