-- Orders to the ramdisks of servers: since when one is worked on, and how long those before took.

CREATE TABLE metal_orders (
    -- Its mark.
    id TEXT PRIMARY KEY,
    generation BIGINT NOT NULL,
    body TEXT NOT NULL,
    node_id TEXT NOT NULL REFERENCES metal_nodes (id) ON DELETE CASCADE,
    kind TEXT NOT NULL,
    given_at BIGINT NOT NULL
);
CREATE INDEX metal_orders_of_node ON metal_orders (node_id, kind, given_at);
