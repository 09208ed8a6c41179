-- Changes of flavor that were asked for, as Nova's migrations list them. Rows never change: how each went is told by the
-- operations on its instance.

CREATE TABLE migrations (
    id TEXT PRIMARY KEY,
    generation BIGINT NOT NULL,
    body TEXT NOT NULL,
    number BIGINT NOT NULL,
    kind TEXT NOT NULL,
    instance_id TEXT NOT NULL,
    project_id TEXT NOT NULL,
    user_id TEXT NOT NULL,
    host TEXT NOT NULL
);
CREATE UNIQUE INDEX migrations_by_number ON migrations (number);
CREATE INDEX migrations_of_instance ON migrations (instance_id, number);

-- Hosts ask which of their cached images are images still.
CREATE INDEX images_by_hash ON images (os_hash_value);
