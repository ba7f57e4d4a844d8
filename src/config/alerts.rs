//! `alerts:` as it is written, and what it means.

use super::elasticsearch::{RawSecret, read};
use super::{ConfigError, value};
use crate::export::{Alert, Shape, WebhookUrl};
use crate::store::query::Query;
use std::collections::HashSet;

/// Most alerts: each has a thread that reads the ledger.
pub const MAX_ALERTS: usize = 8;

super::raw::section! {
    /// One of `alerts:`
    RawAlert {
        /// Its name.
        name: String = String::new(),
        /// Which entries.
        query: String = String::new(),
        /// Where the webhook's address stands.
        url: Option<RawSecret> = None,
        /// How the webhook wants to be told.
        format: Shape = Shape::Slack,
    }
}

/// What the section says.
pub(super) fn resolve(raw: Vec<RawAlert>) -> Result<Vec<Alert>, ConfigError> {
    if raw.len() > MAX_ALERTS {
        let problem =
            format!("has {} entries, the limit is {MAX_ALERTS}: join queries with OR", raw.len());
        return Err(ConfigError::Value { key: "alerts", problem });
    }
    let mut names = HashSet::new();
    raw.into_iter()
        .map(|alert| {
            let RawAlert { name, query, url, format } = alert;
            let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
            if name.is_empty() || name.len() > 64 || !name.chars().all(plain) {
                let problem =
                    "has 1 to 64 letters, digits, dashes or underscores; give each alert one";
                return Err(value("alerts.name", problem));
            }
            if !names.insert(name.clone()) {
                return Err(value(
                    "alerts.name",
                    "stands twice; each alert needs a name of its own",
                ));
            }
            let url = url.ok_or_else(|| {
                value(
                    "alerts.url",
                    "is missing: write {file: PATH} or {env: NAME}, as it is a secret",
                )
            })?;
            let url = WebhookUrl::new(read("alerts.url", &url)?.expose())
                .map_err(|error| value("alerts.url", &error.to_string()))?;
            if query.trim().is_empty() {
                let problem = "is missing: write which entries to tell of, such as decision:block";
                return Err(value("alerts.query", problem));
            }
            let query =
                Query::parse(&query).map_err(|error| value("alerts.query", &error.to_string()))?;
            Ok(Alert { name, query, url, shape: format })
        })
        .collect()
}
