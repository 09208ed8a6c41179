-- Bare-metal servers as Ironic shows them, what belongs to them, and the proof of each wipe.

CREATE TABLE metal_chassis (
    id TEXT PRIMARY KEY,
    generation BIGINT NOT NULL,
    body TEXT NOT NULL,
    description TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL
);

-- What is not set is an empty text: lists sort by these columns.
CREATE TABLE metal_nodes (
    id TEXT PRIMARY KEY,
    generation BIGINT NOT NULL,
    body TEXT NOT NULL,
    name TEXT NOT NULL,
    driver TEXT NOT NULL,
    provision_state TEXT NOT NULL,
    power_state TEXT NOT NULL,
    maintenance BIGINT NOT NULL,
    fault TEXT NOT NULL,
    resource_class TEXT NOT NULL,
    conductor_group TEXT NOT NULL,
    owner TEXT NOT NULL,
    lessee TEXT NOT NULL,
    shard TEXT NOT NULL,
    retired BIGINT NOT NULL,
    instance_id TEXT NOT NULL,
    instance_name TEXT NOT NULL,
    chassis_id TEXT NOT NULL,
    parent_id TEXT NOT NULL,
    allocation_id TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL
);
CREATE UNIQUE INDEX metal_nodes_by_name ON metal_nodes (name) WHERE name <> '';
CREATE UNIQUE INDEX metal_nodes_by_instance ON metal_nodes (instance_id) WHERE instance_id <> '';
CREATE UNIQUE INDEX metal_nodes_by_allocation ON metal_nodes (allocation_id) WHERE allocation_id <> '';
CREATE INDEX metal_nodes_of_owner ON metal_nodes (owner);
CREATE INDEX metal_nodes_of_lessee ON metal_nodes (lessee);
CREATE INDEX metal_nodes_of_chassis ON metal_nodes (chassis_id);
CREATE INDEX metal_nodes_of_parent ON metal_nodes (parent_id);
CREATE INDEX metal_nodes_by_age ON metal_nodes (created_at, id);

CREATE TABLE metal_ports (
    id TEXT PRIMARY KEY,
    generation BIGINT NOT NULL,
    body TEXT NOT NULL,
    node_id TEXT NOT NULL REFERENCES metal_nodes (id),
    port_group_id TEXT NOT NULL,
    address TEXT NOT NULL,
    name TEXT NOT NULL,
    shard TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL
);
CREATE UNIQUE INDEX metal_ports_by_address ON metal_ports (address);
CREATE UNIQUE INDEX metal_ports_by_name ON metal_ports (name) WHERE name <> '';
CREATE INDEX metal_ports_of_node ON metal_ports (node_id);
CREATE INDEX metal_ports_of_group ON metal_ports (port_group_id);

CREATE TABLE metal_port_groups (
    id TEXT PRIMARY KEY,
    generation BIGINT NOT NULL,
    body TEXT NOT NULL,
    node_id TEXT NOT NULL REFERENCES metal_nodes (id),
    address TEXT NOT NULL,
    name TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL
);
CREATE UNIQUE INDEX metal_port_groups_by_address ON metal_port_groups (address) WHERE address <> '';
CREATE UNIQUE INDEX metal_port_groups_by_name ON metal_port_groups (name) WHERE name <> '';
CREATE INDEX metal_port_groups_of_node ON metal_port_groups (node_id);

CREATE TABLE metal_allocations (
    id TEXT PRIMARY KEY,
    generation BIGINT NOT NULL,
    body TEXT NOT NULL,
    name TEXT NOT NULL,
    node_id TEXT NOT NULL,
    resource_class TEXT NOT NULL,
    state TEXT NOT NULL,
    owner TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL
);
CREATE UNIQUE INDEX metal_allocations_by_name ON metal_allocations (name) WHERE name <> '';
CREATE UNIQUE INDEX metal_allocations_of_node ON metal_allocations (node_id) WHERE node_id <> '';

CREATE TABLE metal_deploy_templates (
    id TEXT PRIMARY KEY,
    generation BIGINT NOT NULL,
    body TEXT NOT NULL,
    name TEXT NOT NULL UNIQUE,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL
);

CREATE TABLE metal_runbooks (
    id TEXT PRIMARY KEY,
    generation BIGINT NOT NULL,
    body TEXT NOT NULL,
    name TEXT NOT NULL UNIQUE,
    owner TEXT NOT NULL,
    public BIGINT NOT NULL,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL
);

CREATE TABLE metal_volume_connectors (
    id TEXT PRIMARY KEY,
    generation BIGINT NOT NULL,
    body TEXT NOT NULL,
    node_id TEXT NOT NULL REFERENCES metal_nodes (id),
    kind TEXT NOT NULL,
    connector_id TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL,
    UNIQUE (kind, connector_id)
);
CREATE INDEX metal_volume_connectors_of_node ON metal_volume_connectors (node_id);

CREATE TABLE metal_volume_targets (
    id TEXT PRIMARY KEY,
    generation BIGINT NOT NULL,
    body TEXT NOT NULL,
    node_id TEXT NOT NULL REFERENCES metal_nodes (id),
    boot_index BIGINT NOT NULL,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL,
    UNIQUE (node_id, boot_index)
);

-- Outlives the node: who had its disks before is asked for years later.
CREATE TABLE metal_wipes (
    id TEXT PRIMARY KEY,
    generation BIGINT NOT NULL,
    body TEXT NOT NULL,
    node_id TEXT NOT NULL,
    at BIGINT NOT NULL
);
CREATE INDEX metal_wipes_of_node ON metal_wipes (node_id, at);
