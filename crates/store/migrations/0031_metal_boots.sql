-- What a server boots with: its addresses on the provisioning network, and the early signs of its boots.

CREATE TABLE metal_leases (
    -- The MAC address.
    id TEXT PRIMARY KEY,
    generation BIGINT NOT NULL,
    body TEXT NOT NULL,
    node_id TEXT NOT NULL REFERENCES metal_nodes (id) ON DELETE CASCADE,
    network TEXT NOT NULL,
    address TEXT NOT NULL,
    UNIQUE (network, address)
);
CREATE INDEX metal_leases_of_node ON metal_leases (node_id);

-- Outlives the node, as its wipes do.
CREATE TABLE metal_boot_signs (
    id TEXT PRIMARY KEY,
    generation BIGINT NOT NULL,
    body TEXT NOT NULL,
    node_id TEXT NOT NULL,
    at BIGINT NOT NULL
);
CREATE INDEX metal_boot_signs_of_node ON metal_boot_signs (node_id, at);
