//! Where policies come from, and what is wrong with one: file, line and reason.

use crate::action::{self, Rule};
use cedar_policy::{Policy, PolicyId, PolicySet, Schema, ValidationMode, Validator};
use miette::Diagnostic;
use std::fmt::{Display, Write as _};
use std::path::{Path, PathBuf};

/// One file of policies.
pub struct Source {
    pub name: String,
    pub text: String,
}

/// Policies that cannot be obeyed.
#[derive(Debug, thiserror::Error)]
pub enum PolicyError {
    #[error("{name}:{line}: {reason}")]
    Wrong {
        name: String,
        line: usize,
        reason: String,
    },
    #[error("reading policies from {path} failed")]
    Unreadable {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error("{path} holds no *.cedar file; without policies every request would be refused")]
    Empty { path: PathBuf },
    #[error("the policy engine: {0}")]
    Inside(String),
}

impl PolicyError {
    pub(crate) fn inside(cause: impl Display) -> Self {
        Self::Inside(cause.to_string())
    }
}

/// The policies shipped with Corten.
pub fn shipped() -> Vec<Source> {
    [
        ("cloud.cedar", include_str!("../../../policy/cloud.cedar")),
        ("domain.cedar", include_str!("../../../policy/domain.cedar")),
        ("owner.cedar", include_str!("../../../policy/owner.cedar")),
        (
            "project.cedar",
            include_str!("../../../policy/project.cedar"),
        ),
    ]
    .into_iter()
    .map(|(name, text)| Source {
        name: name.to_owned(),
        text: text.to_owned(),
    })
    .collect()
}

/// Every `*.cedar` file of a directory, in the order of their names.
pub fn from_directory(directory: &Path) -> Result<Vec<Source>, PolicyError> {
    let unreadable = |path: &Path| {
        let path = path.to_owned();
        move |source| PolicyError::Unreadable { path, source }
    };
    let mut sources = Vec::new();
    for entry in std::fs::read_dir(directory).map_err(unreadable(directory))? {
        let path = entry.map_err(unreadable(directory))?.path();
        if path
            .extension()
            .is_some_and(|extension| extension == "cedar")
        {
            let text = std::fs::read_to_string(&path).map_err(unreadable(&path))?;
            sources.push(Source {
                name: path.display().to_string(),
                text,
            });
        }
    }
    if sources.is_empty() {
        return Err(PolicyError::Empty {
            path: directory.to_owned(),
        });
    }
    sources.sort_by(|left, right| left.name.cmp(&right.name));
    Ok(sources)
}

/// Reads every source and checks it against the actions and attributes there are.
pub fn compile(sources: &[Source]) -> Result<PolicySet, PolicyError> {
    let (schema, _) = Schema::from_cedarschema_str(&schema_text()).map_err(PolicyError::inside)?;
    let validator = Validator::new(schema);
    let mut all = PolicySet::new();
    for source in sources {
        let parsed: PolicySet =
            source
                .text
                .parse()
                .map_err(|errors: cedar_policy::ParseErrors| {
                    wrong(
                        source,
                        errors
                            .iter()
                            .next()
                            .map_or(&errors as &dyn Diagnostic, |error| error),
                    )
                })?;
        if let Some(error) = validator
            .validate(&parsed, ValidationMode::Strict)
            .validation_errors()
            .next()
        {
            return Err(wrong(source, error));
        }
        for policy in parsed.policies() {
            all.add(policy.new_id(id_of(source, policy)))
                .map_err(PolicyError::inside)?;
        }
    }
    Ok(all)
}

/// The policy's own `@id`, so that the log can name it; the parser's number if it has none.
fn id_of(source: &Source, policy: &Policy) -> PolicyId {
    let name = policy
        .annotation("id")
        .map_or_else(|| policy.id().to_string(), str::to_owned);
    PolicyId::new(format!("{}: {name}", source.name))
}

fn wrong(source: &Source, error: &dyn Diagnostic) -> PolicyError {
    let offset = error
        .labels()
        .and_then(|mut labels| labels.next())
        .map_or(0, |label| label.offset());
    let line = source
        .text
        .bytes()
        .take(offset)
        .filter(|byte| *byte == b'\n')
        .count()
        + 1;
    let mut reason = error.to_string();
    if let Some(help) = error.help() {
        let _ = write!(reason, " ({help})");
    }
    PolicyError::Wrong {
        name: source.name.clone(),
        line,
        reason,
    }
}

/// What policies can speak of, in Cedar's own schema language.
fn schema_text() -> String {
    let mut text = String::from(
        "entity Actor = { user: String, user_domain: String, roles: Set<String>, scope: String, \
         project?: String, project_domain?: String, domain?: String };\n\
         entity Target = { project?: String, domain?: String, owner?: String };\n",
    );
    for rule in Rule::ALL {
        let _ = writeln!(text, "action \"{}\";", rule.as_str());
    }
    for action in action::ALL {
        let _ = writeln!(
            text,
            "action \"{}\" in [\"{}\"] appliesTo {{ principal: Actor, resource: Target, context: {{}} }};",
            action.name,
            action.rule.as_str()
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(text: &str) -> String {
        let source = Source {
            name: "mine.cedar".to_owned(),
            text: text.to_owned(),
        };
        compile(&[source]).err().unwrap().to_string()
    }

    #[test]
    fn a_bad_policy_is_named_by_file_and_line() {
        let syntax = error("// one\npermit (principal, action, resource)\nwhen { principal. };\n");
        assert!(syntax.starts_with("mine.cedar:3: "), "{syntax}");
        let unknown =
            error("\npermit (principal, action == Action::\"compute:servers:creat\", resource);\n");
        assert!(unknown.starts_with("mine.cedar:2: "), "{unknown}");
        assert!(unknown.contains("compute:servers:creat"), "{unknown}");
        let attribute = error(
            "permit (principal is Actor, action, resource)\nwhen { principal.rolls.contains(\"x\") };",
        );
        assert!(attribute.starts_with("mine.cedar:2: "), "{attribute}");
    }

    #[test]
    fn an_empty_directory_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        assert!(matches!(
            from_directory(directory.path()),
            Err(PolicyError::Empty { .. })
        ));
    }
}
