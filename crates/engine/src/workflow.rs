//! One kind of operation, and the table of all kinds.

use crate::step::{Committed, StepCx, StepError};
use async_trait::async_trait;
use corten_store::operations::Operation;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// Where a step runs: where its hands are.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Place {
    /// Any worker of the control plane.
    Control,
    /// The worker that has this host's hands.
    Host(String),
    /// The agent on this node's DPU.
    Dpu(String),
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Control => f.write_str("control"),
            Self::Host(id) => write!(f, "host/{id}"),
            Self::Dpu(id) => write!(f, "dpu/{id}"),
        }
    }
}

/// Why an operation will not reach its goal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum GiveUp {
    /// A step said that trying again is no use.
    Failed(String),
    /// A step took longer than its budget, with the last trouble it reported.
    OverBudget(String),
    /// Somebody asked it to stop.
    Cancelled,
}

impl fmt::Display for GiveUp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Failed(cause) => f.write_str(cause),
            Self::OverBudget(last) if last.is_empty() => {
                f.write_str("It took longer than its time budget.")
            }
            Self::OverBudget(last) => write!(
                f,
                "It took longer than its time budget; the last trouble was: {last}"
            ),
            Self::Cancelled => f.write_str("It was cancelled."),
        }
    }
}

/// One kind of operation.
#[async_trait]
pub trait Workflow: Send + Sync + 'static {
    type Step: Serialize + DeserializeOwned + fmt::Debug + Send + Sync;
    type Input: Serialize + DeserializeOwned + Send + Sync;

    /// The name in the rows: `create_instance`. One type may stand for several kinds that go the same way.
    fn kind(&self) -> &'static str;

    /// How long this step may take, tries included, before the workflow gives up.
    fn budget(&self, step: &Self::Step) -> Duration;

    /// Does one step. It may be repeated after it has done its work, so it must find out what is already done.
    async fn run(
        &self,
        step: Self::Step,
        input: &Self::Input,
        cx: &StepCx,
    ) -> Result<Committed, StepError>;

    /// The goal is out of reach: writes what that means for the subject, and ends the operation or goes on to a step
    /// that cleans up. From here on neither a cancel nor a budget interrupts it again.
    async fn give_up(
        &self,
        why: GiveUp,
        input: &Self::Input,
        cx: &StepCx,
    ) -> Result<Committed, StepError>;
}

/// A workflow without its types, for the table.
#[async_trait]
pub(crate) trait AnyWorkflow: Send + Sync {
    async fn run(&self, operation: &Operation, cx: &StepCx) -> Result<Committed, StepError>;
    async fn give_up(
        &self,
        why: GiveUp,
        operation: &Operation,
        cx: &StepCx,
    ) -> Result<Committed, StepError>;
}

fn read<T: DeserializeOwned>(
    what: &str,
    text: &str,
    operation: &Operation,
) -> Result<T, StepError> {
    serde_json::from_str(text).map_err(|error| {
        StepError::Fail(format!(
            "The {what} of operation {} ({}) cannot be read: {error}",
            operation.id, operation.kind
        ))
    })
}

#[async_trait]
impl<W: Workflow> AnyWorkflow for W {
    async fn run(&self, operation: &Operation, cx: &StepCx) -> Result<Committed, StepError> {
        let input: W::Input = read("input", &operation.input, operation)?;
        let step: W::Step = read("step", &operation.step, operation)?;
        Workflow::run(self, step, &input, cx).await
    }

    async fn give_up(
        &self,
        why: GiveUp,
        operation: &Operation,
        cx: &StepCx,
    ) -> Result<Committed, StepError> {
        let input: W::Input = read("input", &operation.input, operation)?;
        Workflow::give_up(self, why, &input, cx).await
    }
}

type BudgetOf = Box<dyn Fn(&str) -> Duration + Send + Sync>;

pub(crate) struct Entry {
    pub workflow: Arc<dyn AnyWorkflow>,
    budget: BudgetOf,
}

impl Entry {
    /// The budget of a step as it stands in the row.
    pub fn budget(&self, step: &str) -> Duration {
        (self.budget)(step)
    }
}

/// Every kind of operation that a worker can run.
#[derive(Default)]
pub struct Registry {
    entries: HashMap<&'static str, Entry>,
}

impl Registry {
    pub fn with<W: Workflow>(mut self, workflow: W) -> Self {
        let workflow = Arc::new(workflow);
        let for_budget = workflow.clone();
        let budget: BudgetOf = Box::new(move |step| {
            serde_json::from_str(step)
                .map_or(Duration::ZERO, |step: W::Step| for_budget.budget(&step))
        });
        self.entries
            .insert(workflow.kind(), Entry { workflow, budget });
        self
    }

    pub(crate) fn get(&self, kind: &str) -> Option<&Entry> {
        self.entries.get(kind)
    }

    /// The names of all kinds, sorted.
    pub fn kinds(&self) -> Vec<&'static str> {
        let mut kinds: Vec<_> = self.entries.keys().copied().collect();
        kinds.sort_unstable();
        kinds
    }
}
