//! One call, from what was sent to the answer that may be released.
//!
//! ```text
//! body ─► checked ─► no upstream ─► asks for a decision: 501 │ else: record ══ durable ══► ours
//!                └─► upstream ─► answered ─► record ══ durable ══► its answer
//!                           └─► not ─► record that ══ durable ══► 502, 503, 504
//! ```

use super::super::caller::Caller;
use super::super::load::Limit;
use super::super::problem::Problem;
use super::super::service::Api;
use super::body::{Incoming, check};
use super::lifecycle;
use super::state::CompletionKey;
use super::workflows::{load, load_step, present};
use super::{AxonflowCalls, MAX_FORWARDED_BYTES};
use crate::access::{Principal, Right};
use crate::intake::{IntakeError, RefusedRequest, Whose};
use crate::receiver::axonflow::{
    Answered, Call, Cut, Digest, Known, Object, Operation, Reply, Report, Sender, Unanswered,
    Upstream, User, commit, draft, essence, new_id,
};
use axum::body::Body;
use axum::http::StatusCode;
use axum::response::Response;
use serde_json::Value;
use sha2::{Digest as _, Sha256};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

/// A call on its way.
pub(super) struct Taken<'a> {
    pub(super) api: &'a Api,
    pub(super) calls: Arc<AxonflowCalls>,
    pub(super) caller: &'a Caller,
    pub(super) sender: Sender,
    pub(super) call: &'a Call,
    pub(super) request: Object,
    /// Bytes of the request as it was sent.
    pub(super) bytes: usize,
    /// Nanoseconds since 1970.
    pub(super) at_ns: u64,
    /// Id of its record.
    pub(super) id: String,
}

/// Answers a call when what it says is durable.
///
/// # Errors
/// [`Problem`]. That it was refused is on record.
pub(super) async fn take(
    api: &Api,
    caller: &Caller,
    call: Call,
    incoming: Incoming,
) -> Result<Response, Problem> {
    let has_upstream = api.axonflow.as_ref().is_some_and(|calls| calls.upstream.is_some());
    let is_recorded = call.operation != Operation::ListCheckpoints;
    if !(has_upstream && call.operation.is_forwarded() && is_recorded) {
        return take_whole(api, caller, call, incoming).await;
    }
    // What is asked of the upstream outlives the client's connection: who hangs up while it
    // decides must not keep the decision off the record.
    let (api, caller) = (api.clone(), caller.clone());
    let task = tokio::spawn(async move { take_whole(&api, &caller, call, incoming).await });
    task.await.unwrap_or_else(|error| {
        tracing::error!(%error, "a call could not be worked on to its end");
        Err(Problem::store())
    })
}

async fn take_whole(
    api: &Api,
    caller: &Caller,
    call: Call,
    incoming: Incoming,
) -> Result<Response, Problem> {
    let calls = api.axonflow.clone().ok_or_else(Problem::nothing_taken)?;
    let body = incoming.body.clone();
    let request = calls.work(body.len(), || incoming.object(&api.load)).await;
    let sender = sender(caller.principal(), &incoming, request.as_ref().ok());
    let tenant = sender.tenants.own().clone();
    let path = call.operation.path();
    if let Some(claim) = &sender.refused_tenant {
        let who = caller.principal().actor();
        let why = format!("taken as its forwarder's own: {who} may not assert {claim:?}");
        let taken = RefusedRequest::new(path, 200, why, None);
        calls.intake.reject(Whose::Tenant(&tenant), taken);
    }
    let answer = match request {
        Ok(request) => {
            let calls = Arc::clone(&calls);
            answer(api, calls, caller, &call, sender, request, incoming).await
        }
        Err(problem) => Err(problem),
    };
    if let Err(problem) = &answer
        && call.operation != Operation::ListCheckpoints
        && !(problem.is_of_upstream() && call.operation.asks_for_a_decision())
    {
        let mut refused = RefusedRequest::new(path, problem.status, problem.detail.clone(), None);
        refused.bytes = body.len() as u64;
        refused.hash = Some(calls.work(body.len(), || Sha256::digest(&body).into()).await);
        calls.intake.reject(Whose::Tenant(&tenant), refused);
    }
    answer
}

async fn answer(
    api: &Api,
    calls: Arc<AxonflowCalls>,
    caller: &Caller,
    call: &Call,
    sender: Sender,
    request: Object,
    incoming: Incoming,
) -> Result<Response, Problem> {
    let counted = caller.principal().admit_bytes(incoming.body.len());
    counted.inspect_err(|denied| api.load.denied.note(*denied))?;
    check(call, &request)?;
    let at_ns = now_ns();
    let id = new_id("aud", at_ns).map_err(|_| Problem::no_random())?;
    let bytes = incoming.body.len();
    let taken = Taken { api, calls, caller, sender, call, request, bytes, at_ns, id };
    let own = taken.sender.tenants.own();
    match &taken.calls.upstream {
        Some(upstream) if call.operation.is_forwarded() && upstream.is_for(own) => {
            taken.forward(&upstream.clone(), incoming).await
        }
        Some(_) if call.operation.asks_for_a_decision() => Err(Problem::decides_for_another()),
        None if call.operation.asks_for_a_decision() => Err(Problem::nobody_decides()),
        _ => lifecycle::answer(&taken).await,
    }
}

/// Who sends it. A pre-check has the user's token in its body.
fn sender(principal: &Principal, incoming: &Incoming, request: Option<&Object>) -> Sender {
    let mut sender = Sender::of(principal, &incoming.headers);
    let token = request.and_then(|request| request.get("user_token")).and_then(Value::as_str);
    if let Some(token) = token.filter(|_| sender.user == User::default()) {
        sender.user = User::of_token(token);
    }
    sender
}

impl Taken<'_> {
    /// Makes the call durable with what was answered to it.
    ///
    /// # Errors
    /// [`IntakeError`]; then it is not on record.
    pub(super) async fn record(
        &self,
        answered: Answered<'_>,
        about: &About,
    ) -> Result<(), IntakeError> {
        self.record_as(&self.request, answered, about, None, 0).await
    }

    async fn record_as(
        &self,
        request: &Object,
        answered: Answered<'_>,
        about: &About,
        cut: Option<&Cut>,
        answer_bytes: usize,
    ) -> Result<(), IntakeError> {
        let report = Report {
            call: self.call,
            at_ns: self.at_ns,
            id: &self.id,
            sender: &self.sender,
            workflow: about.workflow.as_ref(),
            step_name: about.step_name.as_deref(),
            total_steps: about.total_steps,
            request,
            answered,
            cut,
        };
        let intake = &self.calls.intake;
        let bytes = self.bytes.saturating_add(answer_bytes);
        commit(intake, self.calls.work(bytes, || draft(intake, &report)).await).await
    }

    /// What is known of the workflow, and of the step, that a call names.
    ///
    /// # Errors
    /// [`Problem`] when the store cannot say.
    pub(super) async fn about(&self, id: &str, step: Option<&str>) -> Result<About, Problem> {
        let tenant = self.sender.tenants.own().clone();
        let known = self.calls.known.get(&tenant, id);
        let mut about = About { workflow: known, ..About::default() };
        if let Some(step) = step {
            let (tenant, id, step) = (tenant.clone(), id.to_owned(), step.to_owned());
            let found = self.api.ask(self.caller, move |api| load_step(api, &tenant, &id, &step));
            let found = found.await?.and_then(|mut workflow| workflow.steps.pop());
            about.completion_keys = found.as_ref().map(|step| step.completion_keys.clone());
            about.step_name = found.and_then(|step| step.name);
        }
        if about.workflow.is_none() {
            let (tenant, id) = (tenant.clone(), id.to_owned());
            let load = move |api: &Api| load(api, &tenant, &id);
            let (found, is_whole) = self.api.ask(self.caller, load).await?;
            about.workflow = present(found, is_whole)?.map(|workflow| workflow.known);
        }
        if let Some(known) = about.workflow.clone() {
            self.calls.remember(&self.api.load, &tenant, known);
        }
        Ok(about)
    }

    /// Asks the upstream, and releases what it answers when that is on record.
    async fn forward(&self, upstream: &Upstream, incoming: Incoming) -> Result<Response, Problem> {
        if incoming.body.len() > MAX_FORWARDED_BYTES {
            self.api.load.hit(Limit::ForwardedBytes);
            let most = format!("What is forwarded has at most {MAX_FORWARDED_BYTES} bytes.");
            return Err(Problem::too_large(most));
        }
        // Held until all is on record: an orderly end waits for it.
        let _place = self.calls.places.try_acquire().map_err(|_| {
            self.api.load.hit(Limit::Recording);
            Problem::busy()
        })?;
        let sent = incoming.body.clone();
        let own_keys = self.caller.principal().credential().is_some();
        let Incoming { headers, query, body } = incoming;
        let asked = upstream.ask(self.call, query.as_deref(), &headers, body, own_keys).await;
        let readable = match asked {
            Ok(reply) => {
                let bytes = reply.body.len();
                self.calls.work(bytes, || readable(reply)).await
            }
            Err(unanswered) => Err(unanswered),
        };
        let reply = match readable {
            Ok(reply) => reply,
            Err(unanswered) => return Err(self.unanswered(&unanswered).await),
        };
        if self.call.operation == Operation::ListCheckpoints {
            return Ok(released(reply.0));
        }
        let (reply, body) = reply;
        let is_taken = reply.status.is_success();
        if !is_taken && !self.call.operation.asks_for_a_decision() {
            // It did not happen there, so it is not reported as what happened.
            let why = format!("the upstream refused it with status {}", reply.status.as_u16());
            let path = self.call.operation.path();
            let refused = RefusedRequest::new(path, reply.status.as_u16(), why, None);
            self.calls.intake.reject(Whose::Tenant(self.sender.tenants.own()), refused);
            return Ok(released(reply));
        }
        let about = self.about_forwarded(&body).await;
        let answered = Answered::Upstream { status: reply.status.as_u16(), body: &body };
        let bytes = reply.body.len();
        let mut recorded = self.record_as(&self.request, answered, &about, None, bytes).await;
        if matches!(recorded, Err(IntakeError::TooLarge { .. })) {
            // It was decided, so that much is said: who, what, and digests of the rest.
            let cut = Cut { request: Digest::of(&sent), answer: Digest::of(&reply.body) };
            let (request, body) = (essence(&self.request), essence(&body));
            let answered = Answered::Upstream { status: reply.status.as_u16(), body: &body };
            recorded = self.record_as(&request, answered, &about, Some(&cut), 0).await;
        }
        if let Err(error) = recorded {
            tracing::error!(%error, "an answer of the upstream could not be put on record");
            return Err(Problem::decided_and_not_recorded(self.call.operation, &error));
        }
        if let Some(known) = about.workflow {
            self.calls.remember(&self.api.load, self.sender.tenants.own(), known);
        }
        Ok(released(reply))
    }

    /// What is known of a workflow that the upstream keeps. What is not known is left out: the
    /// upstream has answered, and that must not be lost for a name.
    async fn about_forwarded(&self, answer: &Object) -> About {
        if self.call.operation == Operation::CreateWorkflow {
            let id = answer.get("workflow_id").and_then(Value::as_str);
            let workflow = id.map(|id| self.begun(id.to_owned()));
            return About { workflow, ..About::default() };
        }
        let Some(id) = self.call.workflow.as_deref() else { return About::default() };
        let names_step = self.request.get("step_name").is_some_and(Value::is_string);
        let step = self.call.step.as_deref().filter(|_| !names_step);
        let mut about = self.about(id, step).await.unwrap_or_default();
        if self.call.operation == Operation::CompleteWorkflow {
            about.total_steps = self.executed(id).await;
        }
        about
    }

    /// Steps of a workflow that were executed, as far as the store can say now.
    async fn executed(&self, id: &str) -> Option<u64> {
        let (tenant, id) = (self.sender.tenants.own().clone(), id.to_owned());
        let found = self.api.ask(self.caller, move |api| load(api, &tenant, &id)).await;
        Some(found.ok()?.0?.executed())
    }

    /// What is known of a workflow that begins.
    pub(super) fn begun(&self, id: String) -> Known {
        let said = |name| self.request.get(name).and_then(Value::as_str);
        Known {
            id,
            name: said("workflow_name").map(str::to_owned),
            source: said("source").map(str::to_owned),
            trace_id: said("trace_id").map(str::to_owned),
            client_id: self.sender.client_id.clone(),
            user_id: self.sender.user.id.clone(),
            user_email: self.sender.user.email.clone(),
        }
    }

    /// Puts on record that nobody answered.
    async fn unanswered(&self, why: &Unanswered) -> Problem {
        let problem = Problem::upstream(why);
        let limit = match why {
            Unanswered::Busy(_) => Some(Limit::UpstreamInFlight),
            Unanswered::Timeout(_) => Some(Limit::UpstreamTime),
            Unanswered::TooLarge(_) => Some(Limit::UpstreamAnswerBytes),
            Unanswered::Unreachable | Unanswered::Unusable(_) => None,
        };
        if let Some(limit) = limit {
            self.api.load.hit(limit);
        }
        if !self.call.operation.asks_for_a_decision()
            || self.call.operation == Operation::ListCheckpoints
        {
            return problem;
        }
        let about = match self.call.workflow.as_deref() {
            Some(id) => self.about(id, None).await.unwrap_or_default(),
            None => About::default(),
        };
        let text = why.to_string();
        let answered = Answered::Nobody { kind: why.kind(), why: &text };
        if let Err(error) = self.record(answered, &about).await {
            // The client is told that nothing was decided either way; the log says the rest.
            tracing::error!(%error, "an unanswered call could not be put on record");
        }
        problem
    }
}

/// What is known beside the call.
#[derive(Debug, Default)]
pub(super) struct About {
    pub(super) workflow: Option<Known>,
    pub(super) step_name: Option<String>,
    pub(super) total_steps: Option<u64>,
    /// With which keys the step was completed; absent when nobody heard of the step.
    pub(super) completion_keys: Option<Vec<CompletionKey>>,
}

/// A reply with its body as an object. A success that cannot be read is no answer: nobody could
/// say what was decided.
fn readable(reply: Reply) -> Result<(Reply, Object), Unanswered> {
    if reply.body.is_empty() {
        return Ok((reply, Object::new()));
    }
    match serde_json::from_slice(&reply.body) {
        Ok(Value::Object(body)) => Ok((reply, body)),
        _ if reply.status.is_success() => {
            Err(Unanswered::Unusable("it is not a JSON object".to_owned()))
        }
        _ => Ok((reply, Object::new())),
    }
}

/// The upstream's answer as it came.
fn released(reply: Reply) -> Response {
    let mut response = Response::new(Body::from(reply.body));
    *response.status_mut() = reply.status;
    *response.headers_mut() = reply.headers;
    response
}

/// The answer to a call that was recorded.
pub(super) fn recorded(status: StatusCode, answer: &Value) -> Result<Response, Problem> {
    let mut response = super::super::service::json(answer)?;
    *response.status_mut() = status;
    Ok(response)
}

/// Whether the caller still may: what he waited for may have outlasted his key.
pub(super) fn still_may(taken: &Taken<'_>) -> Result<(), Problem> {
    taken.caller.still_may(taken.api, Right::Write)
}

/// Nanoseconds since 1970 by this machine's clock.
fn now_ns() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| u64::try_from(since.as_nanos()).unwrap_or(u64::MAX))
}
