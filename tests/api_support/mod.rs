//! An API over a store in memory, asked without sockets.
#![allow(dead_code, reason = "each test file uses its part of it")]

use axum::Router;
use axum::body::Body;
use axum::http::{HeaderMap, Request, StatusCode};
use http_body_util::BodyExt as _;
use serde_json::Value;
use spanledger::access::{
    Book, BookError, Credential, Credentials, NewCredential, Principal, Role, Tenant, Token,
};
use spanledger::api::{Api, Bounds, Health, HostCheck, Keeping, Keyring, router};
use spanledger::correlate::JoinRules;
use spanledger::store::{AuditStore, EntryView, Envelope, MemoryStore};
use std::sync::Arc;
use std::time::Duration;
use tower::ServiceExt as _;

/// An entry for a store: its place, whose it is, and its body.
pub(crate) struct Given<'a> {
    pub(crate) sequence: u64,
    pub(crate) tenant: &'a str,
    pub(crate) body: String,
}

pub(crate) fn memory() -> Arc<MemoryStore> {
    Arc::new(MemoryStore::new("ledger.example", JoinRules::default()))
}

/// The id of the entry at that place.
pub(crate) fn id_of(sequence: u64) -> String {
    format!("{:032x}", u128::from(sequence) + 1)
}

pub(crate) fn write(store: &dyn AuditStore, given: &[Given<'_>]) {
    let views: Vec<EntryView<'_>> = given
        .iter()
        .map(|entry| {
            let envelope = Envelope {
                sequence: entry.sequence,
                id: (u128::from(entry.sequence) + 1).to_be_bytes(),
                tenant: entry.tenant,
                received_ns: 1_795_241_529_000_000_000 + entry.sequence,
                conflict: false,
                leaf_hash: [7; 32],
            };
            EntryView::new(envelope, entry.body.as_bytes())
        })
        .collect();
    store.write(&views).unwrap();
}

/// A body at that second after eight o'clock, with these trace ids and audit fields.
pub(crate) fn body(second: u32, trace_ids: &[&str], audit: &str) -> String {
    let ids = serde_json::to_string(trace_ids).unwrap();
    format!(
        r#"{{"schema_version":1,"@timestamp":"2026-11-21T08:00:{second:02}.000000000Z","trace_id":{ids},"event":{{"action":"step"}},"audit":{{{audit}}}}}"#
    )
}

/// Entries of the default tenant from 0 on.
pub(crate) fn fill(store: &dyn AuditStore, bodies: &[String]) {
    for (sequence, body) in (0..).zip(bodies) {
        write(store, &[Given { sequence, tenant: "default", body: body.clone() }]);
    }
}

pub(crate) fn app(store: Arc<dyn AuditStore>) -> Router {
    app_within(store, Bounds::default())
}

pub(crate) fn app_within(store: Arc<dyn AuditStore>, bounds: Bounds) -> Router {
    let hosts = HostCheck::for_listener("127.0.0.1:4380".parse().unwrap());
    router(api(store).within(bounds), hosts)
}

pub(crate) fn app_for(store: Arc<dyn AuditStore>, hosts: HostCheck) -> Router {
    router(api(store), hosts)
}

pub(crate) fn api(store: Arc<dyn AuditStore>) -> Api {
    let metrics: spanledger::api::Metrics = Arc::new(|| "# EOF\n".to_owned());
    Api::new(store, Arc::new(Health::starting(&[])), metrics)
}

/// Credentials in a folder of their own, and what changes them: the book and what is in effect.
pub(crate) struct Ring {
    pub(crate) dir: tempfile::TempDir,
    pub(crate) credentials: Credentials,
}

impl Ring {
    pub(crate) fn new() -> Arc<Self> {
        let dir = tempfile::tempdir().unwrap();
        let credentials = Credentials::open(dir.path()).unwrap();
        Arc::new(Self { dir, credentials })
    }

    /// Makes a key as the machine's owner does.
    pub(crate) fn key(&self, role: Role, tenant: Option<&str>) -> Token {
        self.make(new_key(role, tenant)).1.unwrap()
    }

    pub(crate) fn make(&self, new: NewCredential) -> (Credential, Option<Token>) {
        self.change(|book| book.create(new, "os:root", jiff::Timestamp::now())).unwrap()
    }

    pub(crate) fn change<T>(
        &self,
        change: impl FnOnce(&mut Book) -> Result<T, BookError>,
    ) -> Result<T, BookError> {
        let answer = Book::change(self.dir.path(), change)?;
        self.credentials.put_in_effect(Book::read(self.dir.path())?.unwrap());
        Ok(answer)
    }

    /// An API over this store for these credentials, which it can change.
    pub(crate) fn app(self: &Arc<Self>, store: Arc<dyn AuditStore>) -> Router {
        let hosts = HostCheck::for_listener("127.0.0.1:4380".parse().unwrap());
        router(self.api(store), hosts)
    }

    pub(crate) fn api(self: &Arc<Self>, store: Arc<dyn AuditStore>) -> Api {
        let ring: Arc<dyn Keyring> = Arc::clone(self) as _;
        api(store).with_credentials(self.credentials.clone()).with_keyring(ring)
    }
}

/// What a key of that role is to be.
pub(crate) fn new_key(role: Role, tenant: Option<&str>) -> NewCredential {
    let tenant = tenant.map(|name| Tenant::new(name).unwrap());
    let forward = (role == Role::Forwarder).then(|| spanledger::access::Forward {
        from: spanledger::access::TenantFrom::Header("x-tenant".to_owned()),
        tenants: tenant.iter().cloned().collect(),
    });
    NewCredential { forward, ..NewCredential::new(format!("{role}"), role, tenant) }
}

impl Keyring for Ring {
    fn create(
        &self,
        new: NewCredential,
        knows_first: bool,
        by: Principal,
    ) -> Keeping<'_, (Credential, Option<Token>)> {
        let made = self.change(|book| {
            book.check_first(new.role, knows_first)?;
            book.create(new, &by.actor(), jiff::Timestamp::now())
        });
        Box::pin(async { Ok(made?) })
    }

    fn rotate(
        &self,
        id: String,
        grace: Duration,
        by: Principal,
    ) -> Keeping<'_, (Credential, Token)> {
        let now = jiff::Timestamp::now();
        let made = self.change(|book| book.rotate(&id, now + grace, &by.actor(), now));
        Box::pin(async { Ok(made?) })
    }

    fn revoke(&self, id: String, by: Principal) -> Keeping<'_, Credential> {
        let now = jiff::Timestamp::now();
        let revoked = self.change(|book| book.revoke(&id, &by.actor(), now));
        Box::pin(async { Ok(revoked?) })
    }
}

pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) text: String,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|_| panic!("not JSON: {}", self.text))
    }

    pub(crate) fn sequences(&self) -> Vec<u64> {
        let entries = self.json()["entries"].as_array().unwrap().clone();
        entries.iter().map(|entry| entry["event"]["sequence"].as_u64().unwrap()).collect()
    }

    pub(crate) fn cursor(&self) -> Option<String> {
        self.json()["next_cursor"].as_str().map(str::to_owned)
    }
}

pub(crate) async fn ask(app: &Router, request: Request<Body>) -> Answer {
    let response = app.clone().oneshot(request).await.unwrap();
    let (parts, body) = response.into_parts();
    let bytes = body.collect().await.unwrap().to_bytes();
    Answer {
        status: parts.status,
        headers: parts.headers,
        text: String::from_utf8(bytes.to_vec()).unwrap(),
    }
}

pub(crate) async fn get(app: &Router, path: &str) -> Answer {
    let request = Request::get(path).header("host", "127.0.0.1:4380").body(Body::empty());
    ask(app, request.unwrap()).await
}

/// A request with this key; a body is JSON.
pub(crate) async fn call(
    app: &Router,
    method: &str,
    path: &str,
    key: Option<&Token>,
    body: Option<Value>,
) -> Answer {
    let mut request = Request::builder().method(method).uri(path).header("host", "127.0.0.1:4380");
    if let Some(key) = key {
        request = request.header("authorization", format!("Bearer {}", key.reveal()));
    }
    let body = match body {
        Some(body) => {
            request = request.header("content-type", "application/json");
            Body::from(body.to_string())
        }
        None => Body::empty(),
    };
    ask(app, request.body(body).unwrap()).await
}

/// `GET` with this key.
pub(crate) async fn get_as(app: &Router, key: &Token, path: &str) -> Answer {
    call(app, "GET", path, Some(key), None).await
}
