//! Credentials that are kept for users, EC2 access keys among them. Blobs are sealed at rest.

use crate::Iam;
use crate::action::identity as action;
use crate::actor::Actor;
use crate::bootstrap::new_id;
use crate::naming::Given;
use crate::policy::Target;
use crate::role_book::{Place, roles_at};
use crate::user;
use corten_model::ids::{ProjectId, UserId};
use corten_model::refusal::Refusal;
use corten_store::identity::credential::{self, Credential};
use corten_store::identity::project::Project;
use corten_store::identity::user::User;
use corten_store::{Error, Failure, Tx, record};
use serde_json::json;
use sha2::{Digest, Sha256};

/// A credential, unsealed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpenCredential {
    pub id: String,
    pub user_id: UserId,
    pub project_id: Option<ProjectId>,
    pub kind: String,
    pub blob: String,
}

pub struct NewCredential {
    /// The actor if absent.
    pub user_id: Option<UserId>,
    pub project_id: Option<ProjectId>,
    pub kind: String,
    pub blob: String,
}

#[derive(Default)]
pub struct CredentialChanges {
    pub blob: Option<String>,
    /// Given only to be compared: these do not change.
    pub kind: Option<String>,
    pub user_id: Option<UserId>,
    pub project_id: Given<ProjectId>,
}

/// An access key of EC2's kind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ec2Credential {
    pub user_id: UserId,
    pub project_id: Option<ProjectId>,
    pub access: String,
    pub secret: String,
}

const EC2: &str = "ec2";

fn missing(id: &str) -> impl FnOnce() -> Refusal {
    move || Refusal::not_found(format!("Could not find credential: {id}."))
}

/// EC2 credentials are found by their access key, whose hash is the id.
fn ec2_id(access: &str) -> String {
    hex::encode(Sha256::digest(access.as_bytes()))
}

/// The access key and secret inside a blob of type `ec2`.
fn ec2_keys(blob: &str) -> Result<(String, String), Refusal> {
    let wrong = || {
        Refusal::invalid(
            "The blob of a credential of type ec2 is a JSON object with 'access' and 'secret'.",
        )
    };
    let value: serde_json::Value = serde_json::from_str(blob).map_err(|_| wrong())?;
    let key = |name: &str| value[name].as_str().map(str::to_owned).ok_or_else(wrong);
    Ok((key("access")?, key("secret").unwrap_or_default()))
}

impl Iam {
    fn open_credential(&self, sealed: Credential) -> Result<OpenCredential, Failure> {
        let Credential {
            id,
            user_id,
            project_id,
            kind,
            sealed_blob,
        } = sealed;
        let doing = || format!("unsealing credential {id}");
        let plain = self
            .credential_keys
            .decrypt(&sealed_blob)
            .ok_or_else(|| Failure::outside(doing(), "its key is not in the key directory"))?;
        let blob = String::from_utf8(plain).map_err(|error| Failure::outside(doing(), error))?;
        Ok(OpenCredential {
            id,
            user_id,
            project_id,
            kind,
            blob,
        })
    }

    fn seal_credential(&self, open: &OpenCredential) -> Credential {
        let OpenCredential {
            id,
            user_id,
            project_id,
            kind,
            blob,
        } = open.clone();
        Credential {
            id,
            user_id,
            project_id,
            kind,
            sealed_blob: self.credential_keys.encrypt(blob.as_bytes()),
        }
    }

    pub async fn create_credential(
        &self,
        actor: &Actor,
        new: NewCredential,
    ) -> Result<OpenCredential, Failure> {
        let NewCredential {
            user_id,
            project_id,
            kind,
            blob,
        } = new;
        let user_id = user_id.unwrap_or_else(|| actor.user_id.clone());
        self.policy
            .check(actor, action::CREDENTIALS_WRITE, &Target::user(&user_id))?;
        let id = if kind == EC2 {
            if project_id.is_none() {
                return Err(
                    Refusal::invalid("A credential of type ec2 needs a project_id.").into(),
                );
            }
            ec2_id(&ec2_keys(&blob)?.0)
        } else {
            new_id()
        };
        let open = OpenCredential {
            id,
            user_id,
            project_id,
            kind,
            blob,
        };
        self.store_credential(&open).await?;
        Ok(open)
    }

    async fn store_credential(&self, open: &OpenCredential) -> Result<(), Failure> {
        let mut change = self.change().await?;
        record::get::<User>(&mut change, &open.user_id)
            .await?
            .ok_or_else(user::missing(&open.user_id))?;
        if let Some(project) = &open.project_id {
            existing_project(&mut change, project).await?;
        }
        match record::insert(&mut change, &self.seal_credential(open)).await {
            Ok(()) => change.commit().await,
            Err(Error::Exists { .. }) => {
                Err(Refusal::conflict("A credential with this access key exists.").into())
            }
            Err(error) => Err(error.into()),
        }
    }

    pub async fn credential(&self, actor: &Actor, id: &str) -> Result<OpenCredential, Failure> {
        let found = record::get::<Credential>(&mut self.read().await?, id).await?;
        let target = |one: &Credential| Target::user(&one.user_id);
        self.open_credential(self.readable(
            actor,
            action::CREDENTIALS_READ,
            found,
            target,
            missing(id),
        )?)
    }

    /// Those the actor may see: their own, or everybody's.
    pub async fn credentials(
        &self,
        actor: &Actor,
        user: Option<&UserId>,
        kind: Option<&str>,
    ) -> Result<Vec<OpenCredential>, Failure> {
        let mut tx = self.read().await?;
        let sees_all = self
            .policy
            .check(actor, action::CREDENTIALS_READ, &Target::cloud())
            .is_ok();
        let found = match user {
            Some(user) => credential::of_user(&mut tx, user, kind).await?,
            None if sees_all => credential::all(&mut tx).await?,
            None => credential::of_user(&mut tx, &actor.user_id, kind).await?,
        };
        found
            .into_iter()
            .filter(|one| kind.is_none_or(|kind| one.kind == kind))
            .filter(|one| sees_all || one.user_id == actor.user_id)
            .map(|one| self.open_credential(one))
            .collect()
    }

    /// Changes the blob. Whose it is, for what and of which type stays: delete it and make another for that.
    pub async fn update_credential(
        &self,
        actor: &Actor,
        id: &str,
        changes: CredentialChanges,
    ) -> Result<OpenCredential, Failure> {
        let mut change = self.change().await?;
        let found = record::lock::<Credential>(&mut change, id).await?;
        let target = |one: &Credential| Target::user(&one.user_id);
        let sealed = self.writable(actor, action::CREDENTIALS_WRITE, found, target, missing(id))?;
        let mut open = self.open_credential(sealed)?;
        let CredentialChanges {
            blob,
            kind,
            user_id,
            project_id,
        } = changes;
        let moved = kind.is_some_and(|kind| kind != open.kind)
            || user_id.is_some_and(|user| user != open.user_id)
            || project_id.is_some_and(|project| project != open.project_id);
        if moved {
            return Err(Refusal::invalid(
                "Only the blob of a credential can be changed; to change type, user_id or project_id, delete it and make \
                 another.",
            )
            .into());
        }
        if let Some(blob) = blob {
            if open.kind == EC2 {
                ec2_keys(&blob)?;
            }
            open.blob = blob;
        }
        record::update(&mut change, &self.seal_credential(&open)).await?;
        change.commit().await?;
        Ok(open)
    }

    pub async fn delete_credential(&self, actor: &Actor, id: &str) -> Result<(), Failure> {
        let mut change = self.change().await?;
        let found = record::lock::<Credential>(&mut change, id).await?;
        let target = |one: &Credential| Target::user(&one.user_id);
        self.writable(actor, action::CREDENTIALS_WRITE, found, target, missing(id))?;
        record::delete::<Credential>(&mut change, id).await?;
        change.commit().await
    }

    /// Makes an access key for a user on a project where they have a role.
    pub async fn create_ec2(
        &self,
        actor: &Actor,
        user: &UserId,
        project: &ProjectId,
    ) -> Result<Ec2Credential, Failure> {
        self.policy
            .check(actor, action::CREDENTIALS_WRITE, &Target::user(user))?;
        {
            let mut tx = self.read().await?;
            let found = existing_project(&mut tx, project).await?;
            let place = Place::of_project(&mut tx, &found).await?;
            if roles_at(&mut tx, user, &place).await?.is_empty() {
                return Err(Refusal::forbidden(format!(
                    "User {user} has no role on project {project}."
                ))
                .into());
            }
        }
        let (access, secret) = (new_id(), new_id());
        let open = OpenCredential {
            id: ec2_id(&access),
            user_id: user.clone(),
            project_id: Some(project.clone()),
            kind: EC2.to_owned(),
            blob: json!({"access": access, "secret": secret, "trust_id": null}).to_string(),
        };
        self.store_credential(&open).await?;
        Ok(Ec2Credential {
            user_id: open.user_id,
            project_id: open.project_id,
            access,
            secret,
        })
    }

    pub async fn ec2_credentials(
        &self,
        actor: &Actor,
        user: &UserId,
    ) -> Result<Vec<Ec2Credential>, Failure> {
        self.policy
            .check(actor, action::CREDENTIALS_READ, &Target::user(user))?;
        let found = credential::of_user(&mut self.read().await?, user, Some(EC2)).await?;
        found
            .into_iter()
            .map(|one| as_ec2(self.open_credential(one)?))
            .collect()
    }

    pub async fn ec2_credential(
        &self,
        actor: &Actor,
        user: &UserId,
        access: &str,
    ) -> Result<Ec2Credential, Failure> {
        let open = self.credential(actor, &ec2_id(access)).await?;
        if open.user_id != *user {
            return Err(missing(access)().into());
        }
        as_ec2(open)
    }

    pub async fn delete_ec2(
        &self,
        actor: &Actor,
        user: &UserId,
        access: &str,
    ) -> Result<(), Failure> {
        self.policy
            .check(actor, action::CREDENTIALS_WRITE, &Target::user(user))?;
        self.ec2_credential(actor, user, access).await?;
        self.delete_credential(actor, &ec2_id(access)).await
    }
}

fn as_ec2(open: OpenCredential) -> Result<Ec2Credential, Failure> {
    let (access, secret) = ec2_keys(&open.blob)?;
    Ok(Ec2Credential {
        user_id: open.user_id,
        project_id: open.project_id,
        access,
        secret,
    })
}

async fn existing_project(tx: &mut Tx, id: &ProjectId) -> Result<Project, Failure> {
    let found = record::get::<Project>(tx, id).await?;
    Ok(found.ok_or_else(|| Refusal::not_found(format!("Could not find project: {id}.")))?)
}
