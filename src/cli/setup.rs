//! `setup elasticsearch`: what has to be in the cluster before the exporter writes.

use super::exit::Exit;
use super::kibana::KibanaArgs;
use crate::elasticsearch::setup::{
    CHECKPOINTS_KEY, CORRELATOR_KEY, Class, DEFAULT_CLASS, DEFAULT_RETENTION_DAYS, EXPORTER_KEY,
    Lifecycle, Plan, SetupError, SetupOptions, Tiers, plan,
};
use crate::elasticsearch::{
    Auth, Client, ClientCertificate, Connection, Hosts, Secret, SettingsError,
};
use clap::{Args, Subcommand};
use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

/// Variable with the password of `--user`.
const PASSWORD: &str = "SPANLEDGER_ELASTICSEARCH_PASSWORD";

/// Variable with an API key.
const API_KEY: &str = "SPANLEDGER_ELASTICSEARCH_API_KEY";

/// Variable with a bearer token.
const TOKEN: &str = "SPANLEDGER_ELASTICSEARCH_TOKEN";

/// Where nothing is said of hosts.
const DEFAULT_URL: &str = "http://localhost:9200";

/// `setup`.
#[derive(Debug, Clone, Args)]
#[command(
    after_help = "Examples:\n  spanledger setup elasticsearch --dry-run\n  spanledger setup elasticsearch --url https://es.example:9200 --ca-file ca.pem --user elastic\n  spanledger setup kibana --url http://localhost:5601"
)]
pub struct SetupArgs {
    /// What is set up.
    #[command(subcommand)]
    pub target: SetupTarget,
}

/// What can be set up.
#[derive(Debug, Clone, Subcommand)]
pub enum SetupTarget {
    /// Templates, data streams, lifecycle, roles and keys in Elasticsearch or OpenSearch
    Elasticsearch(Box<ElasticsearchArgs>),
    /// Data view, searches and dashboards in Kibana or OpenSearch Dashboards
    Kibana(KibanaArgs),
}

/// `setup elasticsearch`.
#[derive(Debug, Clone, Args)]
#[command(
    after_help = "Examples:\n  spanledger setup elasticsearch --dry-run\n  spanledger setup elasticsearch --config /etc/spanledger.yaml\n  spanledger setup elasticsearch --url https://es.example:9200 --ca-file ca.pem --user elastic --password-file pw\n  spanledger setup elasticsearch --class default=365 --warm-after-days 7\n  spanledger setup elasticsearch --roles --exporter-key-file exporter.key\n  spanledger setup elasticsearch --checkpoints --checkpoints-key-file checkpoints.key\n\nSecrets come from files, or from SPANLEDGER_ELASTICSEARCH_PASSWORD, _API_KEY or _TOKEN.\nIt can be run again at any time: what is there already is left as it is. Lifecycle policies\n(ILM, ISM) and the roles of OpenSearch were not run against a real cluster by our tests."
)]
pub struct ElasticsearchArgs {
    #[allow(missing_docs, reason = "the help text below says it: a bare URL is no Markdown")]
    #[arg(
        long,
        help = "Address of a node; several are separated by commas [default: http://localhost:9200]",
        value_name = "URL",
        value_delimiter = ',',
        env = "SPANLEDGER_ELASTICSEARCH",
        hide_env_values = true
    )]
    pub url: Vec<String>,

    /// Id of an Elastic Cloud deployment, instead of --url
    #[arg(long, value_name = "ID", conflicts_with = "url")]
    pub cloud_id: Option<String>,

    /// Configuration file (YAML) whose elasticsearch block says where and who; flags win
    #[arg(long, value_name = "FILE", env = "SPANLEDGER_CONFIG", hide_env_values = true)]
    pub config: Option<PathBuf>,

    /// Name of the user
    #[arg(long, value_name = "NAME", conflicts_with_all = ["api_key_file", "token_file"])]
    pub user: Option<String>,

    /// File with the password of --user
    #[arg(long, value_name = "FILE", requires = "user")]
    pub password_file: Option<PathBuf>,

    /// File with an API key, `ID:KEY` or encoded
    #[arg(long, value_name = "FILE", conflicts_with = "token_file")]
    pub api_key_file: Option<PathBuf>,

    /// File with a bearer token
    #[arg(long, value_name = "FILE")]
    pub token_file: Option<PathBuf>,

    /// PEM file with the authority of the cluster's certificate
    #[arg(long, value_name = "FILE")]
    pub ca_file: Option<PathBuf>,

    /// PEM file with a client certificate
    #[arg(long, value_name = "FILE", requires = "client_key")]
    pub client_certificate: Option<PathBuf>,

    /// PEM file with the key of --client-certificate
    #[arg(long, value_name = "FILE", requires = "client_certificate")]
    pub client_key: Option<PathBuf>,

    /// Print each request that would change something, and send none
    #[arg(long)]
    pub dry_run: bool,

    /// Retention class, `default` or a number, and its days; the first is that of all classes not
    /// named [default: default=184]
    #[arg(long, value_name = "NAME[=DAYS]")]
    pub class: Vec<String>,

    /// Move indices to warm nodes that many days after they are full
    #[arg(long, value_name = "DAYS")]
    pub warm_after_days: Option<u32>,

    /// Move indices to cold nodes that many days after they are full (Elasticsearch)
    #[arg(long, value_name = "DAYS")]
    pub cold_after_days: Option<u32>,

    /// Set no lifecycle, and take ours off the streams: nothing of ours deletes anything
    #[arg(long, conflicts_with_all = ["warm_after_days", "cold_after_days"])]
    pub no_lifecycle: bool,

    /// Use the index mode logsdb, a third of the storage (Elasticsearch 8.17 on)
    #[arg(long)]
    pub logsdb: bool,

    /// Let Elasticsearch keep what it cannot take, instead of our dead letters only
    #[arg(long)]
    pub failure_store: bool,

    /// Make the roles spanledger-exporter, -correlator, -eraser, -auditor and -admin
    #[arg(long)]
    pub roles: bool,

    /// Let the exporter search in its streams and refresh them, so that after a lost reply it looks
    /// what is there before it sends again
    #[arg(long)]
    pub exporter_reads: bool,

    /// Make an API key for the exporter and write it to this new file
    #[arg(long, value_name = "FILE")]
    pub exporter_key_file: Option<PathBuf>,

    /// Make an API key for the correlator and write it to this new file
    #[arg(long, value_name = "FILE")]
    pub correlator_key_file: Option<PathBuf>,

    /// Make the data stream spanledger.checkpoints, for a sink of checkpoints of the public log; with
    /// --roles the role spanledger-checkpoints, too
    #[arg(long)]
    pub checkpoints: bool,

    /// Make an API key that may create documents in spanledger.checkpoints, and nothing else, and write
    /// it to this new file
    #[arg(long, value_name = "FILE", requires = "checkpoints")]
    pub checkpoints_key_file: Option<PathBuf>,
}

/// Why setup failed. Its text says what to do next.
#[derive(Debug, thiserror::Error)]
pub enum SetupCommandError {
    /// The connection cannot be set up.
    #[error(transparent)]
    Settings(#[from] SettingsError),
    /// Setup itself failed.
    #[error(transparent)]
    Setup(#[from] SetupError),
    /// A class is not written as one.
    #[error("{0:?} is no retention class; write NAME or NAME=DAYS, such as default=184")]
    Class(String),
    /// A user without a password.
    #[error("there is no password for --user; name a file with --password-file or set {PASSWORD}")]
    NoPassword,
    /// A file with a secret cannot be read.
    #[error("cannot read the secret in {}; check the path and its permissions", path.display())]
    Secret {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The file for the key cannot be made.
    #[error("cannot make the file {} for the key; name one that is not there yet", path.display())]
    KeyFile {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The key was made and could not be written.
    #[error(
        "the API key {name} was made and cannot be written to {}, so nobody has it: \
         invalidate it (DELETE /_security/api_key with {{\"name\": \"{name}\"}}), make room \
         for the file and run setup again",
        path.display()
    )]
    KeyLost {
        /// Name of the key.
        name: &'static str,
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Standard output cannot be written.
    #[error("standard output cannot be written")]
    Output(#[from] io::Error),
}

impl SetupCommandError {
    /// The exit code: what cannot be asked for is a matter of usage.
    pub fn exit(&self) -> Exit {
        match self {
            Self::Class(_) | Self::NoPassword | Self::Settings(_) => Exit::Usage,
            _ => Exit::Failed,
        }
    }
}

/// Runs `setup elasticsearch`. `configured` is what the configuration file says of the cluster;
/// flags win over it.
///
/// # Errors
/// [`SetupCommandError`], each with what to do next.
pub async fn setup(
    args: &ElasticsearchArgs,
    configured: Option<Connection>,
    out: &mut impl Write,
) -> Result<Exit, SetupCommandError> {
    let secret = |name: &str| std::env::var(name).ok().filter(|text| !text.is_empty());
    let connection = args.connection(configured, secret)?;
    let options = args.options()?;
    let client = Client::new(&connection)?;
    let plan = plan(&client, &options).await?;
    writeln!(out, "# {}", plan.flavor)?;
    for notice in connection.notices().iter().chain(&plan.notices) {
        writeln!(out, "# note: {notice}")?;
    }
    if args.dry_run {
        for step in &plan.steps {
            writeln!(out, "\n{step}")?;
        }
        let (send, keep) = (plan.steps.len(), plan.unchanged.len());
        writeln!(out, "\n# {send} to send, {keep} as wanted; nothing was sent")?;
        return Ok(Exit::Fine);
    }
    let files = args.key_files(&plan)?;
    let applied = match plan.apply(&client).await {
        Ok(applied) => applied,
        Err(error) => {
            for (_, path, _) in files {
                // Empty, and in the way of the next run.
                let _ = fs::remove_file(path);
            }
            return Err(error.into());
        }
    };
    for (name, path, mut file) in files {
        if let Some((_, key)) = applied.keys.iter().find(|(made, _)| *made == name) {
            if let Err(source) = write_key(&mut file, key) {
                let _ = fs::remove_file(path);
                return Err(SetupCommandError::KeyLost { name, path: path.to_owned(), source });
            }
            writeln!(out, "the API key {name} is in {}", path.display())?;
        }
    }
    for step in &plan.steps {
        writeln!(out, "{}: {}", step.what, step.reason)?;
    }
    for (name, _) in args.keys().filter(|(name, _)| !makes(&plan, name)) {
        writeln!(
            out,
            "no key {name} was written: it is there and cannot be shown again; invalidate it for a \
             new one"
        )?;
    }
    let (changed, keep) = (applied.changed, plan.unchanged.len());
    writeln!(out, "{changed} changed, {keep} as wanted already")?;
    Ok(Exit::Fine)
}

/// Whether the plan makes that key.
fn makes(plan: &Plan, name: &str) -> bool {
    plan.steps.iter().any(|step| step.makes_key.as_deref() == Some(name))
}

impl ElasticsearchArgs {
    /// The keys that are asked for, and where they go.
    fn keys(&self) -> impl Iterator<Item = (&'static str, &Path)> {
        let exporter = self.exporter_key_file.as_deref().map(|path| (EXPORTER_KEY, path));
        let correlator = self.correlator_key_file.as_deref().map(|path| (CORRELATOR_KEY, path));
        let checkpoints = self.checkpoints_key_file.as_deref().map(|path| (CHECKPOINTS_KEY, path));
        exporter.into_iter().chain(correlator).chain(checkpoints)
    }

    /// A new file for each key that will be made, before it is: the cluster shows it once.
    fn key_files(
        &self,
        plan: &Plan,
    ) -> Result<Vec<(&'static str, &Path, File)>, SetupCommandError> {
        let mut files: Vec<(&'static str, &Path, File)> = Vec::new();
        for (name, path) in self.keys().filter(|(name, _)| makes(plan, name)) {
            match key_file(path) {
                Ok(file) => files.push((name, path, file)),
                Err(error) => {
                    for (_, path, _) in files {
                        let _ = fs::remove_file(path);
                    }
                    return Err(error);
                }
            }
        }
        Ok(files)
    }

    /// Where the cluster is and who we are: flags, then `configured`, then the local default.
    fn connection(
        &self,
        configured: Option<Connection>,
        variable: impl Fn(&str) -> Option<String>,
    ) -> Result<Connection, SetupCommandError> {
        let mut connection = configured.unwrap_or_else(|| Connection::to(DEFAULT_URL));
        if let Some(id) = &self.cloud_id {
            connection.hosts = Hosts::CloudId(id.clone());
        } else if !self.url.is_empty() {
            connection.hosts = Hosts::Urls(self.url.clone());
        }
        let variable = |name: &str| variable(name).map(|text| Secret::new(&text));
        if let Some(username) = &self.user {
            let password = match &self.password_file {
                Some(path) => secret(path)?,
                None => variable(PASSWORD).ok_or(SetupCommandError::NoPassword)?,
            };
            connection.auth = Auth::Basic { username: username.clone(), password };
        } else if let Some(path) = &self.api_key_file {
            connection.auth = Auth::ApiKey(secret(path)?);
        } else if let Some(path) = &self.token_file {
            connection.auth = Auth::Bearer(secret(path)?);
        } else if connection.auth == Auth::None {
            let key = variable(API_KEY).map(Auth::ApiKey);
            connection.auth = key.or_else(|| variable(TOKEN).map(Auth::Bearer)).unwrap_or_default();
        }
        if let Some(path) = &self.ca_file {
            connection.ca_file = Some(path.clone());
        }
        if let (Some(certificate), Some(key)) = (&self.client_certificate, &self.client_key) {
            let (certificate, key) = (certificate.clone(), key.clone());
            connection.client_certificate = Some(ClientCertificate { certificate, key });
        }
        Ok(connection)
    }

    fn options(&self) -> Result<SetupOptions, SetupCommandError> {
        let mut classes =
            self.class.iter().map(|text| class(text)).collect::<Result<Vec<_>, _>>()?;
        if classes.is_empty() {
            classes.push(class(DEFAULT_CLASS)?);
        }
        let (warm_days, cold_days) = (self.warm_after_days, self.cold_after_days);
        let lifecycle = if self.no_lifecycle {
            Lifecycle::None
        } else if warm_days.is_some() || cold_days.is_some() {
            Lifecycle::Tiers(Tiers { warm_days, cold_days })
        } else {
            Lifecycle::Delete
        };
        Ok(SetupOptions {
            classes,
            lifecycle,
            failure_store: self.failure_store,
            logsdb: self.logsdb,
            roles: self.roles,
            exporter_reads: self.exporter_reads,
            exporter_key: self.exporter_key_file.is_some(),
            correlator_key: self.correlator_key_file.is_some(),
            checkpoints: self.checkpoints,
            checkpoints_key: self.checkpoints_key_file.is_some(),
        })
    }
}

fn class(text: &str) -> Result<Class, SetupCommandError> {
    let (name, days) = text.split_once('=').map_or((text, None), |(name, days)| (name, Some(days)));
    let retention_days = match days {
        None => DEFAULT_RETENTION_DAYS,
        Some(days) => days
            .trim_end_matches('d')
            .parse()
            .map_err(|_| SetupCommandError::Class(super::display::clean(text)))?,
    };
    Ok(Class { name: name.to_owned(), retention_days })
}

pub(super) fn secret(path: &Path) -> Result<Secret, SetupCommandError> {
    let failed = |source| SetupCommandError::Secret { path: path.to_owned(), source };
    fs::read_to_string(path).map(|text| Secret::new(&text)).map_err(failed)
}

fn key_file(path: &Path) -> Result<File, SetupCommandError> {
    let failed = |source| SetupCommandError::KeyFile { path: path.to_owned(), source };
    File::options().write(true).create_new(true).mode(0o600).open(path).map_err(failed)
}

fn write_key(file: &mut File, key: &Secret) -> io::Result<()> {
    writeln!(file, "{}", key.expose())?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Debug, Parser)]
    struct Alone {
        #[command(flatten)]
        args: ElasticsearchArgs,
    }

    fn parse(line: &str) -> ElasticsearchArgs {
        let words = std::iter::once("x").chain(line.split_whitespace());
        Alone::try_parse_from(words).unwrap().args
    }

    fn nothing(_: &str) -> Option<String> {
        None
    }

    #[test]
    fn classes_are_names_with_days() {
        let options = parse("--class default=365d --class 1=7 --class 2").options().unwrap();
        let days: Vec<_> =
            options.classes.iter().map(|c| (c.name.as_str(), c.retention_days)).collect();
        assert_eq!(days, [("default", 365), ("1", 7), ("2", 184)]);
        assert_eq!(parse("").options().unwrap(), SetupOptions::default());
        assert!(matches!(parse("--class a=b").options(), Err(SetupCommandError::Class(_))));
    }

    #[test]
    fn flags_win_over_the_file() {
        let mut file = Connection::to("https://of-the-file:9200");
        file.auth = Auth::Bearer(Secret::new("token"));
        let kept = parse("").connection(Some(file.clone()), nothing).unwrap();
        assert_eq!(kept, file);
        let args = parse("--url https://a:1,https://b:2 --user u");
        let variable = |name: &str| (name == PASSWORD).then(|| "geheim".to_owned());
        let given = args.connection(Some(file), variable).unwrap();
        assert_eq!(given.hosts, Hosts::Urls(vec!["https://a:1".into(), "https://b:2".into()]));
        let password = Secret::new("geheim");
        assert_eq!(given.auth, Auth::Basic { username: "u".into(), password });
    }

    #[test]
    fn a_secret_comes_from_a_file_or_a_variable() {
        let error = parse("--user u").connection(None, nothing).unwrap_err();
        assert!(error.to_string().contains("--password-file"), "{error}");
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        fs::write(&path, "id:key\n").unwrap();
        let args = parse(&format!("--api-key-file {}", path.display()));
        let connection = args.connection(None, nothing).unwrap();
        assert_eq!(connection.auth, Auth::ApiKey(Secret::new("id:key")));
        let variable = |name: &str| (name == API_KEY).then(|| "id:other".to_owned());
        let connection = parse("").connection(None, variable).unwrap();
        assert_eq!(connection.auth, Auth::ApiKey(Secret::new("id:other")));
        let missing = parse("--token-file /nowhere/token").connection(None, nothing).unwrap_err();
        assert!(matches!(missing, SetupCommandError::Secret { .. }), "{missing}");
    }

    #[test]
    fn a_key_never_replaces_a_file_and_nobody_else_reads_it() {
        use std::os::unix::fs::PermissionsExt as _;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        key_file(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert!(matches!(key_file(&path), Err(SetupCommandError::KeyFile { .. })));
    }
}
