//! The list of images: one statement for who may see what, every filter, the order and the page.

use super::{Image, MemberStatus, Visibility};
use crate::db::Tx;
use crate::error::{Error, Result, classify};
use crate::record::{Direction, Record, Value};
use crate::sql;
use corten_model::ids::ProjectId;

/// On whose behalf a list is made.
#[derive(Debug, Clone)]
pub enum Viewer {
    /// Sees the images of all projects.
    Cloud { project: Option<ProjectId> },
    /// Sees its own, public and community images, and those shared with it.
    Project(ProjectId),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum VisibilityFilter {
    /// Everything but the community images of others.
    Usual,
    All,
    Only(Visibility),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TextColumn {
    Id,
    Name,
    Status,
    Owner,
    DiskFormat,
    ContainerFormat,
    Checksum,
    HashValue,
}

impl TextColumn {
    fn as_str(self) -> &'static str {
        match self {
            Self::Id => "id",
            Self::Name => "name",
            Self::Status => "status",
            Self::Owner => "owner",
            Self::DiskFormat => "disk_format",
            Self::ContainerFormat => "container_format",
            Self::Checksum => "checksum",
            Self::HashValue => "os_hash_value",
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NumberColumn {
    Size,
    MinDisk,
    MinRam,
    Protected,
    Hidden,
    CreatedAt,
    UpdatedAt,
}

impl NumberColumn {
    fn as_str(self) -> &'static str {
        match self {
            Self::Size => "size",
            Self::MinDisk => "min_disk",
            Self::MinRam => "min_ram",
            Self::Protected => "protected",
            Self::Hidden => "hidden",
            Self::CreatedAt => "created_at",
            Self::UpdatedAt => "updated_at",
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Comparison {
    Equal,
    Different,
    Less,
    AtMost,
    Greater,
    AtLeast,
}

impl Comparison {
    fn as_str(self) -> &'static str {
        match self {
            Self::Equal => "=",
            Self::Different => "<>",
            Self::Less => "<",
            Self::AtMost => "<=",
            Self::Greater => ">",
            Self::AtLeast => ">=",
        }
    }
}

/// One filter. All of a list's must hold.
#[derive(Debug, Clone, PartialEq)]
pub enum Condition {
    /// The column holds one of these.
    Text(TextColumn, Vec<String>),
    Number(NumberColumn, Comparison, i64),
    /// A moment, compared in whole seconds since 1970.
    Second(NumberColumn, Comparison, i64),
    Tag(String),
    Property {
        name: String,
        value: String,
    },
}

#[derive(Debug, Clone)]
pub struct ListQuery {
    pub viewer: Viewer,
    pub visibility: VisibilityFilter,
    /// Which shared images count as shared with the viewer; `None` means any.
    pub member_status: Option<MemberStatus>,
    pub conditions: Vec<Condition>,
    /// Columns of [`Image`] or `id`; the date of creation and the id are added.
    pub order: Vec<(&'static str, Direction)>,
    /// Only what comes after this image.
    pub marker: Option<Image>,
    pub limit: i64,
}

/// SQL under construction, with the values it binds.
#[derive(Default)]
struct Sql {
    conditions: Vec<String>,
    values: Vec<Value>,
}

impl Sql {
    fn bind(&mut self, value: impl Into<Value>) -> String {
        self.values.push(value.into());
        format!("${}", self.values.len())
    }

    fn viewer(
        &mut self,
        viewer: &Viewer,
        visibility: VisibilityFilter,
        member_status: Option<MemberStatus>,
    ) {
        let project = match viewer {
            Viewer::Cloud { project } => project.as_ref(),
            Viewer::Project(project) => Some(project),
        };
        if let Viewer::Project(project) = viewer {
            let project = self.bind(project);
            let status = match member_status {
                Some(status) => format!(" AND status = {}", self.bind(status.as_str())),
                None => String::new(),
            };
            self.conditions.push(format!(
                "(owner = {project} OR visibility IN ('public', 'community') OR (visibility = 'shared' AND EXISTS \
                 (SELECT 1 FROM image_members WHERE image_id = images.id AND member = {project}{status})))"
            ));
        }
        match visibility {
            VisibilityFilter::All => {}
            VisibilityFilter::Only(visibility) => {
                let visibility = self.bind(visibility.as_str());
                self.conditions.push(format!("visibility = {visibility}"));
            }
            VisibilityFilter::Usual => {
                let project = self.bind(project.map_or("-", ProjectId::as_str));
                self.conditions
                    .push(format!("(visibility <> 'community' OR owner = {project})"));
            }
        }
    }

    fn condition(&mut self, condition: Condition) {
        let sql = match condition {
            Condition::Text(_, values) if values.is_empty() => "1 = 0".to_owned(),
            Condition::Text(column, values) => {
                let places: Vec<_> = values.into_iter().map(|value| self.bind(value)).collect();
                format!("{} IN ({})", column.as_str(), places.join(", "))
            }
            Condition::Number(column, comparison, number) => {
                format!(
                    "{} {} {}",
                    column.as_str(),
                    comparison.as_str(),
                    self.bind(number)
                )
            }
            Condition::Second(column, comparison, seconds) => {
                let seconds = self.bind(seconds);
                format!(
                    "{} / 1000000 {} {seconds}",
                    column.as_str(),
                    comparison.as_str()
                )
            }
            Condition::Tag(tag) => {
                let tag = self.bind(tag);
                format!(
                    "EXISTS (SELECT 1 FROM image_tags WHERE image_id = images.id AND tag = {tag})"
                )
            }
            Condition::Property { name, value } => {
                let (name, value) = (self.bind(name), self.bind(value));
                format!(
                    "EXISTS (SELECT 1 FROM image_properties \
                     WHERE image_id = images.id AND image_properties.name = {name} AND value = {value})"
                )
            }
        };
        self.conditions.push(sql);
    }

    /// `(a > x) OR (a = x AND b > y) OR …`
    fn after(&mut self, marker: &Image, order: &[(&'static str, Direction)]) {
        let columns = marker.columns();
        let value_of = |column: &str| match Image::COLUMNS.iter().position(|name| *name == column) {
            Some(index) => columns[index].clone(),
            None => Value::from(marker.id()),
        };
        let mut alternatives = Vec::new();
        for (index, (column, direction)) in order.iter().enumerate() {
            let mut parts = Vec::new();
            for (earlier, _) in &order[..index] {
                parts.push(format!("{earlier} = {}", self.bind(value_of(earlier))));
            }
            let operator = if *direction == Direction::Ascending {
                ">"
            } else {
                "<"
            };
            parts.push(format!(
                "{column} {operator} {}",
                self.bind(value_of(column))
            ));
            alternatives.push(format!("({})", parts.join(" AND ")));
        }
        self.conditions
            .push(format!("({})", alternatives.join(" OR ")));
    }
}

/// The asked keys, then the date of creation and the id, so that the order is total.
fn total_order(mut order: Vec<(&'static str, Direction)>) -> Vec<(&'static str, Direction)> {
    let direction = order
        .last()
        .map_or(Direction::Descending, |(_, direction)| *direction);
    for column in ["created_at", "id"] {
        if !order.iter().any(|(asked, _)| *asked == column) {
            order.push((column, direction));
        }
    }
    order
}

impl ListQuery {
    pub async fn run(self, tx: &mut Tx) -> Result<Vec<Image>> {
        let order = total_order(self.order);
        let mut sql = Sql::default();
        sql.viewer(&self.viewer, self.visibility, self.member_status);
        for condition in self.conditions {
            sql.condition(condition);
        }
        if let Some(marker) = &self.marker {
            sql.after(marker, &order);
        }
        let keys: Vec<_> = order
            .iter()
            .map(|(column, direction)| match direction {
                Direction::Ascending => (*column).to_owned(),
                Direction::Descending => format!("{column} DESC"),
            })
            .collect();
        let conditions = if sql.conditions.is_empty() {
            "1 = 1".to_owned()
        } else {
            sql.conditions.join(" AND ")
        };
        let text = format!(
            "SELECT id, body FROM images WHERE {conditions} ORDER BY {} LIMIT {}",
            keys.join(", "),
            self.limit
        );
        let mut query = sql::query(text);
        for value in sql.values {
            query = query.bind(value);
        }
        let rows = query
            .fetch_all(tx.conn())
            .await
            .map_err(classify("images", "listing images"))?;
        rows.iter()
            .map(|row| {
                let body: &str = row
                    .try_get("body")
                    .map_err(classify("images", "reading a body"))?;
                serde_json::from_str(body).map_err(|source| Error::Unreadable {
                    table: "images",
                    id: row.try_get("id").unwrap_or_default(),
                    source,
                })
            })
            .collect()
    }
}
