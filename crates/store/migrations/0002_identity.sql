-- Identity (Keystone v3): who there is, what they may, where the services are.
-- A domain is a project that is its own domain. Names are unique without regard to case, as in a MySQL-backed Keystone.

CREATE TABLE identity_generation (
    id TEXT PRIMARY KEY,
    generation BIGINT NOT NULL
);
INSERT INTO identity_generation (id, generation) VALUES ('identity', 1);

CREATE TABLE projects (
    id TEXT PRIMARY KEY,
    generation BIGINT NOT NULL,
    body TEXT NOT NULL,
    domain_id TEXT NOT NULL,
    parent_id TEXT REFERENCES projects (id),
    is_domain BIGINT NOT NULL,
    name_key TEXT NOT NULL,
    enabled BIGINT NOT NULL
);
CREATE UNIQUE INDEX projects_name ON projects (domain_id, name_key);
CREATE INDEX projects_parent ON projects (parent_id);

CREATE TABLE users (
    id TEXT PRIMARY KEY,
    generation BIGINT NOT NULL,
    body TEXT NOT NULL,
    domain_id TEXT NOT NULL REFERENCES projects (id),
    name_key TEXT NOT NULL,
    enabled BIGINT NOT NULL
);
CREATE UNIQUE INDEX users_name ON users (domain_id, name_key);

CREATE TABLE user_groups (
    id TEXT PRIMARY KEY,
    generation BIGINT NOT NULL,
    body TEXT NOT NULL,
    domain_id TEXT NOT NULL REFERENCES projects (id),
    name_key TEXT NOT NULL
);
CREATE UNIQUE INDEX user_groups_name ON user_groups (domain_id, name_key);

CREATE TABLE group_members (
    id TEXT PRIMARY KEY,
    generation BIGINT NOT NULL,
    body TEXT NOT NULL,
    group_id TEXT NOT NULL REFERENCES user_groups (id) ON DELETE CASCADE,
    user_id TEXT NOT NULL REFERENCES users (id) ON DELETE CASCADE
);
CREATE INDEX group_members_user ON group_members (user_id);
CREATE INDEX group_members_group ON group_members (group_id);

CREATE TABLE roles (
    id TEXT PRIMARY KEY,
    generation BIGINT NOT NULL,
    body TEXT NOT NULL,
    domain_id TEXT NOT NULL,
    name_key TEXT NOT NULL
);
CREATE UNIQUE INDEX roles_name ON roles (domain_id, name_key);

CREATE TABLE role_implications (
    id TEXT PRIMARY KEY,
    generation BIGINT NOT NULL,
    body TEXT NOT NULL,
    prior_id TEXT NOT NULL REFERENCES roles (id) ON DELETE CASCADE,
    implied_id TEXT NOT NULL REFERENCES roles (id) ON DELETE CASCADE
);
CREATE INDEX role_implications_prior ON role_implications (prior_id);
CREATE INDEX role_implications_implied ON role_implications (implied_id);

-- The id is made of all the other columns, so that an assignment exists once. target_id is '' for the system.
CREATE TABLE assignments (
    id TEXT PRIMARY KEY,
    generation BIGINT NOT NULL,
    body TEXT NOT NULL,
    actor_kind TEXT NOT NULL,
    actor_id TEXT NOT NULL,
    target_kind TEXT NOT NULL,
    target_id TEXT NOT NULL,
    role_id TEXT NOT NULL REFERENCES roles (id) ON DELETE CASCADE,
    inherited BIGINT NOT NULL
);
CREATE INDEX assignments_actor ON assignments (actor_id);
CREATE INDEX assignments_target ON assignments (target_id);
CREATE INDEX assignments_role ON assignments (role_id);

CREATE TABLE application_credentials (
    id TEXT PRIMARY KEY,
    generation BIGINT NOT NULL,
    body TEXT NOT NULL,
    user_id TEXT NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    project_id TEXT NOT NULL REFERENCES projects (id) ON DELETE CASCADE,
    name TEXT NOT NULL
);
CREATE UNIQUE INDEX application_credentials_name ON application_credentials (user_id, name);

CREATE TABLE access_rules (
    id TEXT PRIMARY KEY,
    generation BIGINT NOT NULL,
    body TEXT NOT NULL,
    user_id TEXT NOT NULL REFERENCES users (id) ON DELETE CASCADE
);
CREATE INDEX access_rules_user ON access_rules (user_id);

CREATE TABLE trusts (
    id TEXT PRIMARY KEY,
    generation BIGINT NOT NULL,
    body TEXT NOT NULL,
    trustor_user_id TEXT NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    trustee_user_id TEXT NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    project_id TEXT REFERENCES projects (id) ON DELETE CASCADE
);
CREATE INDEX trusts_trustor ON trusts (trustor_user_id);
CREATE INDEX trusts_trustee ON trusts (trustee_user_id);

CREATE TABLE token_revocations (
    id TEXT PRIMARY KEY,
    generation BIGINT NOT NULL,
    body TEXT NOT NULL,
    expires_at BIGINT NOT NULL
);
CREATE INDEX token_revocations_expiry ON token_revocations (expires_at);

CREATE TABLE regions (
    id TEXT PRIMARY KEY,
    generation BIGINT NOT NULL,
    body TEXT NOT NULL,
    parent_region_id TEXT REFERENCES regions (id)
);

CREATE TABLE services (
    id TEXT PRIMARY KEY,
    generation BIGINT NOT NULL,
    body TEXT NOT NULL,
    kind TEXT NOT NULL
);

CREATE TABLE endpoints (
    id TEXT PRIMARY KEY,
    generation BIGINT NOT NULL,
    body TEXT NOT NULL,
    service_id TEXT NOT NULL REFERENCES services (id) ON DELETE CASCADE,
    interface TEXT NOT NULL,
    region_id TEXT REFERENCES regions (id)
);
CREATE INDEX endpoints_service ON endpoints (service_id);

CREATE TABLE endpoint_groups (
    id TEXT PRIMARY KEY,
    generation BIGINT NOT NULL,
    body TEXT NOT NULL
);

-- What a project sees beside the endpoints that everybody sees: single endpoints and groups of them.
CREATE TABLE project_endpoints (
    id TEXT PRIMARY KEY,
    generation BIGINT NOT NULL,
    body TEXT NOT NULL,
    project_id TEXT NOT NULL REFERENCES projects (id) ON DELETE CASCADE,
    endpoint_id TEXT REFERENCES endpoints (id) ON DELETE CASCADE,
    endpoint_group_id TEXT REFERENCES endpoint_groups (id) ON DELETE CASCADE
);
CREATE INDEX project_endpoints_project ON project_endpoints (project_id);

CREATE TABLE credentials (
    id TEXT PRIMARY KEY,
    generation BIGINT NOT NULL,
    body TEXT NOT NULL,
    user_id TEXT NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    project_id TEXT,
    kind TEXT NOT NULL
);
CREATE INDEX credentials_user ON credentials (user_id);

CREATE TABLE policies (
    id TEXT PRIMARY KEY,
    generation BIGINT NOT NULL,
    body TEXT NOT NULL
);

CREATE TABLE consumers (
    id TEXT PRIMARY KEY,
    generation BIGINT NOT NULL,
    body TEXT NOT NULL
);

CREATE TABLE domain_configs (
    id TEXT PRIMARY KEY REFERENCES projects (id) ON DELETE CASCADE,
    generation BIGINT NOT NULL,
    body TEXT NOT NULL
);

CREATE TABLE registered_limits (
    id TEXT PRIMARY KEY,
    generation BIGINT NOT NULL,
    body TEXT NOT NULL,
    service_id TEXT NOT NULL REFERENCES services (id),
    region_id TEXT NOT NULL,
    resource_name TEXT NOT NULL
);
CREATE UNIQUE INDEX registered_limits_resource ON registered_limits (service_id, region_id, resource_name);

CREATE TABLE limits (
    id TEXT PRIMARY KEY,
    generation BIGINT NOT NULL,
    body TEXT NOT NULL,
    registered_limit_id TEXT NOT NULL REFERENCES registered_limits (id),
    target_id TEXT NOT NULL REFERENCES projects (id) ON DELETE CASCADE
);
CREATE UNIQUE INDEX limits_target ON limits (registered_limit_id, target_id);
