-- What is done to a node when its inspection ends, by what was found.

CREATE TABLE metal_inspection_rules (
    id TEXT PRIMARY KEY,
    generation BIGINT NOT NULL,
    body TEXT NOT NULL,
    description TEXT NOT NULL,
    priority BIGINT NOT NULL,
    phase TEXT NOT NULL,
    sensitive BIGINT NOT NULL,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL
);
CREATE INDEX metal_inspection_rules_by_priority ON metal_inspection_rules (phase, priority);
