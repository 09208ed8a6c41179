-- Networks as Neutron shows them. Addresses are rows with constraints: one can be given once.

CREATE TABLE networks (
    id TEXT PRIMARY KEY,
    generation BIGINT NOT NULL,
    body TEXT NOT NULL,
    project_id TEXT NOT NULL,
    name TEXT NOT NULL,
    shared BIGINT NOT NULL,
    external BIGINT NOT NULL,
    -- `physical network/VLAN` or `physical network/`: a segment carries one network.
    segment TEXT UNIQUE
);
CREATE INDEX networks_of_project ON networks (project_id);

CREATE TABLE address_scopes (
    id TEXT PRIMARY KEY,
    generation BIGINT NOT NULL,
    body TEXT NOT NULL,
    project_id TEXT NOT NULL,
    name TEXT NOT NULL
);

CREATE TABLE subnet_pools (
    id TEXT PRIMARY KEY,
    generation BIGINT NOT NULL,
    body TEXT NOT NULL,
    project_id TEXT NOT NULL,
    name TEXT NOT NULL,
    address_scope_id TEXT
);

CREATE TABLE subnets (
    id TEXT PRIMARY KEY,
    generation BIGINT NOT NULL,
    body TEXT NOT NULL,
    project_id TEXT NOT NULL,
    name TEXT NOT NULL,
    network_id TEXT NOT NULL REFERENCES networks (id),
    subnet_pool_id TEXT REFERENCES subnet_pools (id)
);
CREATE INDEX subnets_of_network ON subnets (network_id);
CREATE INDEX subnets_of_pool ON subnets (subnet_pool_id);

CREATE TABLE ports (
    id TEXT PRIMARY KEY,
    generation BIGINT NOT NULL,
    body TEXT NOT NULL,
    project_id TEXT NOT NULL,
    name TEXT NOT NULL,
    network_id TEXT NOT NULL REFERENCES networks (id),
    mac_address TEXT NOT NULL,
    device_id TEXT NOT NULL,
    device_owner TEXT NOT NULL,
    host TEXT NOT NULL
);
CREATE UNIQUE INDEX ports_mac ON ports (network_id, mac_address);
CREATE INDEX ports_of_project ON ports (project_id);
CREATE INDEX ports_of_device ON ports (device_id);

-- An address in use. Its id is `subnet/address`, so a subnet gives each address once.
CREATE TABLE addresses (
    id TEXT PRIMARY KEY,
    generation BIGINT NOT NULL,
    body TEXT NOT NULL,
    subnet_id TEXT NOT NULL REFERENCES subnets (id),
    port_id TEXT NOT NULL REFERENCES ports (id) ON DELETE CASCADE
);
CREATE INDEX addresses_of_port ON addresses (port_id);
CREATE INDEX addresses_of_subnet ON addresses (subnet_id);

CREATE TABLE routers (
    id TEXT PRIMARY KEY,
    generation BIGINT NOT NULL,
    body TEXT NOT NULL,
    project_id TEXT NOT NULL,
    name TEXT NOT NULL
);
CREATE INDEX routers_of_project ON routers (project_id);

CREATE TABLE floating_ips (
    id TEXT PRIMARY KEY,
    generation BIGINT NOT NULL,
    body TEXT NOT NULL,
    project_id TEXT NOT NULL,
    network_id TEXT NOT NULL REFERENCES networks (id),
    address TEXT NOT NULL,
    -- The port that it leads to, and that port's address.
    port_id TEXT,
    fixed_address TEXT NOT NULL,
    router_id TEXT
);
CREATE INDEX floating_ips_of_project ON floating_ips (project_id);
-- One outside address of a network leads to an inside one.
CREATE UNIQUE INDEX floating_ips_target ON floating_ips (port_id, fixed_address, network_id);
CREATE INDEX floating_ips_of_router ON floating_ips (router_id);

CREATE TABLE port_forwardings (
    id TEXT PRIMARY KEY,
    generation BIGINT NOT NULL,
    body TEXT NOT NULL,
    floating_ip_id TEXT NOT NULL REFERENCES floating_ips (id) ON DELETE CASCADE,
    port_id TEXT NOT NULL,
    router_id TEXT NOT NULL,
    -- `protocol/port` as seen from outside, and the inside address with it.
    outside TEXT NOT NULL,
    inside TEXT NOT NULL
);
CREATE UNIQUE INDEX port_forwardings_outside ON port_forwardings (floating_ip_id, outside);
CREATE UNIQUE INDEX port_forwardings_inside ON port_forwardings (floating_ip_id, inside);
CREATE INDEX port_forwardings_of_port ON port_forwardings (port_id);
CREATE INDEX port_forwardings_of_router ON port_forwardings (router_id);

CREATE TABLE security_groups (
    id TEXT PRIMARY KEY,
    generation BIGINT NOT NULL,
    body TEXT NOT NULL,
    project_id TEXT NOT NULL,
    name TEXT NOT NULL,
    -- The project, for its default group alone: a project has one.
    default_of TEXT UNIQUE
);
CREATE INDEX security_groups_of_project ON security_groups (project_id);

CREATE TABLE security_group_rules (
    id TEXT PRIMARY KEY,
    generation BIGINT NOT NULL,
    body TEXT NOT NULL,
    project_id TEXT NOT NULL,
    security_group_id TEXT NOT NULL REFERENCES security_groups (id) ON DELETE CASCADE,
    remote_group_id TEXT,
    remote_address_group_id TEXT,
    -- What the rule says, in one text: a group holds each rule once.
    meaning TEXT NOT NULL
);
CREATE UNIQUE INDEX security_group_rules_meaning ON security_group_rules (security_group_id, meaning);
CREATE INDEX security_group_rules_remote ON security_group_rules (remote_group_id);
CREATE INDEX security_group_rules_addresses ON security_group_rules (remote_address_group_id);

-- Which ports a group guards.
CREATE TABLE security_group_members (
    id TEXT PRIMARY KEY,
    generation BIGINT NOT NULL,
    body TEXT NOT NULL,
    security_group_id TEXT NOT NULL REFERENCES security_groups (id),
    port_id TEXT NOT NULL REFERENCES ports (id) ON DELETE CASCADE
);
CREATE INDEX security_group_members_of_group ON security_group_members (security_group_id);
CREATE INDEX security_group_members_of_port ON security_group_members (port_id);

CREATE TABLE address_groups (
    id TEXT PRIMARY KEY,
    generation BIGINT NOT NULL,
    body TEXT NOT NULL,
    project_id TEXT NOT NULL,
    name TEXT NOT NULL
);

CREATE TABLE qos_policies (
    id TEXT PRIMARY KEY,
    generation BIGINT NOT NULL,
    body TEXT NOT NULL,
    project_id TEXT NOT NULL,
    name TEXT NOT NULL,
    shared BIGINT NOT NULL
);

-- Who else may use something: an RBAC policy.
CREATE TABLE rbac_policies (
    id TEXT PRIMARY KEY,
    generation BIGINT NOT NULL,
    body TEXT NOT NULL,
    project_id TEXT NOT NULL,
    object_type TEXT NOT NULL,
    object_id TEXT NOT NULL,
    -- A project, or `*` for all.
    target TEXT NOT NULL,
    action TEXT NOT NULL
);
CREATE UNIQUE INDEX rbac_policies_grant ON rbac_policies (object_type, object_id, target, action);
CREATE INDEX rbac_policies_target ON rbac_policies (object_type, target);

CREATE TABLE trunks (
    id TEXT PRIMARY KEY,
    generation BIGINT NOT NULL,
    body TEXT NOT NULL,
    project_id TEXT NOT NULL,
    name TEXT NOT NULL,
    port_id TEXT NOT NULL UNIQUE REFERENCES ports (id)
);

CREATE TABLE network_quotas (
    id TEXT PRIMARY KEY,
    generation BIGINT NOT NULL,
    body TEXT NOT NULL
);

-- What the fabric has not been told yet. The id names the unit; writing it again raises the generation, and only the
-- generation that was applied is taken away.
CREATE TABLE network_changes (
    id TEXT PRIMARY KEY,
    generation BIGINT NOT NULL
);
