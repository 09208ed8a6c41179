//! The role matrix of the catalogue (A9), decided by the policies that are shipped.
#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests")]

use corten_iam::action::{self, Action, Rule};
use corten_iam::actor::{Actor, Scope};
use corten_iam::policy::{Policy, Target};
use corten_model::ids::{DomainId, ProjectId, RequestId, UserId};
use corten_model::refusal::Reason;
use corten_model::time::Timestamp;

/// Roles in a token hold what they imply.
fn with_implied(role: &str) -> Vec<String> {
    let chain = ["admin", "manager", "member", "reader"];
    match chain.iter().position(|one| *one == role) {
        Some(index) => chain[index..]
            .iter()
            .map(|name| (*name).to_owned())
            .collect(),
        None => vec![role.to_owned()],
    }
}

fn actor(user: &str, role: Option<&str>, scope: Scope) -> Actor {
    Actor {
        user_id: UserId::from(user),
        user_domain_id: DomainId::from("default"),
        scope,
        roles: role
            .map(with_implied)
            .unwrap_or_default()
            .into_iter()
            .collect(),
        expires_at: Timestamp(i64::MAX),
        request_id: RequestId::random(),
    }
}

fn on(project: &str) -> Scope {
    Scope::Project {
        id: ProjectId::from(project),
        domain_id: DomainId::from("default"),
    }
}

fn in_domain(domain: &str) -> Scope {
    Scope::Domain {
        id: DomainId::from(domain),
    }
}

/// Something in project `ours`, made by `creator`.
fn ours() -> Target {
    Target::project(&ProjectId::from("ours"))
        .in_domain(&DomainId::from("default"))
        .owned_by(&UserId::from("creator"))
}

fn allows(policy: &Policy, actor: &Actor, action: Action, target: &Target) -> bool {
    policy.check(actor, action, target).is_ok()
}

/// Who asks, in the order of the columns below.
fn people() -> [Actor; 7] {
    [
        actor("a", Some("admin"), on("ours")),
        actor("b", Some("manager"), on("ours")),
        actor("c", Some("member"), on("ours")),
        actor("d", Some("reader"), on("ours")),
        actor("e", Some("member"), on("theirs")),
        actor("f", None, Scope::Unscoped),
        actor("g", Some("reader"), Scope::System),
    ]
}

#[test]
fn the_project_roles_may_what_the_catalogue_says() {
    let policy = Policy::shipped().unwrap();
    let (yes, no) = (true, false);
    // The catalogue's number, the action, and: admin, manager, member, reader, foreign member, nobody, system reader.
    let matrix: [(&str, Action, [bool; 7]); 16] = [
        (
            "K116 K122 manage project members",
            action::identity::ASSIGNMENTS_WRITE,
            [yes, no, no, no, no, no, no],
        ),
        (
            "K118 K124 view instances",
            action::compute::SERVERS_READ,
            [yes, yes, yes, yes, no, no, yes],
        ),
        (
            "K118 K124 create instances",
            action::compute::SERVERS_CREATE,
            [yes, yes, yes, no, no, no, no],
        ),
        (
            "K118 K124 manage instances",
            action::compute::SERVERS_WRITE,
            [yes, yes, yes, no, no, no, no],
        ),
        (
            "K118 place on a host",
            action::compute::SERVERS_CREATE_ON_HOST,
            [yes, no, no, no, no, no, no],
        ),
        (
            "K118 K124 administer instances",
            action::compute::SERVERS_ADMINISTER,
            [yes, no, no, no, no, no, no],
        ),
        (
            "K118 server groups",
            action::compute::SERVER_GROUPS_WRITE,
            [yes, yes, yes, no, no, no, no],
        ),
        (
            "K120 K126 view images",
            action::image::IMAGES_READ,
            [yes, yes, yes, yes, no, no, yes],
        ),
        (
            "K120 manage images",
            action::image::IMAGES_CREATE,
            [yes, yes, yes, no, no, no, no],
        ),
        (
            "K120 manage images",
            action::image::IMAGES_WRITE,
            [yes, yes, yes, no, no, no, no],
        ),
        (
            "K120 publish images",
            action::image::IMAGES_PUBLISH,
            [yes, no, no, no, no, no, no],
        ),
        (
            "K129 flavors are seen by all",
            action::compute::FLAVORS_READ,
            [yes; 7],
        ),
        (
            "K129 flavors",
            action::compute::FLAVORS_WRITE,
            [yes, no, no, no, no, no, no],
        ),
        (
            "K129 quotas",
            action::compute::QUOTAS_READ,
            [yes, yes, yes, yes, no, no, yes],
        ),
        (
            "K129 quotas",
            action::compute::QUOTAS_WRITE,
            [yes, no, no, no, no, no, no],
        ),
        (
            "K129 hosts",
            action::compute::HOSTS_READ,
            [yes, no, no, no, no, no, yes],
        ),
    ];
    for (number, action, expected) in matrix {
        let decided = people().map(|actor| allows(&policy, &actor, action, &ours()));
        assert_eq!(decided, expected, "{number}: {}", action.name);
    }
}

/// K117, K123, K119, K125: public addresses and volumes have no actions yet; the rules they will name are proved.
#[test]
fn the_rules_for_addresses_and_volumes_hold() {
    let policy = Policy::shipped().unwrap();
    let (yes, no) = (true, false);
    for (number, rule, expected) in [
        (
            "K119 K125 view volumes",
            Rule::ProjectRead,
            [yes, yes, yes, yes, no, no, yes],
        ),
        (
            "K119 K125 manage volumes",
            Rule::ProjectWrite,
            [yes, yes, yes, no, no, no, no],
        ),
        (
            "K116 K122 members",
            Rule::DomainManage,
            [yes, no, no, no, no, no, no],
        ),
        (
            "K117 K123 set public IP",
            Rule::CloudAdmin,
            [yes, no, no, no, no, no, no],
        ),
    ] {
        for action in action::ALL.iter().filter(|action| action.rule == rule) {
            let decided = people().map(|actor| allows(&policy, &actor, *action, &ours()));
            assert_eq!(decided, expected, "{number}: {}", action.name);
        }
    }
}

/// K121, K127, K130: a key pair is its creator's. An administrator sees it and cannot delete it.
#[test]
fn only_the_creator_deletes_a_key_pair() {
    let policy = Policy::shipped().unwrap();
    let creator = actor("creator", Some("member"), on("ours"));
    let admin = actor("a", Some("admin"), on("ours"));
    let system_admin = actor("s", Some("admin"), Scope::System);
    let member = actor("c", Some("member"), on("ours"));
    let key_pair = Target::user(&UserId::from("creator"));
    assert!(allows(
        &policy,
        &creator,
        action::compute::KEYPAIRS_DELETE,
        &key_pair
    ));
    for other in [&admin, &system_admin, &member] {
        let refused = policy
            .check(other, action::compute::KEYPAIRS_DELETE, &key_pair)
            .unwrap_err();
        assert_eq!(refused.reason, Reason::Forbidden, "K130 answers 403");
    }
    assert!(allows(
        &policy,
        &creator,
        action::compute::KEYPAIRS_READ,
        &key_pair
    ));
    assert!(allows(
        &policy,
        &admin,
        action::compute::KEYPAIRS_READ,
        &key_pair
    ));
    assert!(!allows(
        &policy,
        &member,
        action::compute::KEYPAIRS_READ,
        &key_pair
    ));
}

/// K128: without a project there is nothing to write to, whoever asks but an administrator of the cloud.
#[test]
fn what_belongs_to_a_project_is_out_of_reach_without_one() {
    let policy = Policy::shipped().unwrap();
    for scope in [Scope::Unscoped, Scope::System, in_domain("default")] {
        let member = actor("c", Some("member"), scope);
        assert!(!allows(
            &policy,
            &member,
            action::compute::SERVERS_CREATE,
            &ours()
        ));
        assert!(!allows(
            &policy,
            &member,
            action::compute::SERVERS_CREATE,
            &Target::cloud()
        ));
    }
}

#[test]
fn a_foreign_thing_does_not_exist_and_an_own_one_is_forbidden() {
    let policy = Policy::shipped().unwrap();
    let [_, _, _, reader, foreign, _, _] = people();
    let missing = || corten_model::refusal::Refusal::no_such("Instance", 7);
    let check = |actor: &Actor| {
        let (write, read) = (
            action::compute::SERVERS_WRITE,
            action::compute::SERVERS_READ,
        );
        policy
            .check_hidden(actor, write, read, &ours(), missing)
            .unwrap_err()
    };
    assert_eq!(check(&foreign).reason, Reason::NotFound);
    let refused = check(&reader);
    assert_eq!(refused.reason, Reason::Forbidden);
    assert!(
        refused.message.contains("compute:servers:write") && refused.message.contains("reader"),
        "{refused}"
    );
}

#[test]
fn a_domain_is_managed_from_within() {
    let policy = Policy::shipped().unwrap();
    let target = Target::domain(&DomainId::from("default")).owned_by(&UserId::from("u"));
    let write = action::identity::USERS_WRITE;
    assert!(allows(
        &policy,
        &actor("m", Some("manager"), in_domain("default")),
        write,
        &target
    ));
    assert!(allows(
        &policy,
        &actor("m", Some("admin"), in_domain("default")),
        write,
        &target
    ));
    assert!(!allows(
        &policy,
        &actor("m", Some("member"), in_domain("default")),
        write,
        &target
    ));
    assert!(!allows(
        &policy,
        &actor("m", Some("manager"), in_domain("other")),
        write,
        &target
    ));
    assert!(!allows(
        &policy,
        &actor("m", Some("admin"), in_domain("other")),
        write,
        &target
    ));
    assert!(!allows(
        &policy,
        &actor("m", Some("manager"), on("ours")),
        write,
        &target
    ));
    assert!(allows(
        &policy,
        &actor("u", Some("reader"), on("ours")),
        action::identity::USERS_READ,
        &target
    ));
    assert!(!allows(
        &policy,
        &actor("v", Some("member"), on("ours")),
        action::identity::USERS_READ,
        &target
    ));
}

/// For any action: nobody without a role changes anything that is not theirs, and a system reader changes nothing.
#[test]
fn no_rule_lets_a_bystander_write() {
    let policy = Policy::shipped().unwrap();
    let bystanders = [
        actor("x", None, Scope::Unscoped),
        actor("x", Some("other"), on("theirs")),
        actor("x", Some("reader"), Scope::System),
        actor("x", Some("manager"), in_domain("other")),
    ];
    let writes = [
        Rule::ProjectWrite,
        Rule::ProjectManage,
        Rule::ProjectAdmin,
        Rule::Owner,
        Rule::OwnerOrAdmin,
        Rule::DomainManage,
        Rule::CloudAdmin,
    ];
    let mut checked = 0;
    for action in action::ALL
        .iter()
        .filter(|action| writes.contains(&action.rule))
    {
        for bystander in &bystanders {
            assert!(
                !allows(&policy, bystander, *action, &ours()),
                "{} by {bystander:?}",
                action.name
            );
            checked += 1;
        }
    }
    assert!(checked > 50, "the actions have rules");
}

#[test]
fn every_action_has_a_name_of_its_own_and_an_administrator_may_all_but_what_is_the_owners() {
    let policy = Policy::shipped().unwrap();
    let admin = actor("a", Some("admin"), Scope::System);
    let mut names: Vec<&str> = action::ALL.iter().map(|action| action.name).collect();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), action::ALL.len());
    for action in action::ALL {
        assert_eq!(
            allows(&policy, &admin, *action, &ours()),
            action.rule != Rule::Owner,
            "{}",
            action.name
        );
    }
}

#[test]
fn an_operators_directory_takes_the_place_of_the_shipped_policies() {
    let directory = tempfile::tempdir().unwrap();
    let text = "permit (principal is Actor, action == Action::\"compute:servers:read\", resource)\n\
                when { principal.roles.contains(\"auditor\") };\n";
    std::fs::write(directory.path().join("mine.cedar"), text).unwrap();
    let policy = Policy::from_directory(directory.path()).unwrap();
    let auditor = actor("x", Some("auditor"), on("theirs"));
    assert!(allows(
        &policy,
        &auditor,
        action::compute::SERVERS_READ,
        &ours()
    ));
    assert!(!allows(
        &policy,
        &auditor,
        action::compute::SERVERS_WRITE,
        &ours()
    ));
    std::fs::write(
        directory.path().join("mine.cedar"),
        "permit (principal,\n action in, resource);",
    )
    .unwrap();
    let error = Policy::from_directory(directory.path())
        .err()
        .unwrap()
        .to_string();
    assert!(error.contains("mine.cedar:2: "), "{error}");
}

/// Decisions are remembered. If the memory held less than a decision depends on, the order of questions would matter.
#[test]
fn the_order_of_questions_does_not_matter() {
    let nothing = Target::cloud();
    let targets = [
        nothing.clone(),
        ours(),
        Target::project(&ProjectId::from("ours")),
        Target::project(&ProjectId::from("theirs")),
        Target::domain(&DomainId::from("default")),
        Target::domain(&DomainId::from("other")),
        Target::user(&UserId::from("a")),
        Target::user(&UserId::from("d")),
    ];
    // Each differs from another in one attribute alone.
    let mut actors = people().to_vec();
    actors.push(actor("a", Some("admin"), in_domain("default")));
    actors.push(actor("a", Some("admin"), in_domain("other")));
    actors.push(actor("a", Some("reader"), on("ours")));
    actors.push(actor("a", Some("reader"), on("theirs")));
    actors.push(Actor {
        user_domain_id: DomainId::from("other"),
        ..actor("a", Some("reader"), on("ours"))
    });
    let questions: Vec<_> = actors
        .iter()
        .flat_map(|actor| targets.iter().map(move |target| (actor, target)))
        .flat_map(|(actor, target)| {
            action::ALL
                .iter()
                .map(move |action| (actor, target, *action))
        })
        .collect();
    let ask = |policy: &Policy, (actor, target, action): &(&Actor, &Target, Action)| {
        allows(policy, actor, *action, target)
    };
    let (forward, backward) = (Policy::shipped().unwrap(), Policy::shipped().unwrap());
    let first: Vec<_> = questions.iter().map(|one| ask(&forward, one)).collect();
    let mut reversed: Vec<_> = questions
        .iter()
        .rev()
        .map(|one| ask(&backward, one))
        .collect();
    reversed.reverse();
    let again: Vec<_> = questions.iter().map(|one| ask(&forward, one)).collect();
    assert!(first.contains(&true) && first.contains(&false));
    assert_eq!(first, reversed);
    assert_eq!(first, again);
}
