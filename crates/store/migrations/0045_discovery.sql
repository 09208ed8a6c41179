-- Servers that nobody enrolled: their boots, and the nodes that are offered for them.

-- A row for each provisioning network, locked by who decides about its addresses.
CREATE TABLE metal_segments (
    id TEXT PRIMARY KEY,
    generation BIGINT NOT NULL
);

CREATE TABLE metal_discoveries (
    -- The MAC address.
    id TEXT PRIMARY KEY,
    generation BIGINT NOT NULL,
    body TEXT NOT NULL,
    -- Of a node that need not be there yet.
    node_id TEXT NOT NULL,
    network TEXT NOT NULL,
    address TEXT NOT NULL,
    since BIGINT NOT NULL,
    UNIQUE (network, address)
);
CREATE INDEX metal_discoveries_of_node ON metal_discoveries (node_id);

-- What is not known is an empty text.
CREATE TABLE metal_offers (
    -- The node's.
    id TEXT PRIMARY KEY REFERENCES metal_nodes (id) ON DELETE CASCADE,
    generation BIGINT NOT NULL,
    body TEXT NOT NULL,
    system_uuid TEXT NOT NULL,
    serial TEXT NOT NULL
);
CREATE INDEX metal_offers_by_system_uuid ON metal_offers (system_uuid);
CREATE INDEX metal_offers_by_serial ON metal_offers (serial);
