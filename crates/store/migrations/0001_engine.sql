-- What the engine works on, and the log of all that changed. Moments are microseconds since 1970 in UTC.

CREATE TABLE operations (
    id TEXT PRIMARY KEY,
    kind TEXT NOT NULL,
    subject_kind TEXT NOT NULL,
    subject_id TEXT NOT NULL,
    project_id TEXT,
    user_id TEXT,
    request_id TEXT NOT NULL,
    place TEXT NOT NULL,
    step TEXT NOT NULL,
    input TEXT NOT NULL,
    attempt BIGINT NOT NULL,
    run_at BIGINT NOT NULL,
    lease_owner TEXT,
    lease_until BIGINT NOT NULL,
    epoch BIGINT NOT NULL,
    deadline BIGINT NOT NULL,
    cancel_requested BIGINT NOT NULL,
    status TEXT NOT NULL,
    note TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL,
    finished_at BIGINT
);

-- One operation at a time works on a subject.
CREATE UNIQUE INDEX operations_running ON operations (subject_kind, subject_id) WHERE finished_at IS NULL;
CREATE INDEX operations_runnable ON operations (place, run_at) WHERE finished_at IS NULL;
CREATE INDEX operations_of_subject ON operations (subject_kind, subject_id, created_at);
CREATE INDEX operations_of_request ON operations (request_id);

CREATE TABLE transitions (
    id TEXT PRIMARY KEY,
    generation BIGINT NOT NULL,
    body TEXT NOT NULL,
    at BIGINT NOT NULL,
    subject_kind TEXT NOT NULL,
    subject_id TEXT NOT NULL,
    project_id TEXT,
    operation_id TEXT
);
CREATE INDEX transitions_of_subject ON transitions (subject_kind, subject_id, id);
CREATE INDEX transitions_of_operation ON transitions (operation_id, id);
CREATE INDEX transitions_of_project ON transitions (project_id, at);
