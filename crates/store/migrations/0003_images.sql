-- Images, who they are shared with, and the definitions of what their properties mean.

-- In columns that lists sort by, '' stands for "none" and -1 for an unknown size.
CREATE TABLE images (
    id TEXT PRIMARY KEY,
    generation BIGINT NOT NULL,
    body TEXT NOT NULL,
    name TEXT NOT NULL,
    status TEXT NOT NULL,
    visibility TEXT NOT NULL,
    owner TEXT NOT NULL,
    disk_format TEXT NOT NULL,
    container_format TEXT NOT NULL,
    checksum TEXT NOT NULL,
    os_hash_value TEXT NOT NULL,
    size BIGINT NOT NULL,
    min_disk BIGINT NOT NULL,
    min_ram BIGINT NOT NULL,
    protected BIGINT NOT NULL,
    hidden BIGINT NOT NULL,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL
);
CREATE INDEX images_of_owner ON images (owner, created_at);
CREATE INDEX images_by_visibility ON images (visibility, created_at);
CREATE INDEX images_by_name ON images (name);
CREATE INDEX images_by_status ON images (status);

-- Projections of the body, for filters.
CREATE TABLE image_tags (
    image_id TEXT NOT NULL REFERENCES images (id) ON DELETE CASCADE,
    tag TEXT NOT NULL,
    PRIMARY KEY (image_id, tag)
);
CREATE TABLE image_properties (
    image_id TEXT NOT NULL REFERENCES images (id) ON DELETE CASCADE,
    name TEXT NOT NULL,
    value TEXT NOT NULL,
    PRIMARY KEY (image_id, name)
);

CREATE TABLE image_members (
    id TEXT PRIMARY KEY,
    generation BIGINT NOT NULL,
    body TEXT NOT NULL,
    image_id TEXT NOT NULL REFERENCES images (id) ON DELETE CASCADE,
    member TEXT NOT NULL,
    status TEXT NOT NULL,
    created_at BIGINT NOT NULL
);
CREATE UNIQUE INDEX image_members_once ON image_members (image_id, member);
CREATE INDEX image_members_of_project ON image_members (member, status);

CREATE TABLE metadef_namespaces (
    id TEXT PRIMARY KEY,
    generation BIGINT NOT NULL,
    body TEXT NOT NULL,
    namespace TEXT NOT NULL,
    visibility TEXT NOT NULL,
    owner TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL
);
CREATE UNIQUE INDEX metadef_namespaces_once ON metadef_namespaces (namespace);

-- What imports were asked for; how far they are is told by their operations.
CREATE TABLE image_tasks (
    id TEXT PRIMARY KEY,
    generation BIGINT NOT NULL,
    body TEXT NOT NULL,
    image_id TEXT NOT NULL,
    created_at BIGINT NOT NULL
);
CREATE INDEX image_tasks_of_image ON image_tasks (image_id, created_at);
CREATE INDEX image_tasks_by_age ON image_tasks (created_at);
