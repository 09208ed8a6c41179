//! Who sees an image, who may change it, and how it is shared (K97, K103, K120).
#![allow(clippy::unwrap_used, clippy::panic)]

mod image_fixture;

use corten_iam::actor::Actor;
use corten_model::ids::{ImageId, ProjectId};
use corten_model::refusal::Reason;
use corten_operations::image::{self, Attribute, Change, List, NewImage};
use corten_store::images::{MemberStatus, Visibility, VisibilityFilter};
use image_fixture::{Cloud, admin, lenient, member, reader, refusal};

async fn listed(cloud: &Cloud, actor: &Actor, status: Option<MemberStatus>) -> Vec<ImageId> {
    let list = List {
        visibility: VisibilityFilter::Usual,
        member_status: status,
        conditions: Vec::new(),
        order: Vec::new(),
        marker: None,
        limit: 100,
    };
    let images = image::list(&cloud.cx, actor, list).await.unwrap();
    images.into_iter().map(|image| image.id).collect()
}

async fn show_to(
    cloud: &Cloud,
    id: ImageId,
    actor: &Actor,
    visibility: Visibility,
) -> Result<(), corten_store::Failure> {
    let change = vec![Change::Set(Attribute::Visibility(visibility))];
    image::update(&cloud.cx, actor, id, change)
        .await
        .map(|_| ())
}

const ACCEPTED: Option<MemberStatus> = Some(MemberStatus::Accepted);

#[tokio::test]
async fn an_image_of_another_project_does_not_exist() {
    let cloud = Cloud::open(lenient()).await;
    let id = cloud.active().await;
    let stranger = member("q");
    assert_eq!(
        refusal(image::get(&cloud.cx, &stranger, id).await).0,
        Reason::NotFound
    );
    assert_eq!(
        refusal(image::delete(&cloud.cx, &stranger, id).await).0,
        Reason::NotFound
    );
    assert_eq!(
        refusal(image::deactivate(&cloud.cx, &stranger, id).await).0,
        Reason::NotFound
    );
    assert_eq!(
        refusal(image::get_usable(&cloud.cx, &stranger, id).await).0,
        Reason::NotFound
    );
    assert!(listed(&cloud, &stranger, ACCEPTED).await.is_empty());
    assert_eq!(listed(&cloud, &reader("p"), ACCEPTED).await, [id]);
    assert_eq!(listed(&cloud, &admin(), ACCEPTED).await, [id]);
}

/// K120: members manage images, readers look at them.
#[tokio::test]
async fn a_reader_looks_and_touches_nothing() {
    let cloud = Cloud::open(lenient()).await;
    let id = cloud.active().await;
    let reader = reader("p");
    assert!(image::get(&cloud.cx, &reader, id).await.is_ok());
    let forbidden = [
        refusal(image::create(&cloud.cx, &reader, NewImage::default()).await).0,
        refusal(image::add_tag(&cloud.cx, &reader, id, "x".to_owned()).await).0,
        refusal(image::delete(&cloud.cx, &reader, id).await).0,
        refusal(image::deactivate(&cloud.cx, &reader, id).await).0,
        refusal(image::add_member(&cloud.cx, &reader, id, ProjectId::from("q")).await).0,
        refusal(image::download(&cloud.cx, &reader, id).await.map(|_| ())).0,
    ];
    assert!(
        forbidden.iter().all(|reason| *reason == Reason::Forbidden),
        "{forbidden:?}"
    );
}

/// K97: images for all users come from the provider.
#[tokio::test]
async fn only_the_administrator_of_the_cloud_publishes() {
    let cloud = Cloud::open(lenient()).await;
    let id = cloud.active().await;
    let refused = refusal(show_to(&cloud, id, &member("p"), Visibility::Public).await);
    assert_eq!(refused.0, Reason::Forbidden);
    show_to(&cloud, id, &admin(), Visibility::Public)
        .await
        .unwrap();
    assert_eq!(listed(&cloud, &member("q"), ACCEPTED).await, [id]);
    assert!(image::get_usable(&cloud.cx, &member("q"), id).await.is_ok());
    assert!(
        image::download(&cloud.cx, &member("q"), id)
            .await
            .unwrap()
            .is_some()
    );
    assert_eq!(
        refusal(image::delete(&cloud.cx, &member("q"), id).await).0,
        Reason::Forbidden
    );
}

#[tokio::test]
async fn a_community_image_is_found_by_those_who_ask() {
    let cloud = Cloud::open(lenient()).await;
    let id = cloud.active().await;
    show_to(&cloud, id, &member("p"), Visibility::Community)
        .await
        .unwrap();
    assert!(listed(&cloud, &member("q"), ACCEPTED).await.is_empty());
    assert!(image::get(&cloud.cx, &member("q"), id).await.is_ok());
}

/// K103: an image is shared with another project, which says for itself whether it wants it.
#[tokio::test]
async fn a_shared_image_is_listed_once_its_member_accepts() {
    let cloud = Cloud::open(lenient()).await;
    let (cx, id) = (&cloud.cx, cloud.active().await);
    let (owner, other, q) = (member("p"), member("q"), ProjectId::from("q"));
    let added = image::add_member(cx, &owner, id, q.clone()).await.unwrap();
    assert_eq!(added.status, MemberStatus::Pending);
    assert_eq!(
        refusal(image::add_member(cx, &owner, id, q.clone()).await).0,
        Reason::Conflict
    );
    assert!(image::get(cx, &other, id).await.is_ok());
    assert!(listed(&cloud, &other, ACCEPTED).await.is_empty());
    assert_eq!(
        listed(&cloud, &other, Some(MemberStatus::Pending)).await,
        [id]
    );

    let accept = |actor: Actor| {
        let (cx, q) = (cloud.cx.clone(), q.clone());
        async move { image::set_member_status(&cx, &actor, id, &q, MemberStatus::Accepted).await }
    };
    assert_eq!(refusal(accept(owner.clone()).await).0, Reason::Forbidden);
    assert_eq!(refusal(accept(reader("q")).await).0, Reason::Forbidden);
    accept(other.clone()).await.unwrap();
    assert_eq!(listed(&cloud, &other, ACCEPTED).await, [id]);

    image::add_member(cx, &owner, id, ProjectId::from("r"))
        .await
        .unwrap();
    assert_eq!(image::members(cx, &owner, id).await.unwrap().len(), 2);
    assert_eq!(image::members(cx, &other, id).await.unwrap().len(), 1);
    assert_eq!(
        refusal(image::remove_member(cx, &other, id, &q).await).0,
        Reason::Forbidden
    );
    image::remove_member(cx, &owner, id, &q).await.unwrap();
    assert_eq!(
        refusal(image::get(cx, &other, id).await).0,
        Reason::NotFound
    );
}

#[tokio::test]
async fn only_shared_images_have_members() {
    let cloud = Cloud::open(lenient()).await;
    let id = cloud.active().await;
    show_to(&cloud, id, &member("p"), Visibility::Private)
        .await
        .unwrap();
    let refused =
        refusal(image::add_member(&cloud.cx, &member("p"), id, ProjectId::from("q")).await);
    assert_eq!(refused.0, Reason::Forbidden);
    assert!(refused.1.contains("private"), "{}", refused.1);
}

#[tokio::test]
async fn a_deactivated_image_cannot_be_used_until_it_is_reactivated() {
    let cloud = Cloud::open(lenient()).await;
    let (cx, owner, id) = (&cloud.cx, member("p"), cloud.active().await);
    image::deactivate(cx, &owner, id).await.unwrap();
    image::deactivate(cx, &owner, id).await.unwrap();
    assert_eq!(
        refusal(image::download(cx, &owner, id).await.map(|_| ())).0,
        Reason::Forbidden
    );
    assert!(
        refusal(image::get_usable(cx, &owner, id).await)
            .1
            .contains("deactivated")
    );
    assert!(image::download(cx, &admin(), id).await.unwrap().is_some());
    image::reactivate(cx, &owner, id).await.unwrap();
    assert!(image::get_usable(cx, &owner, id).await.is_ok());
    let queued = cloud.queued("raw").await;
    let (reason, message) = refusal(image::deactivate(cx, &owner, queued).await);
    assert_eq!(reason, Reason::Forbidden);
    assert!(message.contains("queued"), "{message}");
}

#[tokio::test]
async fn an_image_belongs_to_a_project_and_only_an_administrator_gives_it_away() {
    let cloud = Cloud::open(lenient()).await;
    let id = cloud.active().await;
    let give =
        |owner: Option<&str>| vec![Change::Set(Attribute::Owner(owner.map(ProjectId::from)))];
    let refused = refusal(image::update(&cloud.cx, &member("p"), id, give(Some("q"))).await);
    assert_eq!(refused.0, Reason::Forbidden);
    assert_eq!(
        refusal(image::update(&cloud.cx, &admin(), id, give(None)).await).0,
        Reason::Invalid
    );
    image::update(&cloud.cx, &admin(), id, give(Some("q")))
        .await
        .unwrap();
    assert_eq!(listed(&cloud, &member("q"), ACCEPTED).await, [id]);
    let foreign = NewImage {
        owner: Some(ProjectId::from("q")),
        ..NewImage::default()
    };
    assert_eq!(
        refusal(image::create(&cloud.cx, &member("p"), foreign).await).0,
        Reason::Forbidden
    );
}
