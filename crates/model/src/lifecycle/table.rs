//! The shape of a life-cycle table, and the lookup of an instance's row.

use super::command::Command;
use super::display::Display;
use super::nova::InstanceClass;
use super::words::word_enum;
use super::{metal, vm};
use std::time::Duration;

/// One state of a life cycle: all there is to know about it.
#[derive(Debug, Clone, Copy)]
pub struct Row<S: 'static, C: 'static> {
    pub state: S,
    /// The catalogue's number: 1 for K1.
    pub k: Option<u16>,
    pub meaning: &'static str,
    /// Whether the tenant pays while it lasts, by the seed's price rule (K54 lets a region differ).
    pub billed: bool,
    /// In groups, so that a table can name common ones; read it through `legal()`.
    pub legal: &'static [&'static [C]],
    /// In groups; read it through `next()`.
    pub next: &'static [&'static [S]],
    /// How long it may last; `None` for a state that rests.
    pub budget: Option<Budget>,
}

impl<S: Copy + PartialEq, C: Copy + PartialEq> Row<S, C> {
    /// The commands that are accepted in this state.
    pub fn legal(&self) -> impl Iterator<Item = C> + use<S, C> {
        self.legal.iter().flat_map(|group| group.iter().copied())
    }

    /// The states that can follow. A state may always follow itself; that is not listed.
    pub fn next(&self) -> impl Iterator<Item = S> + use<S, C> {
        let own = self.state;
        self.next
            .iter()
            .flat_map(|group| group.iter().copied())
            .filter(move |state| *state != own)
    }

    pub fn allows(&self, command: C) -> bool {
        self.legal().any(|legal| legal == command)
    }

    pub fn may_become(&self, state: S) -> bool {
        self.state == state || self.next().any(|next| next == state)
    }
}

/// A row of one of the two instance tables.
pub type InstanceRow = Row<Display, Command>;

/// The time a state may last, and what happens by itself when it lasts longer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Budget {
    pub span: Duration,
    pub over: OverBudget,
}

word_enum! {
    /// What the system does without being asked when a state is over its budget.
    pub enum OverBudget: "action over budget" {
        /// Run the step again; the third time counts as a failure of the operation.
        RetryOperation = "retry the operation",
        /// Clean up and place it again on another host, 3 attempts in all, then Error.
        RetryElsewhere = "retry on another host",
        /// The ramdisk did not call: boot it another way, once; then the attempt has failed.
        RetryOtherBoot = "retry by another boot method",
        /// Give up: Error, with the cause.
        MarkError = "mark as error",
        /// Undo what was begun: the state before the command.
        RollBack = "roll back",
        /// The guest did not obey: cut its power.
        CutPower = "cut the power",
        /// The guest did not obey: restart it by force.
        HardReboot = "hard reboot",
        /// Nobody decided: keep the new size and bill it (K55).
        AutoConfirm = "confirm the resize",
        /// The tenant is done with it; what is left goes to the operators' queue (K57).
        DetachFromTenant = "detach from the tenant",
        /// The time to change one's mind is over: delete it.
        Reclaim = "delete for good",
        /// A person must look: it goes to the operators' queue with its cause and owner (K56).
        CallOperator = "call an operator",
        /// The time to come back quickly is over: give the host back.
        Offload = "offload",
    }
}

/// The states of a class of instance, in the order of the catalogue.
pub fn rows(class: InstanceClass) -> &'static [InstanceRow] {
    match class {
        InstanceClass::Vm => vm::TABLE,
        InstanceClass::Metal => metal::TABLE,
    }
}

/// The row of a state, if the class has that state.
pub fn find(class: InstanceClass, state: Display) -> Option<&'static InstanceRow> {
    rows(class).iter().find(|row| row.state == state)
}

/// Writes a table so that it reads as one:
///
/// ```text
/// State (K 1) billed "meaning"
///     legal [Command Command] + GROUP
///     next [State State] + GROUP
///     within 5 MINUTES or MarkError;
/// ```
macro_rules! life_table {
    (
        $(#[$doc:meta])*
        pub const $name:ident: $state_type:ident, $command_type:ident;
        $(
            $state:ident $((K $k:literal))? $meter:ident $meaning:literal
            legal [$($legal:ident)*] $(+ $legal_group:ident)*
            next [$($next:ident)*] $(+ $next_group:ident)*
            $(within $amount:literal $unit:ident or $over:ident)?;
        )*
    ) => {
        $(#[$doc])*
        pub const $name: &[$crate::lifecycle::table::Row<$state_type, $command_type>] = &[$(
            $crate::lifecycle::table::Row {
                state: $state_type::$state,
                k: $crate::lifecycle::table::optional!($($k)?),
                meaning: $meaning,
                billed: $crate::lifecycle::table::metered!($meter),
                legal: &[&[$($command_type::$legal),*], $($legal_group),*],
                next: &[&[$($state_type::$next),*], $($next_group),*],
                budget: $crate::lifecycle::table::optional!($(
                    $crate::lifecycle::table::Budget {
                        span: std::time::Duration::from_secs($amount * $crate::lifecycle::table::$unit),
                        over: $crate::lifecycle::table::OverBudget::$over,
                    }
                )?),
            },
        )*];
    };
}

macro_rules! optional {
    () => {
        None
    };
    ($value:expr) => {
        Some($value)
    };
}

macro_rules! metered {
    (billed) => {
        true
    };
    (free) => {
        false
    };
}

pub(crate) use {life_table, metered, optional};

pub(crate) const SECONDS: u64 = 1;
pub(crate) const MINUTES: u64 = 60;
pub(crate) const HOURS: u64 = 3600;
