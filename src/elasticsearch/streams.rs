//! Whether a data stream is there, for clusters that do not know `require_data_stream`.
//!
//! OpenSearch refuses the parameter, and without it a bulk to a name without a template makes a
//! plain index. So the stream is looked for before the first entry goes there. When it is missing
//! it is made by a request that fails without a template and never makes a plain index.

use super::deliver::{Held, Shared};
use super::document::data_stream;
use super::outcome::{Problem, said_of_send_error};
use super::status::locked;
use super::transport::{Method, Request, Transport};
use std::time::Duration;

const TIMEOUT: Duration = Duration::from_secs(30);

/// Waits until the stream of a class is there.
pub(super) async fn ensure_stream<T: Transport>(shared: &Shared<T>, class: u8, held: &mut Held) {
    let path = format!("/_data_stream/{}", data_stream(class));
    let mut method = Method::Get;
    while !locked(&shared.streams).contains(&class) {
        let request =
            Request { method, path: path.clone(), query: vec![], body: None, timeout: TIMEOUT };
        let ticket = shared.gate.enter().await;
        let reply = shared.transport.send(request).await;
        let problem = match (method, reply.as_ref().map(|reply| reply.status)) {
            // A key that may only create documents cannot see it (403); setup has made it.
            (_, Ok(200)) | (Method::Get, Ok(403)) => None,
            (Method::Get, Ok(404)) => {
                ticket.answered(false);
                method = Method::Put;
                continue;
            }
            // Also when another collector has made it just now: then the next look finds it.
            (Method::Put, Ok(400 | 403 | 404)) => Some(Problem::SetupMissing),
            (_, Ok(401)) => Some(Problem::Unauthorized),
            (_, Ok(429)) => Some(Problem::Busy),
            _ => Some(Problem::Unavailable),
        };
        method = Method::Get;
        match problem {
            None => {
                ticket.answered(false);
                locked(&shared.streams).insert(class);
            }
            Some(problem) => {
                let why = match &reply {
                    Ok(reply) => format!("the cluster answered {}", reply.status),
                    Err(error) => said_of_send_error(error),
                };
                ticket.failed(problem, reply.ok().and_then(|reply| reply.retry_after));
                held.set(problem, &format!("cannot find the data stream: {why}"));
            }
        }
    }
}
