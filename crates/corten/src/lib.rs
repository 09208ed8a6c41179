//! The parts of the binary that are useful apart from it: building and fetching guest images.

pub mod images;
