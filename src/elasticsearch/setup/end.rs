//! Without a lifecycle: what earlier runs attached must not go on deleting.
//!
//! A template reaches only what is made later, so the lifecycle is taken off the streams and
//! indices that are there. ILM policies themselves stay: without an index they do nothing.

use super::SetupError;
use super::objects::Object;
use super::plan::{Found, Plan, Reason, found, send, step};
use crate::elasticsearch::{Method, Reply, Transport};
use serde_json::Value;

impl Plan {
    /// Takes the lifecycle of an earlier run off a stream: the template without one reaches only
    /// streams that are made later.
    pub(super) fn end_lifecycle(&mut self, object: &Object, reply: &Reply) {
        // What cannot be read, or is not ours, is told when the stream itself is looked at.
        let value: Value = serde_json::from_slice(&reply.body).unwrap_or_default();
        let Some(stream) = value.pointer("/data_streams/0") else { return };
        let what = format!("data stream {}", object.name);
        if stream.pointer("/lifecycle/data_retention").is_some_and(Value::is_string) {
            let path = format!("{}/_lifecycle", object.write);
            self.steps.push(step(&what, Reason::NoLifecycle, Method::Delete, path, None));
        }
        let has_policy =
            |of: &Value| of.get("ilm_policy").and_then(Value::as_str).is_some_and(is_ours);
        let mut indices = stream.get("indices").and_then(Value::as_array).into_iter().flatten();
        if has_policy(stream) || indices.any(has_policy) {
            let path = format!("/{}/_ilm/remove", object.name);
            self.steps.push(step(&what, Reason::NoLifecycle, Method::Post, path, None));
        }
    }

    /// Takes the ISM policies of earlier runs off the indices and deletes them, in this order: a
    /// run that ends in between finds them again.
    pub(super) async fn end_policies<T: Transport>(
        &mut self,
        client: &T,
        unwanted: Vec<Object>,
    ) -> Result<(), SetupError> {
        let steps = self.steps.len();
        for object in unwanted {
            let reply = send(client, Method::Get, &object.read, Vec::new(), None).await?;
            let what = format!("{} {}", object.kind.name(), object.name);
            match found(&object, &reply)?.0 {
                Found::Nothing | Found::NoSuchApi => {}
                Found::Foreign => self.notices.push(format!(
                    "the {what} is there and spanledger did not make it; look whether it deletes"
                )),
                Found::Ours(_) => {
                    let path = object.write;
                    self.steps.push(step(&what, Reason::NoLifecycle, Method::Delete, path, None));
                }
            }
        }
        if self.steps.len() > steps {
            let path = "/_plugins/_ism/remove/spanledger-*".to_owned();
            let what = "ISM policies of spanledger-*";
            let remove = step(what, Reason::NoLifecycle, Method::Post, path, None);
            self.steps.insert(steps, remove);
        }
        Ok(())
    }
}

/// Whether a lifecycle policy has a name that setup gives.
fn is_ours(policy: &str) -> bool {
    policy == "spanledger" || policy.starts_with("spanledger-")
}
