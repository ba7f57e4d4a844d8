//! `spanledger setup kibana`: the saved objects of `config/kibana` in Kibana or OpenSearch Dashboards.
//!
//! The import of saved objects is the documented one of both; it was not run against a real Kibana
//! by our tests, but against a server that refuses what Kibana refuses.
//!
//! Source: Kibana guide, "Import objects API".

use super::exit::Exit;
use super::setup::{SetupCommandError, secret};
use clap::Args;
use reqwest::{Certificate, RequestBuilder, StatusCode, redirect};
use serde::Deserialize;
use std::io::Write;
use std::path::PathBuf;
use std::time::Duration;

/// What Kibana and OpenSearch Dashboards both take.
const UNIVERSAL: (&str, &str) =
    ("spanledger.ndjson", include_str!("../../config/kibana/spanledger.ndjson"));

/// With Lens: Kibana only.
const LENS: (&str, &str) =
    ("spanledger-lens.ndjson", include_str!("../../config/kibana/spanledger-lens.ndjson"));

/// Where the links of the objects lead, as they are in the files.
const LINKS: &str = "http://127.0.0.1:4380";

/// How long the answer may take. Kibana migrates what it imports, which takes seconds.
const TIMEOUT: Duration = Duration::from_mins(2);

/// Between the parts of the request. It stands in no file: a test looks.
const BOUNDARY: &str = "spanledger-saved-objects-5f0c1d";

/// `setup kibana`.
#[derive(Debug, Clone, Args)]
#[command(
    after_help = "Examples:\n  spanledger setup kibana --url http://localhost:5601\n  spanledger setup kibana --url https://kibana.example --api-key-file key --space audit --lens\n  spanledger setup kibana --link https://spanledger.example:4380 --dry-run\n\nObjects of ours that are there already are written over: what you changed in them is lost, so copy\nthem first. The import was not run against a real Kibana by our tests."
)]
pub struct KibanaArgs {
    #[allow(missing_docs, reason = "the help text below says it: a bare URL is no Markdown")]
    #[arg(
        long,
        value_name = "URL",
        default_value = "http://localhost:5601",
        env = "SPANLEDGER_KIBANA",
        hide_env_values = true,
        help = "Address of Kibana or OpenSearch Dashboards, with its base path if it has one"
    )]
    pub url: String,

    /// Space of Kibana that gets the objects [default: the default space]
    #[arg(long, value_name = "NAME")]
    pub space: Option<String>,

    /// Import the file with Lens in place of the universal one (Kibana only)
    #[arg(long)]
    pub lens: bool,

    #[allow(missing_docs, reason = "the help text below says it: a bare URL is no Markdown")]
    #[arg(
        long,
        value_name = "URL",
        help = "Where links from documents lead: the address of your spanledger [default: http://127.0.0.1:4380]"
    )]
    pub link: Option<String>,

    /// Name of the user
    #[arg(long, value_name = "NAME", requires = "password_file", conflicts_with = "api_key_file")]
    pub user: Option<String>,

    /// File with the password of --user
    #[arg(long, value_name = "FILE", requires = "user")]
    pub password_file: Option<PathBuf>,

    /// File with an API key, encoded
    #[arg(long, value_name = "FILE")]
    pub api_key_file: Option<PathBuf>,

    /// PEM file with the authority of Kibana's certificate
    #[arg(long, value_name = "FILE")]
    pub ca_file: Option<PathBuf>,

    /// Say what would be imported, and send nothing
    #[arg(long)]
    pub dry_run: bool,
}

/// Why nothing, or not everything, was imported. Quotes no credentials.
#[derive(Debug, thiserror::Error)]
pub enum KibanaError {
    /// A file cannot be read, or a flag makes no sense.
    #[error(transparent)]
    Setup(#[from] SetupCommandError),
    /// The address or a name in it cannot be used.
    #[error("{0}")]
    Flag(String),
    /// A file cannot be read.
    #[error("cannot read {}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// There is no answer.
    #[error("no answer from Kibana; check that it runs at that address, and its certificate")]
    Send(#[source] reqwest::Error),
    /// It does not know who we are, or does not let us.
    #[error(
        "Kibana refuses ({0}): give credentials that may write saved objects in that space, \
         --user with --password-file, or --api-key-file"
    )]
    Refused(StatusCode),
    /// It answers something else.
    #[error(
        "the answer ({0}) is no answer of an import: check the address (port 5601, not 9200), the \
         base path and the space"
    )]
    Unexpected(StatusCode),
    /// Some objects were not taken.
    #[error("{failed} objects were not imported, {imported} were: {}", kinds.join(", "))]
    Objects {
        /// How many were.
        imported: u64,
        /// How many were not.
        failed: usize,
        /// Kind and error of each that was not.
        kinds: Vec<String>,
    },
    /// Standard output cannot be written.
    #[error("standard output cannot be written")]
    Output(#[from] std::io::Error),
}

impl KibanaError {
    /// The exit code: what cannot be asked for is a matter of usage.
    pub fn exit(&self) -> Exit {
        match self {
            Self::Flag(_) => Exit::Usage,
            Self::Setup(error) => error.exit(),
            _ => Exit::Failed,
        }
    }
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Imported {
    success: bool,
    #[serde(default)]
    success_count: u64,
    #[serde(default)]
    errors: Vec<Failed>,
}

#[derive(Debug, Deserialize)]
struct Failed {
    id: String,
    #[serde(rename = "type")]
    kind: String,
    error: Reason,
}

#[derive(Debug, Deserialize)]
struct Reason {
    #[serde(rename = "type")]
    kind: String,
}

/// Runs `setup kibana`.
///
/// # Errors
/// [`KibanaError`], with what to do next.
pub async fn setup(args: &KibanaArgs, out: &mut impl Write) -> Result<Exit, KibanaError> {
    let address = args.address()?;
    let (name, objects) = if args.lens { LENS } else { UNIVERSAL };
    let objects = match &args.link {
        Some(link) => objects.replace(LINKS, link.trim_end_matches('/')),
        None => objects.to_owned(),
    };
    let count = objects.lines().filter(|line| !line.is_empty()).count();
    if args.dry_run {
        writeln!(out, "POST {address}\n# {count} objects of {name}; nothing was sent")?;
        return Ok(Exit::Fine);
    }
    let request = args.request(&address)?.body(form(name, &objects));
    let answer = request.send().await.map_err(|error| KibanaError::Send(error.without_url()))?;
    let status = answer.status();
    let body = answer.bytes().await.map_err(|error| KibanaError::Send(error.without_url()))?;
    if matches!(status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) {
        return Err(KibanaError::Refused(status));
    }
    let done: Imported = serde_json::from_slice(&body)
        .ok()
        .filter(|_| status.is_success())
        .ok_or(KibanaError::Unexpected(status))?;
    if !done.success || !done.errors.is_empty() {
        let told = |failed: &Failed| {
            super::display::clean(&format!("{} {} ({})", failed.kind, failed.id, failed.error.kind))
        };
        let kinds = done.errors.iter().map(told).collect();
        let (imported, failed) = (done.success_count, done.errors.len());
        return Err(KibanaError::Objects { imported, failed, kinds });
    }
    writeln!(out, "{} objects of {name} imported", done.success_count)?;
    Ok(Exit::Fine)
}

impl KibanaArgs {
    /// Where objects are imported.
    fn address(&self) -> Result<String, KibanaError> {
        let flag = |text: &str| Err(KibanaError::Flag(text.to_owned()));
        let url = self.url.trim_end_matches('/');
        let Ok(parsed) = reqwest::Url::parse(url) else {
            return flag("--url is no address; write http://localhost:5601");
        };
        if !matches!(parsed.scheme(), "http" | "https") || parsed.host_str().is_none() {
            return flag("--url has to begin with http:// or https:// and name a host");
        }
        if !parsed.username().is_empty() || parsed.password().is_some() {
            return flag(
                "a URL on the command line is seen by everybody on the machine: take the \
                 credentials out of --url and give --user with --password-file, or --api-key-file",
            );
        }
        let space = match self.space.as_deref() {
            None => String::new(),
            // Source: Kibana guide, "Create space API": what an id may be made of.
            Some(name)
                if !name.is_empty()
                    && name.bytes().all(|b| {
                        b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_' || b == b'-'
                    }) =>
            {
                format!("/s/{name}")
            }
            Some(_) => {
                return flag("--space is the id of a space: lower-case letters, digits, _ and -");
            }
        };
        Ok(format!("{url}{space}/api/saved_objects/_import?overwrite=true"))
    }

    fn request(&self, address: &str) -> Result<RequestBuilder, KibanaError> {
        // Credentials go where they were told to go, and nowhere else.
        let mut client = reqwest::Client::builder()
            .timeout(TIMEOUT)
            .no_proxy()
            .redirect(redirect::Policy::none());
        if let Some(path) = &self.ca_file {
            let failed = |source| KibanaError::File { path: path.clone(), source };
            let pem = std::fs::read(path).map_err(failed)?;
            let authority = Certificate::from_pem(&pem).map_err(KibanaError::Send)?;
            client = client.add_root_certificate(authority);
        }
        let request = client.build().map_err(KibanaError::Send)?.post(address);
        let request = request
            // One of the two is asked for by each product, the other is passed over.
            .header("kbn-xsrf", "true")
            .header("osd-xsrf", "true")
            .header("content-type", format!("multipart/form-data; boundary={BOUNDARY}"));
        Ok(match (&self.user, &self.password_file, &self.api_key_file) {
            (Some(user), Some(path), _) => request.basic_auth(user, Some(secret(path)?.expose())),
            (_, _, Some(path)) => {
                request.header("authorization", format!("ApiKey {}", secret(path)?.expose()))
            }
            _ => request,
        })
    }
}

/// One file as a form. Source: RFC 7578.
fn form(name: &str, content: &str) -> String {
    format!(
        "--{BOUNDARY}\r\nContent-Disposition: form-data; name=\"file\"; filename=\"{name}\"\r\n\
         Content-Type: application/ndjson\r\n\r\n{content}\r\n--{BOUNDARY}--\r\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::Router;
    use axum::extract::Request;
    use axum::http::HeaderMap;
    use axum::response::IntoResponse;
    use axum::routing::post;
    use clap::Parser;

    #[derive(Debug, Parser)]
    struct Alone {
        #[command(flatten)]
        args: KibanaArgs,
    }

    fn args(flags: &[&str]) -> KibanaArgs {
        Alone::parse_from(std::iter::once(&"setup").chain(flags)).args
    }

    async fn run(args: &KibanaArgs) -> Result<String, String> {
        let mut out = Vec::new();
        let done = setup(args, &mut out).await;
        done.map(|_| String::from_utf8(out).unwrap()).map_err(|error| error.to_string())
    }

    /// Refuses what Kibana refuses; gives back the objects that it took.
    async fn import(request: Request) -> impl IntoResponse {
        let (head, body) = request.into_parts();
        let header = |headers: &HeaderMap, name: &str| {
            headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned()
        };
        if header(&head.headers, "kbn-xsrf").is_empty() {
            return (StatusCode::BAD_REQUEST, "Request must contain a kbn-xsrf header.".to_owned());
        }
        if header(&head.headers, "authorization") != "ApiKey aWQ6a2V5" {
            return (StatusCode::UNAUTHORIZED, "{}".to_owned());
        }
        let body = axum::body::to_bytes(body, usize::MAX).await.unwrap();
        let body = String::from_utf8(body.to_vec()).unwrap();
        let kind = header(&head.headers, "content-type");
        let boundary = kind.strip_prefix("multipart/form-data; boundary=").unwrap().to_owned();
        let parts: Vec<&str> = body.split(&format!("--{boundary}")).collect();
        let &["", file, "--\r\n"] = parts.as_slice() else {
            return (StatusCode::BAD_REQUEST, format!("{} parts", parts.len()));
        };
        let (disposition, content) = file.split_once("\r\n\r\n").unwrap();
        assert!(disposition.contains("name=\"file\"") && disposition.contains(".ndjson\""));
        let lines = content.trim_end().lines();
        let objects: Vec<serde_json::Value> =
            lines.map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(head.uri.query(), Some("overwrite=true"));
        let linked = content.contains("https://ledger.example/api/v1/");
        let answer = serde_json::json!({
            "success": linked, "successCount": objects.len(),
            "errors": if linked { vec![] } else {
                vec![serde_json::json!({"id": "x", "type": "search", "error": {"type": "unknown"}})]
            },
        });
        (StatusCode::OK, answer.to_string())
    }

    async fn kibana() -> String {
        let router = Router::new()
            .route("/base/s/audit/api/saved_objects/_import", post(import))
            .fallback(async || (StatusCode::NOT_FOUND, "<html>"));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/base/", listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, router).await });
        url
    }

    #[tokio::test]
    async fn both_files_are_imported_into_the_space_with_links_to_the_server() {
        let url = kibana().await;
        let folder = tempfile::tempdir().unwrap();
        let key = folder.path().join("key");
        std::fs::write(&key, "aWQ6a2V5\n").unwrap();
        let key = key.to_str().unwrap();
        let whole = [
            "--url",
            &url,
            "--space",
            "audit",
            "--api-key-file",
            key,
            "--link",
            "https://ledger.example/",
        ];
        for (file, lens) in [(UNIVERSAL, None), (LENS, Some(&"--lens"))] {
            let flags: Vec<&str> = whole.iter().chain(lens).copied().collect();
            let said = run(&args(&flags)).await.unwrap();
            let count = file.1.lines().count();
            assert_eq!(said, format!("{count} objects of {} imported\n", file.0));
        }
        let refused = run(&args(&whole[..6])).await.unwrap_err();
        assert!(refused.ends_with("search x (unknown)"), "{refused}");
    }

    #[tokio::test]
    async fn what_goes_wrong_is_said_with_what_to_do() {
        let url = kibana().await;
        let nobody = run(&args(&["--url", &url, "--space", "audit"])).await.unwrap_err();
        assert!(nobody.contains("--api-key-file"), "{nobody}");
        let elsewhere = run(&args(&["--url", &url])).await.unwrap_err();
        assert!(elsewhere.contains("port 5601"), "{elsewhere}");
        for (flags, hint) in [
            (["--url", "https://u:geheim@kibana"], "take the credentials out"),
            (["--url", "kibana:5601"], "http://"),
            (["--space", "../x"], "lower-case letters"),
        ] {
            let error = run(&args(&flags)).await.unwrap_err();
            assert!(error.contains(hint) && !error.contains("geheim"), "{error}");
        }
    }

    #[tokio::test]
    async fn a_dry_run_sends_nothing() {
        let said = run(&args(&["--dry-run"])).await.unwrap();
        let address = "http://localhost:5601/api/saved_objects/_import?overwrite=true";
        assert!(said.starts_with(&format!("POST {address}\n")), "{said}");
    }

    #[test]
    fn the_files_have_links_to_change_and_no_boundary() {
        for (name, objects) in [UNIVERSAL, LENS] {
            assert!(objects.contains(LINKS) && !objects.contains(BOUNDARY), "{name}");
        }
    }
}
