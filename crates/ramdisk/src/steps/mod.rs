//! What is done to the server, a module for each kind of step; `commands` decides when.

pub mod boot;
pub mod burn_in;
pub mod erase;
pub mod program;
pub mod raid;
pub mod rescue;
pub mod write_image;
