//! What is there, what has to be sent, and sending it.

use super::SetupError;
use super::error::spell;
use super::lifecycle::Means;
use super::mark::{Mark, VERSION};
use super::objects::{Kind, Object, Wanted};
use crate::elasticsearch::{
    Body, ContentType, Flavor, FlavorError, Method, Reply, Request, Secret, SendError, Transport,
};
use serde_json::{Value, json};
use std::fmt;
use std::time::{Duration, Instant};

/// How long one request of setup may take. A cluster under load takes a while to agree on its
/// metadata; by default it gives up after 30 seconds itself.
const TIMEOUT: Duration = Duration::from_mins(1);

/// How long a cluster that cannot reply now (429, 503) is asked again: one that has just started
/// says so for some seconds, while it makes its security index for instance.
const PATIENCE: Duration = Duration::from_secs(30);

/// Between two such attempts.
const PAUSE: Duration = Duration::from_millis(200);

/// Longest reason of the cluster that is repeated, characters.
const MAX_REASON: usize = 500;

/// Why a request is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// It is not there.
    Create,
    /// It was made by an older version.
    Upgrade {
        /// That version.
        from: u64,
    },
    /// It was made with other options.
    Change,
    /// Its newest index is made of older templates; the next one is made of the new ones.
    RollOver,
    /// Its documents stay for another time.
    Retention,
    /// Its failure store is switched on or off.
    FailureStore,
    /// Nothing of ours is to delete documents any more.
    NoLifecycle,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Reason::Create => f.write_str("create"),
            Reason::Upgrade { from } => write!(f, "upgrade from version {from} to {VERSION}"),
            Reason::Change => f.write_str("change, the options are others"),
            Reason::RollOver => f.write_str("roll over, new documents get the new mapping"),
            Reason::Retention => f.write_str("change the retention"),
            Reason::FailureStore => f.write_str("switch its failure store on or off"),
            Reason::NoLifecycle => f.write_str("end the lifecycle, nothing is to be deleted"),
        }
    }
}

/// One request that changes something. It shows as a person reads it: why, then method, path and
/// JSON. No secret stands in it.
#[derive(Debug, Clone, PartialEq)]
pub struct Step {
    /// What it is about: `index template spanledger`.
    pub what: String,
    /// Why.
    pub reason: Reason,
    /// How.
    pub method: Method,
    /// Path.
    pub path: String,
    /// Parameters.
    pub query: Vec<(&'static str, String)>,
    /// JSON.
    pub body: Option<Value>,
    /// Name of the API key that the reply holds.
    pub makes_key: Option<String>,
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "# {}: {}", self.what, self.reason)?;
        write!(f, "{}", spell(self.method, &self.path))?;
        for (at, (name, value)) in self.query.iter().enumerate() {
            write!(f, "{}{name}={value}", if at == 0 { '?' } else { '&' })?;
        }
        match &self.body {
            Some(body) => write!(f, "\n{body:#}"),
            None => Ok(()),
        }
    }
}

/// What has to be sent so that the cluster is as wanted.
#[derive(Debug)]
pub struct Plan {
    /// The cluster.
    pub flavor: Flavor,
    /// Requests, in order.
    pub steps: Vec<Step>,
    /// What is there already as wanted.
    pub unchanged: Vec<String>,
    /// What an operator should know, a sentence each.
    pub notices: Vec<String>,
}

/// What was done.
#[derive(Debug)]
pub struct Applied {
    /// How many requests changed something.
    pub changed: usize,
    /// The API keys that were made, by name, in the form that
    /// [`Auth::ApiKey`](crate::elasticsearch::Auth) takes. The cluster never shows them again.
    pub keys: Vec<(String, Secret)>,
}

impl Plan {
    /// Sends the requests, each after the one before it succeeded.
    ///
    /// # Errors
    /// [`SetupError`]. What was sent stays; planning and applying again goes on from there.
    pub async fn apply<T: Transport>(&self, client: &T) -> Result<Applied, SetupError> {
        let mut keys = Vec::new();
        for step in &self.steps {
            let body = step.body.clone();
            let reply = send(client, step.method, &step.path, step.query.clone(), body).await?;
            let reply = expect_fine(step.method, &step.path, &reply)?;
            if let Some(name) = &step.makes_key {
                let encoded = reply.get("encoded").and_then(Value::as_str);
                let unreadable = SetupError::Reply { request: spell(step.method, &step.path) };
                keys.push((name.clone(), Secret::new(encoded.ok_or(unreadable)?)));
            }
        }
        Ok(Applied { changed: self.steps.len(), keys })
    }
}

/// What the cluster has under the name of an object.
pub(super) enum Found {
    Nothing,
    Ours(Mark),
    Foreign,
    /// The cluster does not know this kind of object.
    NoSuchApi,
}

pub(super) async fn compare<T: Transport>(
    client: &T,
    flavor: Flavor,
    wanted: Wanted,
    notices: Vec<String>,
) -> Result<Plan, SetupError> {
    let mut plan = Plan { flavor, steps: Vec::new(), unchanged: Vec::new(), notices };
    let ends = wanted.means == Means::Nothing;
    if ends {
        plan.notices.push(
            "no lifecycle is set: nothing of ours deletes a document; what others attach to the \
             streams, such as a retention for all data streams of the cluster, still does"
                .to_owned(),
        );
    }
    for object in wanted.objects {
        let query = match object.kind {
            Kind::ApiKey => vec![("name", object.name.clone())],
            _ => Vec::new(),
        };
        let reply = send(client, Method::Get, &object.read, query, None).await?;
        match object.kind {
            Kind::Stream => {
                let retention = wanted.retention.iter().find(|(name, _)| *name == object.name);
                let retention = retention.map(|(_, retention)| retention.as_str());
                if ends {
                    plan.end_lifecycle(&object, &reply);
                }
                plan.stream(client, object, &reply, retention, wanted.failure_store).await?;
            }
            _ => plan.object(object, &reply)?,
        }
    }
    plan.end_policies(client, wanted.unwanted).await?;
    Ok(plan)
}

impl Plan {
    fn object(&mut self, object: Object, reply: &Reply) -> Result<(), SetupError> {
        let label = format!("{} {}", object.kind.name(), object.name);
        let (found, value) = found(&object, reply)?;
        let reason = match found {
            Found::Nothing => Reason::Create,
            Found::NoSuchApi => return self.no_such_api(&object),
            Found::Foreign => return Err(foreign(object)),
            Found::Ours(mark) => match difference(&object, &mark)? {
                None => {
                    self.unchanged.push(label);
                    return Ok(());
                }
                Some(_) if object.kind == Kind::ApiKey => {
                    self.notices.push(format!(
                        "the API key {} is there with other privileges and cannot be \
                         shown again; invalidate it and run setup again for a new one",
                        object.name
                    ));
                    return Ok(());
                }
                Some(reason) => reason,
            },
        };
        let mut query = Vec::new();
        if object.kind == Kind::Ism && reason != Reason::Create {
            // ISM replaces a policy only for who names the state of it that was read.
            for (name, member) in [("if_seq_no", "_seq_no"), ("if_primary_term", "_primary_term")] {
                let number = value.get(member).and_then(Value::as_u64);
                let number = number.ok_or_else(|| unreadable(&object))?;
                query.push((name, number.to_string()));
            }
            self.notices.push(format!(
                "indices that exist keep the older ISM policy until you change it: POST \
                 /_plugins/_ism/change_policy/spanledger-* with {{\"policy_id\": \"{}\"}}",
                object.name
            ));
        }
        self.steps.push(Step {
            what: label,
            reason,
            method: object.method,
            path: object.write,
            query,
            body: object.body,
            makes_key: (object.kind == Kind::ApiKey).then(|| object.name.clone()),
        });
        Ok(())
    }

    fn no_such_api(&mut self, object: &Object) -> Result<(), SetupError> {
        let (what, remedy) = match object.kind {
            Kind::Ism => {
                self.notices.push(
                    "this cluster has no index state management: nothing is ever deleted; \
                     install its plugin and run setup again"
                        .to_owned(),
                );
                return Ok(());
            }
            Kind::Ilm => ("index lifecycle management", "leave the tiers out"),
            Kind::Role | Kind::SearchRole | Kind::ApiKey => {
                ("security", "switch it on, or leave roles and keys out")
            }
            Kind::Component | Kind::Template | Kind::Stream => {
                ("data streams", "use the default distribution")
            }
        };
        Err(SetupError::Missing { what, remedy })
    }

    async fn stream<T: Transport>(
        &mut self,
        client: &T,
        object: Object,
        reply: &Reply,
        retention: Option<&str>,
        failure_store: Option<bool>,
    ) -> Result<(), SetupError> {
        let what = format!("data stream {}", object.name);
        let step = |reason, method, path, body| step(&what, reason, method, path, body);
        if reply.status == 404 {
            self.steps.push(step(Reason::Create, object.method, object.write, None));
            return Ok(());
        }
        let value = expect_fine(Method::Get, &object.read, reply)?;
        let stream = value.pointer("/data_streams/0").ok_or_else(|| unreadable(&object))?;
        let newest = stream.get("indices").and_then(Value::as_array).and_then(|all| all.last());
        let newest = newest.and_then(|index| index.get("index_name")).and_then(Value::as_str);
        let newest = newest.ok_or_else(|| unreadable(&object))?;
        let path = format!("/{}/_mapping", object.name);
        let mappings = send(client, Method::Get, &path, Vec::new(), None).await?;
        let mappings = expect_fine(Method::Get, &path, &mappings)?;
        let meta = mappings.get(newest).and_then(|index| index.pointer("/mappings/_meta"));
        let Some(mark) = meta.and_then(Mark::read) else { return Err(foreign(object)) };

        if difference(&object, &mark)?.is_some() {
            let path = format!("/{}/_rollover", object.name);
            self.steps.push(step(Reason::RollOver, Method::Post, path, None));
        }
        // What a template says of these two reaches a stream only when it is created. A reply
        // without the template's name is one that does not speak of them.
        let speaks = stream.get("template").is_some();
        if let Some(wanted) = retention.filter(|_| speaks) {
            let is = stream.pointer("/lifecycle/data_retention").and_then(Value::as_str);
            if is != Some(wanted) {
                let path = format!("{}/_lifecycle", object.write);
                let body = json!({"data_retention": wanted});
                self.steps.push(step(Reason::Retention, Method::Put, path, Some(body)));
            }
        }
        if let Some(wanted) = failure_store.filter(|_| speaks) {
            let is = stream.pointer("/failure_store/enabled").and_then(Value::as_bool);
            if is.unwrap_or_default() != wanted {
                let path = format!("{}/_options", object.write);
                let body = json!({"failure_store": {"enabled": wanted}});
                self.steps.push(step(Reason::FailureStore, Method::Put, path, Some(body)));
            }
        }
        if !self.steps.iter().any(|step| step.what == what) {
            self.unchanged.push(what);
        }
        Ok(())
    }
}

/// A request without parameters.
pub(super) fn step(
    what: &str,
    reason: Reason,
    method: Method,
    path: String,
    body: Option<Value>,
) -> Step {
    let what = what.to_owned();
    Step { what, reason, method, path, query: Vec::new(), body, makes_key: None }
}

/// What has to be done about an object of ours, if anything.
fn difference(object: &Object, found: &Mark) -> Result<Option<Reason>, SetupError> {
    if found.version > object.mark.version {
        return Err(SetupError::Newer {
            what: object.kind.name(),
            name: object.name.clone(),
            found: found.version,
            ours: object.mark.version,
        });
    }
    Ok(if found.version < object.mark.version {
        Some(Reason::Upgrade { from: found.version })
    } else if found.digest != object.mark.digest {
        Some(Reason::Change)
    } else {
        None
    })
}

pub(super) fn found(object: &Object, reply: &Reply) -> Result<(Found, Value), SetupError> {
    if lacks_api(reply) {
        return Ok((Found::NoSuchApi, Value::Null));
    }
    if reply.status == 404 {
        return Ok((Found::Nothing, Value::Null));
    }
    let value = expect_fine(Method::Get, &object.read, reply)?;
    let of_name = |rest: &str| value.get(&object.name).and_then(|inner| inner.pointer(rest));
    let mark = match object.kind {
        Kind::Component => {
            value.pointer("/component_templates/0/component_template/_meta").and_then(Mark::read)
        }
        Kind::Template => {
            value.pointer("/index_templates/0/index_template/_meta").and_then(Mark::read)
        }
        Kind::Ilm => of_name("/policy/_meta").and_then(Mark::read),
        Kind::Role => of_name("/metadata").and_then(Mark::read),
        Kind::SearchRole => {
            of_name("/description").and_then(Value::as_str).and_then(Mark::read_sentence)
        }
        Kind::Ism => value
            .pointer("/policy/description")
            .and_then(Value::as_str)
            .and_then(Mark::read_sentence),
        Kind::ApiKey => {
            let keys = value.get("api_keys").and_then(Value::as_array);
            let keys = keys.ok_or_else(|| unreadable(object))?;
            let valid = |key: &&Value| key.get("invalidated") == Some(&Value::Bool(false));
            match keys.iter().find(valid) {
                Some(key) => key.get("metadata").and_then(Mark::read),
                None => return Ok((Found::Nothing, Value::Null)),
            }
        }
        Kind::Stream => None,
    };
    Ok((mark.map_or(Found::Foreign, Found::Ours), value))
}

fn foreign(object: Object) -> SetupError {
    SetupError::Foreign { what: object.kind.name(), name: object.name }
}

fn unreadable(object: &Object) -> SetupError {
    SetupError::Reply { request: spell(Method::Get, &object.read) }
}

/// Whether the cluster has nothing at that path at all, which both products say in these words.
fn lacks_api(reply: &Reply) -> bool {
    matches!(reply.status, 400 | 404 | 405)
        && memchr::memmem::find(&reply.body, b"no handler found").is_some()
}

pub(super) async fn send<T: Transport>(
    client: &T,
    method: Method,
    path: &str,
    query: Vec<(&'static str, String)>,
    body: Option<Value>,
) -> Result<Reply, SetupError> {
    let body = body.map(|body| Body {
        bytes: body.to_string().into(),
        content_type: ContentType::Json,
        gzip: false,
    });
    let request = Request { method, path: path.to_owned(), query, body, timeout: TIMEOUT };
    let failed = |source| SetupError::Send { request: spell(method, path), source };
    patiently(client, request).await.map_err(failed)
}

/// Asks again while the cluster cannot reply. What is posted is asked once: it is not the same
/// twice.
async fn patiently<T: Transport>(client: &T, request: Request) -> Result<Reply, SendError> {
    let since = Instant::now();
    loop {
        let reply = client.send(request.clone()).await?;
        let busy = matches!(reply.status, 429 | 503) && request.method != Method::Post;
        if !busy || since.elapsed() >= PATIENCE {
            return Ok(reply);
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// What kind of cluster it is.
pub(super) async fn flavor<T: Transport>(client: &T) -> Result<Flavor, SetupError> {
    let request = Request {
        method: Method::Get,
        path: "/".to_owned(),
        query: Vec::new(),
        body: None,
        timeout: TIMEOUT,
    };
    let reply = patiently(client, request).await.map_err(FlavorError::from)?;
    Ok(Flavor::read(&reply)?)
}

/// The JSON of a reply that says that it worked.
fn expect_fine(method: Method, path: &str, reply: &Reply) -> Result<Value, SetupError> {
    let request = || spell(method, path);
    match reply.status {
        200..=299 => serde_json::from_slice(&reply.body)
            .map_err(|_| SetupError::Reply { request: request() }),
        401 => Err(SetupError::Unauthorized),
        403 => Err(SetupError::Forbidden { request: request(), reason: reason(reply) }),
        status @ (429 | 503) => Err(FlavorError::Unavailable(status).into()),
        status => Err(SetupError::Refused { request: request(), status, reason: reason(reply) }),
    }
}

/// What the cluster says of a refusal, on one line and not too long.
fn reason(reply: &Reply) -> String {
    let value: Value = serde_json::from_slice(&reply.body).unwrap_or_default();
    let text = ["/error/reason", "/error", "/message"]
        .iter()
        .find_map(|place| value.pointer(place).and_then(Value::as_str))
        .unwrap_or("no reason is given");
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(MAX_REASON).collect()
}
