//! The engine: runs operations to their end, whatever dies on the way.
//!
//! ```text
//!             claim (lease, epoch + 1)            commit: the step's rows and the operation's next step together
//!  runnable ───────────────────────────▶ a step ──────────────────────────────┬──▶ next step (lease kept)
//!     ▲                                    │                                  ├──▶ waiting until a moment
//!     │   lease ran out, or retry later    │ retry                            └──▶ ended: done, failed, cancelled
//!     └────────────────────────────────────┘
//! ```
//!
//! * A [`Workflow`] is one kind of operation: its steps, and what each does. Steps can be repeated: a worker may die
//!   after its hands did the work and before the commit, and the next worker runs the same step again.
//! * A step ends in a [`Committed`], which only [`StepTx`] can make: the outcome and the rows a step changed are one
//!   transaction, so state and workflow cannot disagree.
//! * A [`Worker`] claims what is runnable for its [`Places`]. Nothing is owned in memory. One of the control plane also
//!   claims what is over its budget at a place that nobody works for, and gives up on it.
//! * [`Faults`] lets a test kill, fail or delay a worker at every point of every step.

mod clock;
mod faults;
mod places;
mod step;
mod submit;
mod worker;
mod workflow;

pub use clock::{Clock, ManualClock, SystemClock};
pub use faults::{Fault, Faults, NoFaults, Point};
pub use places::Places;
pub use step::{Committed, Fence, StepCx, StepError, StepTx};
pub use submit::{Subject, Submission, submit};
pub use worker::{Worker, WorkerConfig};
pub use workflow::{GiveUp, Place, Registry, Workflow};
