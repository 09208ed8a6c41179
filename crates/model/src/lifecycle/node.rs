//! The life cycle of a bare-metal node: Ironic's provision states (B6), its verbs, and what the steps report.
//!
//! Read it as a table, top to bottom: the verbs that an operator may send and where each leads, the events that the
//! running operation reports and where each leads, and the time budget. The only way into `available` is a finished
//! `cleaning`, so no server goes from one tenant to the next unwiped. A worker that dies in an "-ing" state loses
//! nothing: the operation resumes at its last committed step, where Ironic would mark the node as failed.

use super::table::{Budget, HOURS, MINUTES, OverBudget};
use super::words::word_enum;
use std::fmt;
use std::time::Duration;

word_enum! {
    /// Where a bare-metal server stands, by Ironic's word.
    pub enum ProvisionState: "provision state" {
        Enroll = "enroll",
        Verifying = "verifying",
        Manageable = "manageable",
        Inspecting = "inspecting",
        InspectWait = "inspect wait",
        InspectFailed = "inspect failed",
        Cleaning = "cleaning",
        CleanWait = "clean wait",
        CleanHold = "clean hold",
        CleanFailed = "clean failed",
        Available = "available",
        Deploying = "deploying",
        WaitCallBack = "wait call-back",
        DeployHold = "deploy hold",
        DeployFailed = "deploy failed",
        Active = "active",
        Deleting = "deleting",
        Error = "error",
        Adopting = "adopting",
        AdoptFailed = "adopt failed",
        Rescuing = "rescuing",
        RescueWait = "rescue wait",
        Rescue = "rescue",
        RescueFailed = "rescue failed",
        Unrescuing = "unrescuing",
        UnrescueFailed = "unrescue failed",
        Servicing = "servicing",
        ServiceWait = "service wait",
        ServiceHold = "service hold",
        ServiceFailed = "service failed",
    }
}

word_enum! {
    /// `target` of `PUT /v1/nodes/{id}/states/provision`.
    pub enum NodeVerb: "provision verb" {
        /// Deploy an instance.
        Active = "active",
        /// Take the instance off and clean.
        Deleted = "deleted",
        Rebuild = "rebuild",
        Manage = "manage",
        Provide = "provide",
        Inspect = "inspect",
        Abort = "abort",
        Clean = "clean",
        Adopt = "adopt",
        Rescue = "rescue",
        Unrescue = "unrescue",
        Unhold = "unhold",
        Service = "service",
    }
}

word_enum! {
    /// What the running operation reports.
    pub enum NodeEvent: "node event" {
        Done = "done",
        /// Cleaning asked for by hand is done; it leads back to where it was asked.
        DoneByHand = "done by hand",
        Fail = "fail",
        /// The next move is the ramdisk's.
        Wait = "wait",
        /// The ramdisk called.
        Resume = "resume",
        /// A step asks for a person's consent to go on.
        Hold = "hold",
        /// The instance is off; the wipe begins.
        Clean = "clean",
    }
}

word_enum! {
    /// `target` of `PUT /v1/nodes/{id}/states/power`.
    pub enum NodePowerTarget: "power target" {
        On = "power on",
        Off = "power off",
        Rebooting = "rebooting",
        SoftRebooting = "soft rebooting",
        SoftOff = "soft power off",
    }
}

/// How a provision state passes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum NodeStateKind {
    /// Stays until somebody wants something.
    Rests,
    /// A worker is at it.
    Moves,
    /// The ramdisk is at it.
    Waits,
    /// A person's consent is awaited.
    Holds,
    /// An attempt ended badly.
    Failed,
}

/// One provision state.
#[derive(Debug, Clone, Copy)]
pub struct NodeRow {
    pub state: ProvisionState,
    pub kind: NodeStateKind,
    pub meaning: &'static str,
    pub verbs: &'static [(NodeVerb, ProvisionState)],
    pub events: &'static [(NodeEvent, ProvisionState)],
    pub budget: Option<Budget>,
}

macro_rules! node_table {
    ($(
        $state:ident $kind:ident $meaning:literal
        verbs [$($verb:ident -> $verb_to:ident),*]
        events [$($event:ident -> $event_to:ident),*]
        $(within $amount:literal $unit:ident or $over:ident)?;
    )*) => {
        /// The provision states of a node.
        pub const TABLE: &[NodeRow] = &[$(NodeRow {
            state: ProvisionState::$state,
            kind: NodeStateKind::$kind,
            meaning: $meaning,
            verbs: &[$((NodeVerb::$verb, ProvisionState::$verb_to)),*],
            events: &[$((NodeEvent::$event, ProvisionState::$event_to)),*],
            budget: super::table::optional!($(Budget {
                span: Duration::from_secs($amount * $unit),
                over: OverBudget::$over,
            })?),
        },)*];
    };
}

node_table! {
    Enroll Rests "registered, nothing checked yet"
        verbs [Manage -> Verifying]
        events [];

    Verifying Moves "BMC address and credentials being tried"
        verbs []
        events [Done -> Manageable, Fail -> Enroll]
        within 5 MINUTES or MarkError;

    Manageable Rests "BMC answers; for the operator, not for tenants"
        verbs [Provide -> Cleaning, Clean -> Cleaning, Inspect -> Inspecting, Adopt -> Adopting]
        events [];

    Inspecting Moves "hardware being listed"
        verbs []
        events [Done -> Manageable, Fail -> InspectFailed, Wait -> InspectWait]
        within 10 MINUTES or RetryOperation;

    InspectWait Waits "ramdisk listing the hardware"
        verbs [Abort -> InspectFailed]
        events [Done -> Manageable, Fail -> InspectFailed, Resume -> Inspecting]
        within 30 MINUTES or RetryOtherBoot;

    InspectFailed Failed "hardware could not be listed"
        verbs [Inspect -> Inspecting, Manage -> Manageable]
        events []
        within 24 HOURS or CallOperator;

    Cleaning Moves "disks being wiped, settings being reset"
        verbs []
        events [Done -> Available, DoneByHand -> Manageable, Fail -> CleanFailed, Wait -> CleanWait,
                Hold -> CleanHold]
        within 60 MINUTES or RetryOperation;

    CleanWait Waits "ramdisk at a clean step"
        verbs [Abort -> CleanFailed]
        events [Resume -> Cleaning, Fail -> CleanFailed, Hold -> CleanHold]
        within 30 MINUTES or RetryOtherBoot;

    CleanHold Holds "cleaning stands until a person lets it go on"
        verbs [Unhold -> CleanWait, Abort -> CleanFailed]
        events []
        within 24 HOURS or CallOperator;

    CleanFailed Failed "not proved clean; no tenant gets it"
        verbs [Manage -> Manageable]
        events []
        within 60 MINUTES or CallOperator;

    Available Rests "clean, ready for an instance"
        verbs [Active -> Deploying, Manage -> Manageable]
        events [];

    Deploying Moves "OS being put on"
        verbs []
        events [Done -> Active, Fail -> DeployFailed, Wait -> WaitCallBack, Hold -> DeployHold]
        within 60 MINUTES or RetryOperation;

    WaitCallBack Waits "ramdisk booting or writing the image"
        verbs [Abort -> DeployFailed, Deleted -> Deleting]
        events [Resume -> Deploying, Fail -> DeployFailed, Hold -> DeployHold]
        within 30 MINUTES or RetryOtherBoot;

    DeployHold Holds "deployment stands until a person lets it go on"
        verbs [Unhold -> WaitCallBack, Abort -> DeployFailed]
        events []
        within 24 HOURS or CallOperator;

    DeployFailed Failed "OS could not be put on; quarantined the second time"
        verbs [Active -> Deploying, Rebuild -> Deploying, Deleted -> Deleting]
        events []
        within 60 MINUTES or CallOperator;

    Active Rests "carries an instance"
        verbs [Rebuild -> Deploying, Deleted -> Deleting, Rescue -> Rescuing, Service -> Servicing]
        events [];

    Deleting Moves "instance being taken off"
        verbs []
        events [Clean -> Cleaning, Fail -> Error]
        within 15 MINUTES or RetryOperation;

    Error Failed "instance could not be taken off"
        verbs [Rebuild -> Deploying, Deleted -> Deleting]
        events []
        within 60 MINUTES or CallOperator;

    Adopting Moves "running server being taken over as it is"
        verbs []
        events [Done -> Active, Fail -> AdoptFailed]
        within 10 MINUTES or RetryOperation;

    AdoptFailed Failed "running server could not be taken over"
        verbs [Adopt -> Adopting, Manage -> Manageable]
        events []
        within 24 HOURS or CallOperator;

    Rescuing Moves "rescue system being booted"
        verbs []
        events [Done -> Rescue, Wait -> RescueWait, Fail -> RescueFailed]
        within 15 MINUTES or RetryOperation;

    RescueWait Waits "rescue system about to call"
        verbs [Abort -> RescueFailed, Deleted -> Deleting]
        events [Resume -> Rescuing, Fail -> RescueFailed]
        within 30 MINUTES or RetryOtherBoot;

    Rescue Rests "runs the rescue system"
        verbs [Rescue -> Rescuing, Unrescue -> Unrescuing, Deleted -> Deleting]
        events [];

    RescueFailed Failed "rescue system did not come up"
        verbs [Rescue -> Rescuing, Unrescue -> Unrescuing, Deleted -> Deleting]
        events []
        within 60 MINUTES or CallOperator;

    Unrescuing Moves "own system being booted again"
        verbs []
        events [Done -> Active, Fail -> UnrescueFailed]
        within 15 MINUTES or RetryOperation;

    UnrescueFailed Failed "own system did not come up again"
        verbs [Rescue -> Rescuing, Unrescue -> Unrescuing, Deleted -> Deleting]
        events []
        within 60 MINUTES or CallOperator;

    Servicing Moves "firmware or settings being changed under an instance"
        verbs []
        events [Done -> Active, Fail -> ServiceFailed, Wait -> ServiceWait, Hold -> ServiceHold]
        within 60 MINUTES or RetryOperation;

    ServiceWait Waits "ramdisk at a service step"
        verbs [Abort -> ServiceFailed, Deleted -> Deleting]
        events [Resume -> Servicing, Fail -> ServiceFailed, Hold -> ServiceHold]
        within 30 MINUTES or RetryOtherBoot;

    ServiceHold Holds "service stands until a person lets it go on"
        verbs [Service -> Servicing, Unhold -> ServiceWait, Abort -> ServiceFailed]
        events [Fail -> ServiceFailed]
        within 24 HOURS or CallOperator;

    ServiceFailed Failed "firmware or settings could not be changed"
        verbs [Service -> Servicing, Rescue -> Rescuing, Abort -> Active, Deleted -> Deleting]
        events [Wait -> ServiceWait, Hold -> ServiceHold]
        within 60 MINUTES or CallOperator;
}

impl NodeVerb {
    /// A verb as clients send it; `deploy` and `undeploy` are other names of two of them.
    pub fn from_target(text: &str) -> Option<Self> {
        match text {
            "deploy" => Some(Self::Active),
            "undeploy" => Some(Self::Deleted),
            word => word.parse().ok(),
        }
    }

    /// The state that the node is on its way to once the verb is accepted (`target_provision_state`); `None` where
    /// the verb ends or continues what was under way.
    pub fn target(self) -> Option<ProvisionState> {
        match self {
            Self::Manage | Self::Clean | Self::Inspect => Some(ProvisionState::Manageable),
            Self::Provide | Self::Deleted => Some(ProvisionState::Available),
            Self::Active | Self::Rebuild | Self::Adopt | Self::Unrescue | Self::Service => {
                Some(ProvisionState::Active)
            }
            Self::Rescue => Some(ProvisionState::Rescue),
            Self::Abort | Self::Unhold => None,
        }
    }
}

impl ProvisionState {
    /// The row of the table.
    pub fn row(self) -> Option<&'static NodeRow> {
        TABLE.iter().find(|row| row.state == self)
    }

    /// The verbs that are legal now, in the order of the table.
    pub fn legal(self) -> impl Iterator<Item = NodeVerb> {
        self.row()
            .into_iter()
            .flat_map(|row| row.verbs.iter().map(|(verb, _)| *verb))
    }

    /// Where an event leads; `None` if it cannot happen here.
    pub fn on(self, event: NodeEvent) -> Option<ProvisionState> {
        let row = self.row()?;
        row.events
            .iter()
            .find(|(known, _)| *known == event)
            .map(|(_, to)| *to)
    }

    /// Whether the node's record may be removed.
    pub fn may_be_removed(self) -> bool {
        matches!(
            self,
            Self::Enroll | Self::Manageable | Self::Available | Self::AdoptFailed
        )
    }
}

/// A verb that the provision state forbids.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IllegalVerb {
    pub verb: NodeVerb,
    pub state: ProvisionState,
    pub legal: Vec<NodeVerb>,
}

impl IllegalVerb {
    /// The text of the refusal: Ironic's sentence, then what is legal now.
    pub fn message(&self, node: impl fmt::Display) -> String {
        let Self { verb, state, legal } = self;
        let refused = format!(
            "The requested action \"{verb}\" can not be performed on node \"{node}\" while it is in state \"{state}\"."
        );
        if legal.is_empty() {
            return format!("{refused} No verb is legal until the running work ends.");
        }
        let legal: Vec<_> = legal.iter().map(|verb| verb.as_str()).collect();
        format!("{refused} Legal now: {}.", legal.join(", "))
    }
}

/// Decides a verb: the state from the moment of acceptance on.
pub fn decide(state: ProvisionState, verb: NodeVerb) -> Result<ProvisionState, IllegalVerb> {
    let moves = state.row().map_or(&[][..], |row| row.verbs);
    match moves.iter().find(|(known, _)| *known == verb) {
        Some((_, to)) => Ok(*to),
        None => Err(IllegalVerb {
            verb,
            state,
            legal: state.legal().collect(),
        }),
    }
}
