//! The flags of `keys`.

use super::args::DEFAULT_DATA_DIR;
use super::connect::ConnectArgs;
use crate::access::Role;
use crate::api::{CreateKey, DEFAULT_GRACE, KeyForward, RotateKey};
use crate::config::Size;
use clap::{Args, Subcommand};
use std::path::PathBuf;

/// `keys`.
#[derive(Debug, Clone, Args)]
#[command(
    after_help = "Examples:\n  spanledger keys create --role operator --name ada --out ada.key\n  spanledger keys create --role writer --tenant acme --name agents --expires 90d\n  spanledger keys create --role auditor --tenant acme --quiet > auditor.key\n  spanledger keys create --role forwarder --tenant platform --forward acme,globex --tenant-attribute customer.id\n  spanledger keys create --role writer --tenant acme --certificate 'dns:agents.acme.example'\n  spanledger keys list\n  spanledger keys rotate 0123456789abcdef --grace 24h\n  spanledger keys revoke 0123456789abcdef\n  spanledger keys list --api https://ledger.example:4380 --key-file ada.key\n\nRoles: writer and forwarder send evidence, auditor and global-auditor read it, operator makes keys\nand looks after dead letters, monitor scrapes metrics. Nobody who sends can read, or the reverse.\n\nWithout --api the data folder is changed, by whoever may write to it; a running server takes the\nchange within a second. With --api a running server changes it, and an operator's key is needed.\n\nBefore the first credential everybody on this machine may do everything. From the first one on,\nand for good, nobody gets in without one: make the operator's first, then a writer's for the\nagents and an auditor's to read."
)]
pub struct KeysArgs {
    /// What to do.
    #[command(subcommand)]
    pub command: KeysCommand,

    /// Data folder whose keys these are
    #[arg(
        long,
        global = true,
        value_name = "DIR",
        env = "SPANLEDGER_DATA",
        default_value = DEFAULT_DATA_DIR,
        hide_env_values = true
    )]
    pub data: PathBuf,

    // No environment variable: a change to who may do what goes where this line says.
    /// Address of a running server's API that is asked to do it, instead of the data folder
    #[arg(long, global = true, value_name = "URL")]
    pub api: Option<String>,

    /// As whom it is asked.
    #[command(flatten)]
    pub connect: ConnectArgs,
}

/// What can be done with keys.
#[derive(Debug, Clone, Subcommand)]
pub enum KeysCommand {
    /// Make one; its secret is shown once
    Create(CreateKeyArgs),
    /// List them, revoked and expired ones included
    List(ListKeysArgs),
    /// Make another in the place of one, which goes on for a while
    Rotate(RotateKeyArgs),
    /// Refuse one from now on, for good
    Revoke(RevokeKeyArgs),
    /// The key that signs the public log
    Log(LogKeyArgs),
}

/// `keys log`.
#[derive(Debug, Clone, Args)]
pub struct LogKeyArgs {
    /// What to do.
    #[command(subcommand)]
    pub command: LogKeyCommand,

    /// Folder of the keys, when it is not DATA/keys
    #[arg(long, global = true, value_name = "DIR")]
    pub keys: Option<PathBuf>,
}

/// What can be done with the log's key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Subcommand)]
pub enum LogKeyCommand {
    /// Print its public half, with which checkpoints are verified
    Show,
    /// Make another, which takes over with an entry and a checkpoint that the old one signs
    Rotate,
}

/// `keys create`.
#[derive(Debug, Clone, Args)]
pub struct CreateKeyArgs {
    /// What it is for: writer, forwarder, auditor, global-auditor, operator, monitor
    #[arg(long)]
    pub role: Role,

    /// Whose evidence it writes or reads; none for global-auditor, operator and monitor
    #[arg(long, value_name = "NAME")]
    pub tenant: Option<String>,

    /// What people call it [default: its role]
    #[arg(long, value_name = "TEXT")]
    pub name: Option<String>,

    /// From when on it is refused: 90d, 2027-01-31 (its first moment, UTC) or 2027-01-31T12:00:00Z
    #[arg(long, value_name = "WHEN")]
    pub expires: Option<String>,

    /// Most requests in a second
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub max_requests: Option<u32>,

    /// Most bytes in a second, such as 10MiB, as received
    #[arg(long, value_name = "SIZE")]
    pub max_bytes: Option<Size>,

    /// Tenants that a forwarder may assert, separated by commas
    #[arg(long, value_name = "TENANTS", value_delimiter = ',')]
    pub forward: Vec<String>,

    /// Attribute of the resource in which a forwarder names the tenant
    #[arg(long, value_name = "NAME", requires = "forward", conflicts_with = "tenant_header")]
    pub tenant_attribute: Option<String>,

    /// Header, or metadata of gRPC, in which a forwarder names the tenant
    #[arg(long, value_name = "NAME", requires = "forward")]
    pub tenant_header: Option<String>,

    /// Name in a client certificate, instead of a key: subject:CN=…, dns:…, uri:… or email:…
    #[arg(long, value_name = "NAME")]
    pub certificate: Option<String>,

    /// Make it even if it is the first one and not an operator's
    #[arg(long)]
    pub yes: bool,

    /// Where the secret goes.
    #[command(flatten)]
    pub secret: SecretArgs,
}

/// Where a secret goes.
#[derive(Debug, Clone, Default, Args)]
pub struct SecretArgs {
    /// Print the secret and nothing else
    #[arg(long, short, conflicts_with = "json")]
    pub quiet: bool,

    /// Print the key, and the secret, as JSON
    #[arg(long)]
    pub json: bool,

    /// Write the secret to this new file, which only its owner can read, and do not print it
    #[arg(long, value_name = "FILE")]
    pub out: Option<PathBuf>,
}

/// `keys list`.
#[derive(Debug, Clone, Args)]
pub struct ListKeysArgs {
    /// Print them as JSON, with limits and what forwarders may assert
    #[arg(long)]
    pub json: bool,
}

/// `keys rotate`.
#[derive(Debug, Clone, Args)]
pub struct RotateKeyArgs {
    /// Id of the key, as list prints it
    pub id: String,

    /// How long the old key goes on; 0s for no longer
    #[arg(long, value_name = "TIME", default_value = DEFAULT_GRACE)]
    pub grace: String,

    /// Where the secret goes.
    #[command(flatten)]
    pub secret: SecretArgs,
}

/// `keys revoke`.
#[derive(Debug, Clone, Args)]
pub struct RevokeKeyArgs {
    /// Id of the key, as list prints it
    pub id: String,

    /// Print the key as JSON
    #[arg(long)]
    pub json: bool,
}

impl CreateKeyArgs {
    /// What is asked for, as the API takes it.
    pub(super) fn request(&self) -> CreateKey {
        let forward = !self.forward.is_empty();
        CreateKey {
            name: self.name.clone().unwrap_or_else(|| self.role.to_string()),
            role: self.role,
            tenant: self.tenant.clone(),
            expires: self.expires.clone(),
            requests_per_second: self.max_requests,
            bytes_per_second: self.max_bytes.map(Size::bytes),
            forward: forward.then(|| KeyForward {
                tenants: self.forward.clone(),
                attribute: self.tenant_attribute.clone(),
                header: self.tenant_header.clone(),
            }),
            certificate: self.certificate.clone(),
            first: self.yes,
        }
    }
}

impl RotateKeyArgs {
    /// What is asked for, as the API takes it.
    pub(super) fn request(&self) -> RotateKey {
        RotateKey { grace: Some(self.grace.clone()) }
    }
}
