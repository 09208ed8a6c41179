//! The list of images on both engines: who sees what, every kind of filter, and pages.
#![allow(clippy::unwrap_used)]

use corten_model::ids::{ImageId, ProjectId};
use corten_model::time::Timestamp;
use corten_store::images::{
    self, Comparison, Condition, Content, Image, ImageMember, ImageStatus, ListQuery, MemberStatus,
    NumberColumn, TextColumn, Viewer, Visibility, VisibilityFilter,
};
use corten_store::record::Direction;
use corten_store::{Tx, on_both_engines};
use std::collections::{BTreeMap, BTreeSet};

fn image(name: &str, owner: &str, visibility: Visibility, second: i64) -> Image {
    let moment = Timestamp(1_700_000_000_250_000 + second * 1_000_000);
    Image {
        id: ImageId::random(),
        name: Some(name.to_owned()),
        status: ImageStatus::Active,
        visibility,
        owner: Some(ProjectId::from(owner)),
        protected: false,
        hidden: false,
        disk_format: Some("qcow2".to_owned()),
        container_format: Some("bare".to_owned()),
        content: Some(Content {
            size_bytes: 1000 * second,
            virtual_size_bytes: None,
            md5: "0".repeat(32),
            sha512: "0".repeat(128),
        }),
        min_disk_gib: 0,
        min_ram_mib: 0,
        tags: BTreeSet::from([format!("tag-{name}")]),
        properties: BTreeMap::from([("os_distro".to_owned(), name.to_owned())]),
        incoming: None,
        staged: None,
        import: None,
        created_at: moment,
        updated_at: moment,
        status_since: moment,
    }
}

fn all_of(viewer: &str) -> ListQuery {
    ListQuery {
        viewer: Viewer::Project(ProjectId::from(viewer)),
        visibility: VisibilityFilter::Usual,
        member_status: None,
        conditions: Vec::new(),
        order: vec![("name", Direction::Ascending)],
        marker: None,
        limit: 100,
    }
}

async fn names(tx: &mut Tx, query: ListQuery) -> Vec<String> {
    let images = query.run(tx).await.unwrap();
    images.into_iter().filter_map(|image| image.name).collect()
}

/// `a` to `e`: private, public, shared with demo, community, private of another project.
async fn make_images(tx: &mut Tx) -> Vec<Image> {
    let made = vec![
        image("a", "demo", Visibility::Private, 1),
        image("b", "other", Visibility::Public, 2),
        image("c", "other", Visibility::Shared, 3),
        image("d", "other", Visibility::Community, 4),
        image("e", "other", Visibility::Private, 5),
    ];
    for image in &made {
        images::insert(tx, image).await.unwrap();
    }
    let moment = made[2].created_at;
    let member = ImageMember {
        image_id: made[2].id,
        member: ProjectId::from("demo"),
        status: MemberStatus::Accepted,
        created_at: moment,
        updated_at: moment,
    };
    images::members::insert(tx, &member).await.unwrap();
    made
}

on_both_engines! {
    async fn a_project_sees_its_own_the_public_and_what_is_shared_with_it(store) {
        let mut tx = store.write().await.unwrap();
        make_images(&mut tx).await;
        assert_eq!(names(&mut tx, all_of("demo")).await, ["a", "b", "c"]);
        assert_eq!(names(&mut tx, all_of("third")).await, ["b"]);
        assert_eq!(names(&mut tx, all_of("other")).await, ["b", "c", "d", "e"]);
        let all = ListQuery { visibility: VisibilityFilter::All, ..all_of("demo") };
        assert_eq!(names(&mut tx, all).await, ["a", "b", "c", "d"]);
        let community = ListQuery { visibility: VisibilityFilter::Only(Visibility::Community), ..all_of("demo") };
        assert_eq!(names(&mut tx, community).await, ["d"]);
        let pending = ListQuery { member_status: Some(MemberStatus::Pending), ..all_of("demo") };
        assert_eq!(names(&mut tx, pending).await, ["a", "b"]);
        let cloud = ListQuery { viewer: Viewer::Cloud { project: None }, visibility: VisibilityFilter::All, ..all_of("demo") };
        assert_eq!(names(&mut tx, cloud).await, ["a", "b", "c", "d", "e"]);
    }

    async fn every_kind_of_filter_selects_what_it_says(store) {
        let mut tx = store.write().await.unwrap();
        let made = make_images(&mut tx).await;
        let second = made[1].created_at.micros() / 1_000_000;
        let text = |values: &[&str]| Condition::Text(TextColumn::Name, values.iter().map(ToString::to_string).collect());
        let property = |value: &str| Condition::Property { name: "os_distro".to_owned(), value: value.to_owned() };
        for (condition, expected) in [
            (text(&["a", "c", "z"]), vec!["a", "c"]),
            (text(&[]), vec![]),
            (Condition::Number(NumberColumn::Size, Comparison::AtLeast, 2000), vec!["b", "c"]),
            (Condition::Number(NumberColumn::Size, Comparison::Less, 2000), vec!["a"]),
            (Condition::Second(NumberColumn::CreatedAt, Comparison::Equal, second), vec!["b"]),
            (Condition::Second(NumberColumn::CreatedAt, Comparison::Different, second), vec!["a", "c"]),
            (Condition::Second(NumberColumn::UpdatedAt, Comparison::Greater, second), vec!["c"]),
            (Condition::Second(NumberColumn::UpdatedAt, Comparison::AtMost, second), vec!["a", "b"]),
            (Condition::Tag("tag-b".to_owned()), vec!["b"]),
            (property("c"), vec!["c"]),
            (property("tag-c"), vec![]),
        ] {
            let query = ListQuery { conditions: vec![condition.clone()], ..all_of("demo") };
            assert_eq!(names(&mut tx, query).await, expected, "{condition:?}");
        }
    }

    async fn pages_follow_the_marker_in_mixed_directions(store) {
        let mut tx = store.write().await.unwrap();
        make_images(&mut tx).await;
        let ordered = || ListQuery {
            order: vec![("disk_format", Direction::Ascending), ("size", Direction::Descending)],
            ..all_of("demo")
        };
        assert_eq!(names(&mut tx, ordered()).await, ["c", "b", "a"]);
        let first = ListQuery { limit: 1, ..ordered() }.run(&mut tx).await.unwrap().remove(0);
        let rest = ListQuery { marker: Some(first), ..ordered() };
        assert_eq!(names(&mut tx, rest).await, ["b", "a"]);
    }

    async fn filters_follow_an_update_and_a_delete_takes_all_along(store) {
        let mut tx = store.write().await.unwrap();
        let made = make_images(&mut tx).await;
        let mut changed = images::lock(&mut tx, made[2].id).await.unwrap().unwrap();
        changed.tags = BTreeSet::from(["new".to_owned()]);
        changed.properties.clear();
        assert!(images::update(&mut tx, &changed).await.unwrap());
        let tagged = |tag: &str| ListQuery { conditions: vec![Condition::Tag(tag.to_owned())], ..all_of("demo") };
        assert_eq!(names(&mut tx, tagged("new")).await, ["c"]);
        assert_eq!(names(&mut tx, tagged("tag-c")).await, Vec::<String>::new());
        assert!(images::delete(&mut tx, changed.id).await.unwrap());
        assert!(!images::update(&mut tx, &changed).await.unwrap());
        assert_eq!(images::members::of_image(&mut tx, changed.id).await.unwrap(), []);
        assert_eq!(names(&mut tx, tagged("new")).await, Vec::<String>::new());
        let active = images::in_status(&mut tx, &[ImageStatus::Active]).await.unwrap();
        assert_eq!(active.len(), 4);
    }
}
