//! Where the cluster is, who we are there, and how long we wait: resolved settings.
//!
//! Secrets arrive here read already, from a file or the environment; [`Secret`] keeps them out of
//! every text that we write. What is wrong with the settings is said before anything is sent.

use base64::Engine as _;
use elasticsearch::http::transport::CloudId;
use reqwest::Url;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

/// How long a connection may take to come about. A cluster is on the same network or one ocean
/// away; a host that takes longer is not there, and another one is tried.
pub const DEFAULT_CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Longest reply that is taken, bytes. A page of a thousand entries with large bodies is a few
/// megabytes, a bulk reply less; 64 MiB keeps a mistaken reply from taking the memory.
pub const DEFAULT_MAX_REPLY_BYTES: u64 = 64 * 1_024 * 1_024;

/// Text that nobody may read: a password, a key, a token.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret {
    text: String,
    /// The file that it was read from, which is read again when the cluster refuses it.
    file: Option<PathBuf>,
}

impl Secret {
    /// Takes the text as it was read. The line end that editors leave in files is cut off.
    pub fn new(text: &str) -> Self {
        Self { text: text.trim_end_matches(['\r', '\n']).to_owned(), file: None }
    }

    /// The same, of which it is known that it was read from `file`: when the cluster refuses it,
    /// the file is read again, so that a key can be changed while the server runs.
    #[must_use]
    pub fn kept_in(self, file: PathBuf) -> Self {
        Self { file: Some(file), ..self }
    }

    /// What its file holds now, when that is something else. A file that is gone or empty is
    /// being replaced: then nothing changes.
    fn changed(&self) -> Option<Self> {
        let file = self.file.as_ref()?;
        let now = Self::new(&std::fs::read_to_string(file).ok()?).kept_in(file.clone());
        (!now.text.is_empty() && now != *self).then_some(now)
    }

    /// The text, for sending it and for nothing else.
    pub fn expose(&self) -> &str {
        &self.text
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(hidden)")
    }
}

/// Which hosts are asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Hosts {
    /// Addresses of one cluster's nodes, `https://HOST:PORT`, each with a path if a proxy needs one.
    Urls(Vec<String>),
    /// The id of an Elastic Cloud deployment.
    CloudId(String),
}

/// Who we are.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Auth {
    /// Nobody, or who the client certificate says.
    #[default]
    None,
    /// A user.
    Basic {
        /// Its name.
        username: String,
        /// Its password.
        password: Secret,
    },
    /// An API key: `ID:KEY`, or both encoded in base64 as Elasticsearch prints them.
    ApiKey(Secret),
    /// A token.
    Bearer(Secret),
}

/// A certificate that says who we are, and its key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientCertificate {
    /// PEM file of the certificate and those between it and its authority.
    pub certificate: PathBuf,
    /// PEM file of the private key, not encrypted.
    pub key: PathBuf,
}

/// A proxy between us and the cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proxy {
    /// `http://HOST:PORT`.
    pub url: String,
    /// User and password there.
    pub credentials: Option<(String, Secret)>,
}

/// Everything that a [`Client`](super::Client) needs to know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Connection {
    /// Which hosts are asked.
    pub hosts: Hosts,
    /// Who we are.
    pub auth: Auth,
    /// PEM file with the authorities of the cluster's certificates, beside the public ones that
    /// are built in. The system's own list is not read.
    pub ca_file: Option<PathBuf>,
    /// Who we are, by certificate; may stand beside [`Connection::auth`].
    pub client_certificate: Option<ClientCertificate>,
    /// The proxy, when there is one. `HTTP_PROXY` and its like are not read.
    pub proxy: Option<Proxy>,
    /// See [`DEFAULT_CONNECT_TIMEOUT`].
    pub connect_timeout: Duration,
    /// See [`DEFAULT_MAX_REPLY_BYTES`].
    pub max_reply_bytes: u64,
}

impl Connection {
    /// One host, nothing else.
    pub fn to(url: &str) -> Self {
        Self {
            hosts: Hosts::Urls(vec![url.to_owned()]),
            auth: Auth::None,
            ca_file: None,
            client_certificate: None,
            proxy: None,
            connect_timeout: DEFAULT_CONNECT_TIMEOUT,
            max_reply_bytes: DEFAULT_MAX_REPLY_BYTES,
        }
    }

    /// What an operator should know about these settings, a sentence each.
    pub fn notices(&self) -> Vec<String> {
        let clear = |url: &Url| url.scheme() == "http" && !is_loopback(url);
        match self.urls() {
            Ok(urls) if self.auth != Auth::None && urls.iter().any(clear) => vec![
                "the credentials for Elasticsearch go over the network in clear text; use https://"
                    .to_owned(),
            ],
            _ => Vec::new(),
        }
    }

    /// The addresses, checked.
    pub(super) fn urls(&self) -> Result<Vec<Url>, SettingsError> {
        let urls = match &self.hosts {
            Hosts::Urls(texts) => {
                texts.iter().map(|text| address("host", text)).collect::<Result<Vec<_>, _>>()?
            }
            Hosts::CloudId(id) => {
                let cloud = CloudId::parse(id.trim()).map_err(|_| SettingsError::CloudId)?;
                vec![cloud.url]
            }
        };
        if urls.is_empty() { Err(SettingsError::NoHost) } else { Ok(urls) }
    }

    /// The proxy's address, checked.
    pub(super) fn proxy_url(&self) -> Result<Option<Url>, SettingsError> {
        self.proxy.as_ref().map(|proxy| address("proxy", &proxy.url)).transpose()
    }
}

impl Auth {
    /// The same with the secret that stands in its file now, when that is another one. Reads the
    /// file: call it where blocking is allowed.
    pub(super) fn changed(&self) -> Option<Self> {
        Some(match self {
            Self::None => return None,
            Self::Basic { username, password } => {
                Self::Basic { username: username.clone(), password: password.changed()? }
            }
            Self::ApiKey(key) => Self::ApiKey(key.changed()?),
            Self::Bearer(token) => Self::Bearer(token.changed()?),
        })
    }

    /// As the client library takes it. It panics on a key that cannot stand in a header, so that
    /// is found here.
    pub(super) fn credentials(
        &self,
    ) -> Result<Option<elasticsearch::auth::Credentials>, SettingsError> {
        use elasticsearch::auth::Credentials;
        Ok(Some(match self {
            Auth::None => return Ok(None),
            Auth::Basic { username, password } => {
                if username.is_empty() || username.contains(':') || has_control(username) {
                    return Err(SettingsError::Username);
                }
                if has_control(password.expose()) {
                    return Err(SettingsError::Secret { what: "password" });
                }
                Credentials::Basic(username.clone(), password.expose().to_owned())
            }
            Auth::ApiKey(key) => match key.expose().split_once(':') {
                Some((id, secret)) if is_word(id) && is_word(secret) => {
                    Credentials::ApiKey(id.to_owned(), secret.to_owned())
                }
                None if encodes_a_pair(key.expose()) => {
                    Credentials::EncodedApiKey(key.expose().to_owned())
                }
                _ => return Err(SettingsError::ApiKey),
            },
            Auth::Bearer(token) if is_word(token.expose()) => {
                Credentials::Bearer(token.expose().to_owned())
            }
            Auth::Bearer(_) => return Err(SettingsError::Secret { what: "bearer token" }),
        }))
    }
}

/// Why the settings cannot be used. No text of it holds a secret.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    /// There is no host.
    #[error("no host of the cluster is given; name one, such as https://localhost:9200")]
    NoHost,
    /// An address is not one.
    #[error("the address of a {what} cannot be used: {why}")]
    Address {
        /// Host or proxy.
        what: &'static str,
        /// What is wrong, and what to write instead.
        why: &'static str,
    },
    /// The cloud id is not one.
    #[error("the cloud id cannot be read; copy it from the deployment's page, NAME:BASE64")]
    CloudId,
    /// A user name is not one.
    #[error("the user name is empty or has a colon or a control character; correct it")]
    Username,
    /// A secret has characters that cannot be sent.
    #[error("the {what} has characters that cannot be sent; check the file or variable it is in")]
    Secret {
        /// Which one.
        what: &'static str,
    },
    /// The API key has another form.
    #[error(
        "the API key is neither ID:KEY nor the `encoded` value of Elasticsearch; copy it again"
    )]
    ApiKey,
    /// A file could not be read.
    #[error("cannot read the {what} {}; check the path and its permissions", path.display())]
    File {
        /// What it should hold.
        what: &'static str,
        /// Where.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A file holds something else.
    #[error("{} holds no {what} in PEM form (-----BEGIN …); convert it", path.display())]
    Pem {
        /// What it should hold.
        what: &'static str,
        /// Where.
        path: PathBuf,
    },
    /// The client library refuses the settings.
    #[error(
        "the client cannot be set up: a certificate or key is damaged, they do not belong together, \
         or the proxy's address cannot be used; check those settings"
    )]
    Build,
}

/// Reads an address without ever repeating it: people write passwords into addresses.
fn address(what: &'static str, text: &str) -> Result<Url, SettingsError> {
    let refuse = |why| SettingsError::Address { what, why };
    let url: Url = text.trim().parse().map_err(|_| refuse("write it as https://HOST:PORT"))?;
    if !matches!(url.scheme(), "http" | "https") || url.host_str().is_none() {
        return Err(refuse("write it as https://HOST:PORT"));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(refuse("leave the user and the password out, they have settings of their own"));
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err(refuse("leave out everything from ? or # on"));
    }
    Ok(url)
}

fn is_loopback(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']);
    host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

fn has_control(text: &str) -> bool {
    text.chars().any(char::is_control)
}

/// Whether text can stand in a header as one word.
fn is_word(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic())
}

fn encodes_a_pair(key: &str) -> bool {
    base64::engine::general_purpose::STANDARD
        .decode(key)
        .is_ok_and(|pair| pair.iter().position(|byte| *byte == b':').is_some_and(|at| at > 0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_never_shown() {
        let mut connection = Connection::to("https://localhost:9200");
        connection.auth =
            Auth::Basic { username: "someone".to_owned(), password: Secret::new("geheim\n") };
        connection.proxy = Some(Proxy {
            url: "http://proxy:3128".to_owned(),
            credentials: Some(("p".to_owned(), Secret::new("geheim"))),
        });
        assert!(!format!("{connection:?}").contains("geheim"));
        assert_eq!(Secret::new("geheim\r\n").expose(), "geheim");
    }

    #[test]
    fn a_secret_is_read_again_from_its_file_and_only_what_is_another_one_is_taken() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("key");
        std::fs::write(&file, "old:key\n").unwrap();
        let auth = Auth::ApiKey(Secret::new("old:key").kept_in(file.clone()));
        assert_eq!(auth.changed(), None);
        for unusable in ["", "\n"] {
            std::fs::write(&file, unusable).unwrap();
            assert_eq!(auth.changed(), None, "{unusable:?}");
        }
        std::fs::write(&file, "new:key\n").unwrap();
        let Some(Auth::ApiKey(key)) = auth.changed() else { panic!("the new key") };
        assert_eq!(key.expose(), "new:key");
        std::fs::remove_file(&file).unwrap();
        assert_eq!(auth.changed(), None);
        assert_eq!(Auth::ApiKey(Secret::new("old:key")).changed(), None, "it has no file");
    }

    #[test]
    fn an_api_key_is_taken_in_both_forms() {
        for key in ["id:key", "aWQ6a2V5\n"] {
            assert!(Auth::ApiKey(Secret::new(key)).credentials().is_ok(), "{key}");
        }
        for key in ["", "id:", ":key", "id:key\nx", "aWQ6a2V5\nx", "no base64!", "aWQ="] {
            let error = Auth::ApiKey(Secret::new(key)).credentials().unwrap_err();
            assert!(matches!(error, SettingsError::ApiKey), "{key:?}");
        }
    }

    #[test]
    fn what_cannot_stand_in_a_header_is_refused_without_being_repeated() {
        let password = Secret::new("geh\neim");
        let basic = Auth::Basic { username: "u".to_owned(), password };
        for auth in [Auth::Bearer(Secret::new("geh eim")), Auth::Bearer(Secret::new("")), basic] {
            let error = auth.credentials().unwrap_err().to_string();
            assert!(error.contains("cannot be sent") && !error.contains("geh"), "{error}");
        }
        let auth = Auth::Basic { username: "a:b".to_owned(), password: Secret::new("x") };
        assert!(matches!(auth.credentials(), Err(SettingsError::Username)));
    }

    #[test]
    fn an_address_has_no_credentials_in_it() {
        for (url, fine) in [
            ("https://es.example:9200", true),
            ("http://127.0.0.1:9200/behind/proxy", true),
            ("https://u:geheim@es.example", false),
            ("es.example:9200", false),
            ("ftp://es.example", false),
            ("https://es.example?pretty", false),
            ("", false),
        ] {
            let urls = Connection::to(url).urls();
            assert_eq!(urls.is_ok(), fine, "{url}");
            if let Err(error) = urls {
                assert!(!error.to_string().contains("geheim"), "{error}");
            }
        }
        let none = Connection { hosts: Hosts::Urls(Vec::new()), ..Connection::to("http://a") };
        assert!(matches!(none.urls(), Err(SettingsError::NoHost)));
    }

    #[test]
    fn a_cloud_id_is_an_address() {
        let data = base64::engine::general_purpose::STANDARD.encode("eu.example:443$abc$def");
        let hosts = Hosts::CloudId(format!("mine:{data}"));
        let connection = Connection { hosts, ..Connection::to("http://a") };
        assert_eq!(connection.urls().unwrap()[0].as_str(), "https://abc.eu.example/");
        for id in ["", "mine", "mine:", "mine:%%", "mine:YQ=="] {
            let hosts = Hosts::CloudId(id.to_owned());
            let connection = Connection { hosts, ..Connection::to("http://a") };
            assert!(matches!(connection.urls(), Err(SettingsError::CloudId)), "{id}");
        }
    }

    #[test]
    fn credentials_in_clear_text_are_noticed() {
        let mut connection = Connection::to("http://es.example:9200");
        assert!(connection.notices().is_empty());
        connection.auth = Auth::Bearer(Secret::new("x"));
        assert_eq!(connection.notices().len(), 1);
        connection.hosts = Hosts::Urls(vec!["http://[::1]:9200".to_owned()]);
        assert!(connection.notices().is_empty());
    }
}
