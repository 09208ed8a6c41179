//! Where a test can disturb a worker, and how.

use corten_store::operations::Operation;
use std::future::Future;
use std::pin::Pin;

/// A point in the life of every step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Point {
    /// The step is claimed; nothing has been done.
    BeforeStep,
    /// The hands have done their work and the rows are written, but not committed.
    BeforeCommit,
    /// The commit is durable; the worker has not heard of it.
    AfterCommit,
}

/// What happens to the worker there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    None,
    /// The worker is gone: nothing more of this step happens, and its lease is left to run out.
    Kill,
    /// The step reports this trouble, to be tried again.
    Retry(String),
    /// The step reports this cause, for good.
    Fail(String),
}

/// Decides what to disturb. Async, so that a test can hold a worker at a point while others go on.
pub trait Faults: Send + Sync + 'static {
    fn at<'a>(
        &'a self,
        operation: &'a Operation,
        point: Point,
    ) -> Pin<Box<dyn Future<Output = Fault> + Send + 'a>>;
}

/// Production: nothing is disturbed.
pub struct NoFaults;

impl Faults for NoFaults {
    fn at<'a>(
        &'a self,
        _: &'a Operation,
        _: Point,
    ) -> Pin<Box<dyn Future<Output = Fault> + Send + 'a>> {
        Box::pin(std::future::ready(Fault::None))
    }
}
