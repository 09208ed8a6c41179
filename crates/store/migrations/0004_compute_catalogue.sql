-- Compute beside the instances themselves: what can be chosen, what may be used, and what it runs on.

-- The small numbers that older versions of the compute API show as ids. Each sequence only ever goes up.
CREATE TABLE sequences (
    name TEXT PRIMARY KEY,
    last BIGINT NOT NULL
);

CREATE TABLE flavors (
    id TEXT PRIMARY KEY,
    generation BIGINT NOT NULL,
    body TEXT NOT NULL,
    name TEXT NOT NULL,
    is_public BIGINT NOT NULL
);
CREATE UNIQUE INDEX flavors_name ON flavors (name);

CREATE TABLE flavor_access (
    id TEXT PRIMARY KEY,
    generation BIGINT NOT NULL,
    body TEXT NOT NULL,
    flavor_id TEXT NOT NULL REFERENCES flavors (id) ON DELETE CASCADE,
    project_id TEXT NOT NULL
);
CREATE UNIQUE INDEX flavor_access_pair ON flavor_access (flavor_id, project_id);
CREATE INDEX flavor_access_project ON flavor_access (project_id);

CREATE TABLE key_pairs (
    id TEXT PRIMARY KEY,
    generation BIGINT NOT NULL,
    body TEXT NOT NULL,
    user_id TEXT NOT NULL,
    name TEXT NOT NULL
);
CREATE UNIQUE INDEX key_pairs_name ON key_pairs (user_id, name);

-- user_id is '' for the quota of the project as a whole.
CREATE TABLE quotas (
    id TEXT PRIMARY KEY,
    generation BIGINT NOT NULL,
    body TEXT NOT NULL,
    project_id TEXT NOT NULL,
    user_id TEXT NOT NULL
);
CREATE UNIQUE INDEX quotas_of ON quotas (project_id, user_id);

CREATE TABLE quota_classes (
    id TEXT PRIMARY KEY,
    generation BIGINT NOT NULL,
    body TEXT NOT NULL
);

CREATE TABLE aggregates (
    id TEXT PRIMARY KEY,
    generation BIGINT NOT NULL,
    body TEXT NOT NULL,
    number BIGINT NOT NULL,
    name TEXT NOT NULL
);
CREATE UNIQUE INDEX aggregates_number ON aggregates (number);
CREATE UNIQUE INDEX aggregates_name ON aggregates (name);

CREATE TABLE server_groups (
    id TEXT PRIMARY KEY,
    generation BIGINT NOT NULL,
    body TEXT NOT NULL,
    project_id TEXT NOT NULL,
    user_id TEXT NOT NULL,
    created_at BIGINT NOT NULL
);
CREATE INDEX server_groups_project ON server_groups (project_id, created_at);

-- The programs of the compute service and when each was last heard of. The heartbeat is a column alone: it is written
-- every few seconds and must not rewrite the row's body.
CREATE TABLE compute_services (
    id TEXT PRIMARY KEY,
    generation BIGINT NOT NULL,
    body TEXT NOT NULL,
    number BIGINT NOT NULL,
    program TEXT NOT NULL,
    host TEXT NOT NULL,
    seen_at BIGINT NOT NULL DEFAULT 0
);
CREATE UNIQUE INDEX compute_services_number ON compute_services (number);
CREATE UNIQUE INDEX compute_services_place ON compute_services (program, host);

CREATE TABLE hosts (
    id TEXT PRIMARY KEY,
    generation BIGINT NOT NULL,
    body TEXT NOT NULL,
    number BIGINT NOT NULL,
    name TEXT NOT NULL,
    service_id TEXT NOT NULL REFERENCES compute_services (id)
);
CREATE UNIQUE INDEX hosts_number ON hosts (number);
CREATE UNIQUE INDEX hosts_name ON hosts (name);

-- What of a host is promised to an instance.
CREATE TABLE allocations (
    id TEXT PRIMARY KEY,
    generation BIGINT NOT NULL,
    body TEXT NOT NULL,
    host_id TEXT NOT NULL REFERENCES hosts (id),
    instance_id TEXT NOT NULL,
    project_id TEXT NOT NULL,
    user_id TEXT NOT NULL,
    vcpus BIGINT NOT NULL,
    memory_mib BIGINT NOT NULL,
    disk_gib BIGINT NOT NULL
);
CREATE UNIQUE INDEX allocations_pair ON allocations (instance_id, host_id);
CREATE INDEX allocations_host ON allocations (host_id, vcpus, memory_mib, disk_gib);
CREATE INDEX allocations_project ON allocations (project_id);
