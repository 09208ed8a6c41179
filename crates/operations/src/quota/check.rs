//! The checks before a project gets more of something. Each runs in the transaction that writes what was asked for.

use super::{DEFAULT_CLASS, class_limits, fixed_ips_limit, limit_of, limits, named, servers_of};
use crate::context::Context;
use crate::network::quota as network;
use corten_iam::actor::Actor;
use corten_model::ids::{ProjectId, UserId};
use corten_model::refusal::Refusal;
use corten_store::instances::Usage;
use corten_store::quotas::{self, Limits, Quota};
use corten_store::server_groups::{self, ServerGroup};
use corten_store::{Failure, Tx, keypairs, record};

/// Refuses with 403 if `more` would exceed the project's quota or the user's in it. The caller writes what it asked
/// for in the same transaction; until that ends, nobody else passes this check for the project.
pub async fn check_instances(
    tx: &mut Tx,
    cx: &Context,
    project: &ProjectId,
    user: &UserId,
    more: Usage,
) -> Result<(), Failure> {
    quotas::serialize(tx, project).await?;
    let used = servers_of(tx, project, None).await?;
    fits(more, used, &limits(cx, tx, project, None).await?)?;
    if record::get::<Quota>(tx, Quota::key(project, Some(user)))
        .await?
        .is_some()
    {
        let used = servers_of(tx, project, Some(user)).await?;
        fits(more, used, &limits(cx, tx, project, Some(user)).await?)?;
    }
    Ok(())
}

/// Nova's sentence, with every resource that is short.
fn fits(more: Usage, used: Usage, limits: &Limits) -> Result<(), Refusal> {
    let mut short = Vec::new();
    for ((name, more), (_, used)) in named(more).into_iter().zip(named(used)) {
        let limit = limit_of(limits, name);
        if limit >= 0 && more > 0 && used + more > limit {
            short.push((name, more, used, limit));
        }
    }
    if short.is_empty() {
        return Ok(());
    }
    let join = |part: fn(&(&str, i64, i64, i64)) -> String| {
        short.iter().map(part).collect::<Vec<_>>().join(", ")
    };
    let names = join(|(name, ..)| (*name).to_owned());
    Err(Refusal::over_quota(format!(
        "Quota exceeded for {names}: Requested {}, but already used {} of {} {names}",
        join(|(_, more, ..)| more.to_string()),
        join(|(_, _, used, _)| used.to_string()),
        join(|(.., limit)| limit.to_string()),
    )))
}

/// Refuses with 403 if a server would have more metadata than its project allows.
pub async fn check_metadata_items(
    tx: &mut Tx,
    cx: &Context,
    project: &ProjectId,
    items: i64,
) -> Result<(), Failure> {
    // No limit is below none.
    if items == 0 {
        return Ok(());
    }
    let limit = limit_of(&limits(cx, tx, project, None).await?, "metadata_items");
    if limit >= 0 && items > limit {
        return Err(Refusal::over_quota(format!(
            "Maximum number of metadata items exceeds {limit}: {items} were given."
        ))
        .into());
    }
    Ok(())
}

/// Refuses with 403 if a server group would get more members than its project allows.
pub async fn check_group_members(
    tx: &mut Tx,
    cx: &Context,
    group: &ServerGroup,
    more: i64,
) -> Result<(), Failure> {
    let limit = limit_of(
        &limits(cx, tx, &group.project_id, None).await?,
        "server_group_members",
    );
    let members = server_groups::members(tx, std::slice::from_ref(group))
        .await?
        .len() as i64;
    if limit >= 0 && members + more > limit {
        return Err(Refusal::over_quota(format!(
            "Quota exceeded, too many servers in group: {members} of {limit} are in '{}', {more} more were asked for.",
            group.name
        ))
        .into());
    }
    Ok(())
}

/// Refuses with 403 if the files to be put into a server are too many or too large: for each, the length of its path
/// and of its content in bytes.
pub async fn check_injected_files(
    tx: &mut Tx,
    cx: &Context,
    project: &ProjectId,
    files: &[(usize, usize)],
) -> Result<(), Failure> {
    if files.is_empty() {
        return Ok(());
    }
    let limits = limits(cx, tx, project, None).await?;
    let over = |name: &str, size: usize| {
        let limit = limit_of(&limits, name);
        usize::try_from(limit)
            .is_ok_and(|limit| size > limit)
            .then_some(limit)
    };
    let refuse = |text: String| Err(Failure::from(Refusal::over_quota(text)));
    if let Some(limit) = over("injected_files", files.len()) {
        return refuse(format!(
            "Personality file limit exceeded: {} files, at most {limit} are allowed",
            files.len()
        ));
    }
    for (path, content) in files {
        if let Some(limit) = over("injected_file_path_bytes", *path) {
            return refuse(format!(
                "Personality file path exceeds maximum {limit}: it has {path} bytes"
            ));
        }
        if let Some(limit) = over("injected_file_content_bytes", *content) {
            return refuse(format!(
                "Personality file content exceeds maximum {limit}: it has {content} bytes"
            ));
        }
    }
    Ok(())
}

/// Refuses with 403 if the servers of a project, with what this transaction gave them, have more addresses than they may.
pub async fn check_fixed_ips(
    tx: &mut Tx,
    cx: &Context,
    project: &ProjectId,
) -> Result<(), Failure> {
    let limit = fixed_ips_limit(cx, tx, project).await?;
    if limit < 0 {
        return Ok(());
    }
    quotas::serialize(tx, project).await?;
    let used = network::fixed_ips(tx, project).await?;
    if used > limit {
        return Err(Refusal::over_quota(format!(
            "Maximum number of fixed IPs exceeded: the servers of project {project} may have {limit} addresses, and \
             would have {used}."
        ))
        .into());
    }
    Ok(())
}

/// Refuses with 403 if a user has as many key pairs as they may.
pub async fn check_key_pairs(
    cx: &Context,
    tx: &mut Tx,
    actor: &Actor,
    user: &UserId,
) -> Result<(), Failure> {
    let limits = match actor.project_id() {
        Some(project) => limits(cx, tx, project, Some(user)).await?,
        None => class_limits(cx, tx, DEFAULT_CLASS).await?,
    };
    let count = keypairs::count(tx, user).await?;
    room_for_one("key_pairs", "key pairs", count, &limits)
}

/// Refuses with 403 if a project, or the user in it, has as many server groups as it may.
pub async fn check_server_groups(
    cx: &Context,
    tx: &mut Tx,
    project: &ProjectId,
    user: &UserId,
) -> Result<(), Failure> {
    quotas::serialize(tx, project).await?;
    let count = server_groups::count(tx, project, None).await?;
    room_for_one(
        "server_groups",
        "server groups",
        count,
        &limits(cx, tx, project, None).await?,
    )?;
    let count = server_groups::count(tx, project, Some(user)).await?;
    room_for_one(
        "server_groups",
        "server groups",
        count,
        &limits(cx, tx, project, Some(user)).await?,
    )
}

fn room_for_one(resource: &str, words: &str, count: i64, limits: &Limits) -> Result<(), Failure> {
    let limit = limit_of(limits, resource);
    if limit >= 0 && count >= limit {
        return Err(Refusal::over_quota(format!(
            "Quota exceeded, too many {words}: {count} of {limit} are used. Delete some, or ask for a larger quota."
        ))
        .into());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits(instances: i64, cores: i64, ram: i64) -> Limits {
        [("instances", instances), ("cores", cores), ("ram", ram)]
            .map(|(name, limit)| (name.to_owned(), limit))
            .into()
    }

    #[test]
    fn what_exceeds_a_quota_is_named_with_what_is_used() {
        let one = Usage {
            instances: 1,
            vcpus: 2,
            memory_mib: 64,
        };
        let used = Usage {
            instances: 10,
            vcpus: 20,
            memory_mib: 640,
        };
        let refusal = fits(one, used, &limits(10, -1, 51_200)).unwrap_err();
        assert_eq!(
            refusal.message,
            "Quota exceeded for instances: Requested 1, but already used 10 of 10 instances"
        );
        let refusal = fits(one, used, &limits(10, 21, -1)).unwrap_err();
        assert_eq!(
            refusal.message,
            "Quota exceeded for cores, instances: Requested 2, 1, but already used 20, 10 of 21, 10 cores, instances"
        );
    }

    #[test]
    fn no_limit_is_no_limit_and_over_use_blocks_only_more() {
        let one = Usage {
            instances: 1,
            vcpus: 1,
            memory_mib: 64,
        };
        let used = Usage {
            instances: 99,
            vcpus: 99,
            memory_mib: 99_999,
        };
        assert!(fits(one, used, &limits(-1, -1, -1)).is_ok());
        // A resize to less memory passes although the quota was lowered below what is used.
        let smaller = Usage {
            instances: 0,
            vcpus: 0,
            memory_mib: -64,
        };
        assert!(fits(smaller, used, &limits(1, 1, 1)).is_ok());
        assert!(fits(one, Usage::default(), &limits(0, 1, 64)).is_err());
    }
}
