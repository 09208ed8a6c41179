-- Hosts on other machines: the certificate that each proves itself with, and the invitations that are not used yet.

CREATE TABLE agents (
    id TEXT PRIMARY KEY,
    generation BIGINT NOT NULL,
    body TEXT NOT NULL,
    name TEXT NOT NULL,
    certificate TEXT NOT NULL
);
CREATE UNIQUE INDEX agents_by_name ON agents (name);
CREATE UNIQUE INDEX agents_by_certificate ON agents (certificate);

CREATE TABLE agent_invitations (
    id TEXT PRIMARY KEY,
    generation BIGINT NOT NULL,
    body TEXT NOT NULL,
    name TEXT NOT NULL,
    expires_at BIGINT NOT NULL
);

-- Operations that nobody works on, because their place is away.
CREATE INDEX operations_overdue ON operations (deadline) WHERE finished_at IS NULL;
