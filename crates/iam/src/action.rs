//! Everything that can be asked for, by name, and which rule of the role matrix governs it.
//!
//! A function that touches a row names one of these constants, so an unchecked or misspelt permission does not compile.

/// The rules of the role matrix (CATALOGUE A9). Each is a policy in `policy/*.cedar`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Rule {
    /// Anyone with a valid token.
    Anyone,
    /// A reader of the project that owns the target, or an administrator.
    ProjectRead,
    /// A member of the project that owns the target, or an administrator.
    ProjectWrite,
    /// A manager of the project that owns the target, or an administrator.
    ProjectManage,
    /// An administrator of the project that owns the target (K117, K123), or of the cloud.
    ProjectAdmin,
    /// Only the user that the target belongs to (K130).
    Owner,
    /// The user that the target belongs to, or an administrator.
    OwnerOrAdmin,
    /// A reader of the domain that owns the target, of the system, or an administrator.
    DomainRead,
    /// A manager or administrator of the domain that owns the target, or an administrator of the cloud.
    DomainManage,
    /// A reader of the whole cloud, or an administrator.
    CloudRead,
    /// A member of the system, or an administrator: who works on the machines themselves.
    CloudWrite,
    /// An administrator of the cloud.
    CloudAdmin,
    /// A member of the project that owns the target, or who may [`Self::CloudWrite`] it.
    ProjectOrCloudWrite,
    /// Anyone who works in the domain that owns the target, a reader of the system, or an administrator.
    InDomain,
    /// Anyone in the project that is the target, or who may [`Self::DomainRead`] it.
    ProjectOrDomainRead,
    /// The user that the target belongs to, or who may [`Self::DomainRead`] it.
    OwnerOrDomainRead,
    /// The user that the target belongs to, or who may [`Self::CloudRead`] it.
    OwnerOrCloudRead,
    /// The user that the target belongs to, a service, a reader of the system, or an administrator.
    OwnerOrService,
}

impl Rule {
    pub const ALL: [Self; 18] = [
        Self::Anyone,
        Self::ProjectRead,
        Self::ProjectWrite,
        Self::ProjectManage,
        Self::ProjectAdmin,
        Self::Owner,
        Self::OwnerOrAdmin,
        Self::DomainRead,
        Self::DomainManage,
        Self::CloudRead,
        Self::CloudWrite,
        Self::CloudAdmin,
        Self::ProjectOrCloudWrite,
        Self::InDomain,
        Self::ProjectOrDomainRead,
        Self::OwnerOrDomainRead,
        Self::OwnerOrCloudRead,
        Self::OwnerOrService,
    ];

    /// The name of the action group in the policies.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Anyone => "anyone",
            Self::ProjectRead => "project-read",
            Self::ProjectWrite => "project-write",
            Self::ProjectManage => "project-manage",
            Self::ProjectAdmin => "project-admin",
            Self::Owner => "owner",
            Self::OwnerOrAdmin => "owner-or-admin",
            Self::DomainRead => "domain-read",
            Self::DomainManage => "domain-manage",
            Self::CloudRead => "cloud-read",
            Self::CloudWrite => "cloud-write",
            Self::CloudAdmin => "cloud-admin",
            Self::ProjectOrCloudWrite => "project-or-cloud-write",
            Self::InDomain => "in-domain",
            Self::ProjectOrDomainRead => "project-or-domain-read",
            Self::OwnerOrDomainRead => "owner-or-domain-read",
            Self::OwnerOrCloudRead => "owner-or-cloud-read",
            Self::OwnerOrService => "owner-or-service",
        }
    }
}

/// One thing that can be asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Action {
    /// `service:resource:verb`, as operators write it in policies.
    pub name: &'static str,
    pub rule: Rule,
}

macro_rules! actions {
    ($($module:ident { $($constant:ident = $name:literal, $rule:ident;)* })*) => {
        $(pub mod $module {
            use super::{Action, Rule};
            $(pub const $constant: Action = Action { name: $name, rule: Rule::$rule };)*
        })*

        /// Every action there is, for the policy engine and the generated role matrix.
        pub const ALL: &[Action] = &[$($($module::$constant,)*)*];
    };
}

actions! {
    compute {
        SERVERS_READ = "compute:servers:read", ProjectRead;
        SERVERS_READ_ALL = "compute:servers:read-all-projects", CloudRead;
        SERVERS_READ_HOST = "compute:servers:read-host", CloudRead;
        SERVERS_CREATE = "compute:servers:create", ProjectWrite;
        SERVERS_CREATE_ON_HOST = "compute:servers:create-on-host", CloudAdmin;
        SERVERS_WRITE = "compute:servers:write", ProjectWrite;
        SERVERS_UNLOCK_OTHERS = "compute:servers:unlock-others", CloudAdmin;
        SERVERS_ADMINISTER = "compute:servers:administer", CloudAdmin;
        SERVERS_MANAGE = "compute:servers:manage", ProjectManage;
        SERVER_GROUPS_READ = "compute:server-groups:read", ProjectRead;
        SERVER_GROUPS_WRITE = "compute:server-groups:write", ProjectWrite;
        KEYPAIRS_READ = "compute:keypairs:read", OwnerOrAdmin;
        KEYPAIRS_CREATE = "compute:keypairs:create", OwnerOrAdmin;
        KEYPAIRS_DELETE = "compute:keypairs:delete", Owner;
        KEYPAIRS_MANAGE = "compute:keypairs:manage", ProjectWrite;
        FLAVORS_READ = "compute:flavors:read", Anyone;
        FLAVORS_READ_PRIVATE = "compute:flavors:read-private", CloudRead;
        FLAVORS_WRITE = "compute:flavors:write", CloudAdmin;
        HOSTS_READ = "compute:hosts:read", CloudRead;
        HOSTS_WRITE = "compute:hosts:write", CloudAdmin;
        ZONES_READ = "compute:zones:read", Anyone;
        LIMITS_READ = "compute:limits:read", ProjectRead;
        QUOTAS_READ = "compute:quotas:read", ProjectRead;
        QUOTAS_WRITE = "compute:quotas:write", CloudAdmin;
        USAGE_READ = "compute:usage:read", ProjectRead;
        USAGE_READ_ALL = "compute:usage:read-all", CloudRead;
    }
    image {
        IMAGES_READ = "image:images:read", ProjectRead;
        IMAGES_CREATE = "image:images:create", ProjectWrite;
        IMAGES_WRITE = "image:images:write", ProjectWrite;
        IMAGES_PUBLISH = "image:images:publish", CloudAdmin;
        IMAGES_COMMUNITY = "image:images:community", ProjectWrite;
        IMAGES_DEACTIVATE = "image:images:deactivate", ProjectWrite;
        MEMBERS_READ = "image:members:read", ProjectRead;
        MEMBERS_WRITE = "image:members:write", ProjectWrite;
        TASKS_READ = "image:tasks:read", CloudRead;
        TASKS_WRITE = "image:tasks:write", CloudAdmin;
        CACHE_ADMINISTER = "image:cache:administer", CloudAdmin;
        METADEFS_READ = "image:metadefs:read", Anyone;
        METADEFS_WRITE = "image:metadefs:write", CloudAdmin;
        IMAGES_READ_ALL = "image:images:read-all-projects", CloudRead;
        IMAGES_DOWNLOAD = "image:images:download", ProjectWrite;
        STORES_ADMINISTER = "image:stores:administer", CloudAdmin;
    }
    placement {
        PLACEMENT_READ = "placement:all:read", CloudRead;
        PLACEMENT_WRITE = "placement:all:write", CloudAdmin;
    }
    identity {
        DOMAINS_LIST = "identity:domains:list", CloudRead;
        DOMAINS_READ = "identity:domains:read", InDomain;
        DOMAINS_WRITE = "identity:domains:write", CloudAdmin;
        DOMAIN_CONFIG_READ = "identity:domain-config:read", CloudRead;
        DOMAIN_CONFIG_WRITE = "identity:domain-config:write", CloudAdmin;
        PROJECTS_LIST = "identity:projects:list", DomainRead;
        PROJECTS_READ = "identity:projects:read", ProjectOrDomainRead;
        PROJECTS_WRITE = "identity:projects:write", DomainManage;
        USERS_LIST = "identity:users:list", DomainRead;
        USERS_READ = "identity:users:read", OwnerOrDomainRead;
        USERS_WRITE = "identity:users:write", DomainManage;
        GROUPS_LIST = "identity:groups:list", DomainRead;
        GROUPS_OF_USER = "identity:groups:of-user", OwnerOrDomainRead;
        GROUPS_WRITE = "identity:groups:write", DomainManage;
        ROLES_READ = "identity:roles:read", DomainRead;
        ROLES_WRITE = "identity:roles:write", CloudAdmin;
        ASSIGNMENTS_READ = "identity:assignments:read", DomainRead;
        ASSIGNMENTS_WRITE = "identity:assignments:write", DomainManage;
        SYSTEM_ASSIGNMENTS_READ = "identity:system-assignments:read", CloudRead;
        SYSTEM_ASSIGNMENTS_WRITE = "identity:system-assignments:write", CloudAdmin;
        REGIONS_READ = "identity:regions:read", Anyone;
        CATALOG_READ = "identity:catalog:read", CloudRead;
        CATALOG_WRITE = "identity:catalog:write", CloudAdmin;
        APPLICATION_CREDENTIALS_READ = "identity:application-credentials:read", OwnerOrCloudRead;
        APPLICATION_CREDENTIALS_CREATE = "identity:application-credentials:create", Owner;
        APPLICATION_CREDENTIALS_DELETE = "identity:application-credentials:delete", OwnerOrAdmin;
        CREDENTIALS_READ = "identity:credentials:read", OwnerOrCloudRead;
        CREDENTIALS_WRITE = "identity:credentials:write", OwnerOrAdmin;
        TRUSTS_LIST = "identity:trusts:list", CloudRead;
        TRUSTS_READ = "identity:trusts:read", OwnerOrCloudRead;
        TRUSTS_CREATE = "identity:trusts:create", Owner;
        TRUSTS_DELETE = "identity:trusts:delete", OwnerOrAdmin;
        TOKENS_VALIDATE = "identity:tokens:validate", OwnerOrService;
        TOKENS_REVOKE = "identity:tokens:revoke", OwnerOrAdmin;
        POLICIES_READ = "identity:policies:read", CloudRead;
        POLICIES_WRITE = "identity:policies:write", CloudAdmin;
        CONSUMERS_READ = "identity:consumers:read", CloudRead;
        CONSUMERS_WRITE = "identity:consumers:write", CloudAdmin;
        LIMITS_READ = "identity:limits:read", ProjectOrDomainRead;
        LIMITS_WRITE = "identity:limits:write", CloudAdmin;
        REGISTERED_LIMITS_READ = "identity:registered-limits:read", Anyone;
    }
    network {
        READ_ALL = "network:all:read-all-projects", CloudRead;
        NETWORKS_READ = "network:networks:read", ProjectRead;
        NETWORKS_WRITE = "network:networks:write", ProjectWrite;
        NETWORKS_OPERATE = "network:networks:operate", CloudAdmin;
        SUBNETS_READ = "network:subnets:read", ProjectRead;
        SUBNETS_WRITE = "network:subnets:write", ProjectWrite;
        SUBNET_POOLS_READ = "network:subnet-pools:read", ProjectRead;
        SUBNET_POOLS_WRITE = "network:subnet-pools:write", ProjectWrite;
        ADDRESS_SCOPES_READ = "network:address-scopes:read", ProjectRead;
        ADDRESS_SCOPES_WRITE = "network:address-scopes:write", ProjectWrite;
        SHARE = "network:all:share", CloudAdmin;
        PORTS_READ = "network:ports:read", ProjectRead;
        PORTS_WRITE = "network:ports:write", ProjectWrite;
        PORTS_BIND = "network:ports:bind", CloudAdmin;
        ROUTERS_READ = "network:routers:read", ProjectRead;
        ROUTERS_WRITE = "network:routers:write", ProjectWrite;
        ROUTERS_OPERATE = "network:routers:operate", CloudAdmin;
        FLOATING_IPS_READ = "network:floating-ips:read", ProjectRead;
        FLOATING_IPS_WRITE = "network:floating-ips:write", ProjectAdmin;
        FLOATING_IPS_WRITE_AS_MEMBER = "network:floating-ips:write-as-member", ProjectWrite;
        FLOATING_IPS_CHOOSE = "network:floating-ips:choose-address", CloudAdmin;
        SECURITY_GROUPS_READ = "network:security-groups:read", ProjectRead;
        SECURITY_GROUPS_WRITE = "network:security-groups:write", ProjectWrite;
        ADDRESS_GROUPS_READ = "network:address-groups:read", ProjectRead;
        ADDRESS_GROUPS_WRITE = "network:address-groups:write", ProjectWrite;
        QOS_READ = "network:qos-policies:read", ProjectRead;
        QOS_WRITE = "network:qos-policies:write", CloudAdmin;
        RBAC_READ = "network:rbac-policies:read", ProjectRead;
        RBAC_WRITE = "network:rbac-policies:write", ProjectWrite;
        TRUNKS_READ = "network:trunks:read", ProjectRead;
        TRUNKS_WRITE = "network:trunks:write", ProjectWrite;
        QUOTAS_READ = "network:quotas:read", ProjectRead;
        QUOTAS_WRITE = "network:quotas:write", CloudAdmin;
        AGENTS_READ = "network:agents:read", CloudRead;
        INFO_READ = "network:info:read", Anyone;
    }
    baremetal {
        NODES_READ = "baremetal:nodes:read", ProjectRead;
        NODES_READ_ALL = "baremetal:nodes:read-all-projects", CloudRead;
        NODES_CREATE = "baremetal:nodes:create", CloudAdmin;
        NODES_DELETE = "baremetal:nodes:delete", CloudAdmin;
        NODES_WRITE = "baremetal:nodes:write", ProjectOrCloudWrite;
        NODES_OPERATE = "baremetal:nodes:operate", ProjectOrCloudWrite;
        NODES_OPERATE_AS_LESSEE = "baremetal:nodes:operate-as-lessee", ProjectManage;
        NODES_PASSTHRU = "baremetal:nodes:vendor-passthru", CloudAdmin;
        NODES_READ_CONSOLE = "baremetal:nodes:read-console", CloudAdmin;
        PORTS_READ = "baremetal:ports:read", ProjectRead;
        PORTS_CREATE = "baremetal:ports:create", CloudAdmin;
        PORTS_WRITE = "baremetal:ports:write", CloudWrite;
        PORTS_DELETE = "baremetal:ports:delete", CloudAdmin;
        CHASSIS_READ = "baremetal:chassis:read", CloudRead;
        CHASSIS_CREATE = "baremetal:chassis:create", CloudAdmin;
        CHASSIS_WRITE = "baremetal:chassis:write", CloudWrite;
        CHASSIS_DELETE = "baremetal:chassis:delete", CloudAdmin;
        DRIVERS_READ = "baremetal:drivers:read", CloudRead;
        DRIVERS_PASSTHRU = "baremetal:drivers:vendor-passthru", CloudAdmin;
        CONDUCTORS_READ = "baremetal:conductors:read", CloudRead;
        SHARDS_READ = "baremetal:shards:read", CloudRead;
        ALLOCATIONS_READ = "baremetal:allocations:read", ProjectRead;
        ALLOCATIONS_READ_ALL = "baremetal:allocations:read-all-projects", CloudRead;
        ALLOCATIONS_WRITE = "baremetal:allocations:write", ProjectOrCloudWrite;
        DEPLOY_TEMPLATES_READ = "baremetal:deploy-templates:read", CloudRead;
        DEPLOY_TEMPLATES_WRITE = "baremetal:deploy-templates:write", CloudAdmin;
        INSPECTION_RULES_READ = "baremetal:inspection-rules:read", CloudRead;
        INSPECTION_RULES_WRITE = "baremetal:inspection-rules:write", CloudAdmin;
        RUNBOOKS_READ = "baremetal:runbooks:read", ProjectRead;
        RUNBOOKS_READ_ALL = "baremetal:runbooks:read-all-projects", CloudRead;
        RUNBOOKS_WRITE = "baremetal:runbooks:write", ProjectOrCloudWrite;
        RUNBOOKS_PUBLISH = "baremetal:runbooks:publish", CloudAdmin;
        VOLUMES_READ = "baremetal:volumes:read", ProjectRead;
        VOLUMES_WRITE = "baremetal:volumes:write", ProjectOrCloudWrite;
        EVENTS_POST = "baremetal:events:post", CloudAdmin;
    }
    native {
        OPERATIONS_READ = "native:operations:read", CloudRead;
        OPERATIONS_CANCEL = "native:operations:cancel", CloudAdmin;
    }
}
