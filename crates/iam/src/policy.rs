//! The policy decision: may this actor do this to that? Decided by Cedar over `policy/*.cedar`.

use crate::action::{self, Action, Rule};
use crate::actor::{Actor, Scope};
use crate::decisions::{Decisions, Question};
use crate::policy_source::{self, PolicyError, Source};
use cedar_policy::{
    Authorizer, Context, Decision, Entities, Entity, EntityId, EntityTypeName, EntityUid,
    PolicySet, Request, RestrictedExpression,
};
use corten_model::ids::{DomainId, ProjectId, UserId};
use corten_model::refusal::Refusal;
use std::collections::{HashMap, HashSet};
use std::path::Path;

/// What an action is done to, as far as policies look at it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct Target {
    pub project_id: Option<ProjectId>,
    pub domain_id: Option<DomainId>,
    /// The user that the target belongs to: the creator of a key pair, the user of a credential.
    pub owner: Option<UserId>,
}

impl Target {
    /// Something of the cloud as a whole.
    pub fn cloud() -> Self {
        Self::default()
    }

    pub fn project(id: &ProjectId) -> Self {
        Self {
            project_id: Some(id.clone()),
            ..Self::default()
        }
    }

    pub fn domain(id: &DomainId) -> Self {
        Self {
            domain_id: Some(id.clone()),
            ..Self::default()
        }
    }

    pub fn user(id: &UserId) -> Self {
        Self {
            owner: Some(id.clone()),
            ..Self::default()
        }
    }

    pub fn owned_by(self, user: &UserId) -> Self {
        Self {
            owner: Some(user.clone()),
            ..self
        }
    }

    pub fn in_domain(self, domain: &DomainId) -> Self {
        Self {
            domain_id: Some(domain.clone()),
            ..self
        }
    }
}

/// The policies in force, with everything about the actions prepared.
pub struct Policy {
    policies: PolicySet,
    authorizer: Authorizer,
    actor_type: EntityTypeName,
    target_uid: EntityUid,
    /// By name: the action as Cedar sees it, inside the group of its rule.
    actions: HashMap<&'static str, Entity>,
    decisions: Decisions,
}

impl Policy {
    /// The policies shipped with Corten.
    pub fn shipped() -> Result<Self, PolicyError> {
        Self::of(&policy_source::shipped())
    }

    /// The `*.cedar` files of a directory in place of the shipped ones.
    pub fn from_directory(directory: &Path) -> Result<Self, PolicyError> {
        Self::of(&policy_source::from_directory(directory)?)
    }

    fn of(sources: &[Source]) -> Result<Self, PolicyError> {
        let policies = policy_source::compile(sources)?;
        let type_name = |name: &str| name.parse::<EntityTypeName>().map_err(PolicyError::inside);
        let action_type = type_name("Action")?;
        let group = |rule: Rule| uid(&action_type, rule.as_str());
        let actions = action::ALL
            .iter()
            .map(|action| {
                let parents = HashSet::from([group(action.rule)]);
                let entity = Entity::new(uid(&action_type, action.name), HashMap::new(), parents);
                entity
                    .map(|entity| (action.name, entity))
                    .map_err(PolicyError::inside)
            })
            .collect::<Result<_, _>>()?;
        Ok(Self {
            policies,
            authorizer: Authorizer::new(),
            actor_type: type_name("Actor")?,
            target_uid: uid(&type_name("Target")?, ""),
            actions,
            decisions: Decisions::default(),
        })
    }

    /// May `actor` do `action` to `target`? The refusal names the action and the roles the actor has.
    pub fn check(&self, actor: &Actor, action: Action, target: &Target) -> Result<(), Refusal> {
        match self.allows(actor, action, target) {
            Ok(true) => Ok(()),
            Ok(false) => Err(refusal(actor, action, target)),
            Err(error) => {
                tracing::error!(%error, action = action.name, "a policy could not be decided; the request is refused");
                Err(refusal(actor, action, target))
            }
        }
    }

    /// Like [`Self::check`], but what the actor may not even read does not exist for them: `missing` (404) in place of
    /// a 403 that would tell them it does.
    pub fn check_hidden(
        &self,
        actor: &Actor,
        action: Action,
        read: Action,
        target: &Target,
        missing: impl FnOnce() -> Refusal,
    ) -> Result<(), Refusal> {
        match self.check(actor, read, target) {
            Ok(()) => self.check(actor, action, target),
            Err(_) => Err(missing()),
        }
    }

    fn allows(&self, actor: &Actor, action: Action, target: &Target) -> Result<bool, PolicyError> {
        let question = Question::of(actor, action.name, target);
        if let Some(allowed) = self.decisions.get(&question) {
            return Ok(allowed);
        }
        let (allowed, sound) = self.decide(actor, action, target)?;
        // What a broken policy answered is asked again, so that the log tells of it each time.
        if sound {
            self.decisions.put(question, allowed);
        }
        Ok(allowed)
    }

    /// Cedar's answer, and whether every policy could be evaluated.
    fn decide(
        &self,
        actor: &Actor,
        action: Action,
        target: &Target,
    ) -> Result<(bool, bool), PolicyError> {
        let principal = uid(&self.actor_type, actor.user_id.as_str());
        let action_entity = self
            .actions
            .get(action.name)
            .cloned()
            .ok_or_else(|| PolicyError::inside(action.name))?;
        let action_uid = action_entity.uid();
        let request = Request::new(
            principal.clone(),
            action_uid,
            self.target_uid.clone(),
            Context::empty(),
            None,
        )
        .map_err(PolicyError::inside)?;
        let entities = [
            Entity::new(principal, actor_attributes(actor), HashSet::new())
                .map_err(PolicyError::inside)?,
            Entity::new(
                self.target_uid.clone(),
                target_attributes(target),
                HashSet::new(),
            )
            .map_err(PolicyError::inside)?,
            action_entity,
        ];
        let entities = Entities::from_entities(entities, None).map_err(PolicyError::inside)?;
        let answer = self
            .authorizer
            .is_authorized(&request, &self.policies, &entities);
        let mut sound = true;
        for error in answer.diagnostics().errors() {
            tracing::error!(%error, action = action.name, "a policy failed and was not counted");
            sound = false;
        }
        Ok((answer.decision() == Decision::Allow, sound))
    }
}

fn uid(kind: &EntityTypeName, id: &str) -> EntityUid {
    EntityUid::from_type_name_and_id(kind.clone(), EntityId::new(id))
}

type Attributes = HashMap<String, RestrictedExpression>;

fn text(value: &str) -> RestrictedExpression {
    RestrictedExpression::new_string(value.to_owned())
}

fn actor_attributes(actor: &Actor) -> Attributes {
    let roles = RestrictedExpression::new_set(actor.roles.iter().map(|role| text(role)));
    let mut attributes = HashMap::from([
        ("user".to_owned(), text(actor.user_id.as_str())),
        (
            "user_domain".to_owned(),
            text(actor.user_domain_id.as_str()),
        ),
        ("roles".to_owned(), roles),
    ]);
    let scope = match &actor.scope {
        Scope::Unscoped => "unscoped",
        Scope::Project { id, domain_id } => {
            attributes.insert("project".to_owned(), text(id.as_str()));
            attributes.insert("project_domain".to_owned(), text(domain_id.as_str()));
            "project"
        }
        Scope::Domain { id } => {
            attributes.insert("domain".to_owned(), text(id.as_str()));
            "domain"
        }
        Scope::System => "system",
    };
    attributes.insert("scope".to_owned(), text(scope));
    attributes
}

fn target_attributes(target: &Target) -> Attributes {
    let Target {
        project_id,
        domain_id,
        owner,
    } = target;
    let mut attributes = Attributes::new();
    if let Some(id) = project_id {
        attributes.insert("project".to_owned(), text(id.as_str()));
    }
    if let Some(id) = domain_id {
        attributes.insert("domain".to_owned(), text(id.as_str()));
    }
    if let Some(id) = owner {
        attributes.insert("owner".to_owned(), text(id.as_str()));
    }
    attributes
}

fn refusal(actor: &Actor, action: Action, target: &Target) -> Refusal {
    let roles: Vec<&str> = actor.roles.iter().map(String::as_str).collect();
    let roles = if roles.is_empty() {
        "no role".to_owned()
    } else {
        format!("the roles {}", roles.join(", "))
    };
    let scope = match &actor.scope {
        Scope::Unscoped => "no scope".to_owned(),
        Scope::Project { id, .. } => format!("project {id}"),
        Scope::Domain { id } => format!("domain {id}"),
        Scope::System => "the system".to_owned(),
    };
    let elsewhere = match (&actor.scope, &target.project_id) {
        (Scope::Project { id, .. }, Some(other)) if id != other => {
            " The request is about another project than the token's."
        }
        _ => "",
    };
    Refusal::forbidden(format!(
        "You are not authorized to perform the requested action: {}. Its rule is {}; this token has {roles} on {scope}.{elsewhere}",
        action.name,
        action.rule.as_str()
    ))
}
