-- Servers of both classes. Deleted ones stay for usage reports and `?deleted=true`.

CREATE TABLE instances (
    id TEXT PRIMARY KEY,
    generation BIGINT NOT NULL,
    body TEXT NOT NULL,
    project_id TEXT NOT NULL,
    user_id TEXT NOT NULL,
    name TEXT NOT NULL,
    hostname TEXT NOT NULL,
    class TEXT NOT NULL,
    host_id TEXT,
    flavor_id TEXT NOT NULL,
    image_id TEXT NOT NULL,
    key_name TEXT NOT NULL,
    vm_state TEXT NOT NULL,
    task_state TEXT,
    power_state BIGINT NOT NULL,
    reservation_id TEXT NOT NULL,
    server_group_id TEXT,
    vcpus BIGINT NOT NULL,
    memory_mib BIGINT NOT NULL,
    locked BIGINT NOT NULL,
    deleted BIGINT NOT NULL,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL,
    launched_at BIGINT NOT NULL,
    terminated_at BIGINT NOT NULL
);
CREATE INDEX instances_of_project ON instances (project_id, deleted, created_at);
CREATE INDEX instances_by_age ON instances (deleted, created_at);
CREATE INDEX instances_of_host ON instances (host_id, deleted);
CREATE INDEX instances_of_group ON instances (server_group_id, deleted);

-- One-time addresses of consoles: the hash of the token, never the token.
CREATE TABLE console_tokens (
    id TEXT PRIMARY KEY,
    generation BIGINT NOT NULL,
    body TEXT NOT NULL,
    instance_id TEXT NOT NULL,
    expires_at BIGINT NOT NULL
);
CREATE INDEX console_tokens_by_expiry ON console_tokens (expires_at);
