//! Keys as a table: one line each.

use super::display::{Paint, Style, clean, fit, pad};
use crate::api::{Key, KeyState};
use jiff::Timestamp;

/// Columns of an id, a name, a role, a tenant, a state, the last use; who made it comes last.
const WIDTHS: [usize; 6] = [16, 20, 14, 16, 14, 16];

/// Hours from which on what is left is said in days.
const HOURS_SAID: i64 = 48;

/// The names of the columns.
pub(super) fn heading() -> String {
    row(&["ID", "NAME", "ROLE", "TENANT", "STATE", "LAST USE", "MADE BY"].map(str::to_owned))
}

/// One key.
pub(super) fn line(key: &Key, now: Timestamp, style: Style) -> String {
    let line = row(&[
        clean(&key.id),
        clean(&key.name),
        key.role.to_string(),
        key.tenant.as_deref().map_or_else(|| "(all)".to_owned(), clean),
        state(key, now),
        key.last_used.as_deref().map_or_else(|| "-".to_owned(), minute),
        clean(&key.created_by),
    ]);
    match key.state {
        KeyState::Active => line,
        KeyState::Expired | KeyState::Revoked => style.paint(Paint::Dim, &line),
    }
}

fn row(cells: &[String; 7]) -> String {
    let mut widths = WIDTHS.into_iter();
    let cells = cells.iter().map(|cell| match widths.next() {
        Some(width) => pad(&fit(cell, width), width),
        None => cell.clone(),
    });
    cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
}

/// `active`, `expires in 3d`, `expired`, `revoked`.
fn state(key: &Key, now: Timestamp) -> String {
    let expires = key.expires.as_deref().and_then(|at| at.parse::<Timestamp>().ok());
    match (key.state, expires) {
        (KeyState::Revoked, _) => "revoked".to_owned(),
        (KeyState::Expired, _) => "expired".to_owned(),
        (KeyState::Active, None) => "active".to_owned(),
        (KeyState::Active, Some(at)) => {
            let left = at.duration_since(now);
            let (hours, minutes) = (left.as_hours(), left.as_mins());
            if hours >= HOURS_SAID {
                format!("expires in {}d", hours.checked_div(24).unwrap_or(hours))
            } else if hours > 0 {
                format!("expires in {hours}h")
            } else {
                format!("expires in {}m", minutes.max(0))
            }
        }
    }
}

/// `2026-11-21T08:31:27.123Z` → `2026-11-21 08:31`.
fn minute(at: &str) -> String {
    at.get(..16).unwrap_or(at).replacen('T', " ", 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::access::Role;

    fn key(state: KeyState, expires: Option<&str>) -> Key {
        Key {
            id: "0123456789abcdef".to_owned(),
            name: "agents".to_owned(),
            role: Role::Writer,
            tenant: Some("acme".to_owned()),
            state,
            created: "2026-11-21T08:00:00Z".to_owned(),
            created_by: "os:root".to_owned(),
            expires: expires.map(str::to_owned),
            revoked: None,
            revoked_by: None,
            replaces: None,
            last_used: Some("2026-11-21T08:31:27.123Z".to_owned()),
            certificate: None,
            forward: None,
            requests_per_second: None,
            bytes_per_second: None,
        }
    }

    #[test]
    fn a_line_says_whether_a_key_works_and_for_how_long() {
        let now: Timestamp = "2026-11-21T08:00:00Z".parse().unwrap();
        for (state, expires, said) in [
            (KeyState::Active, None, "active"),
            (KeyState::Active, Some("2026-12-21T09:00:00Z"), "expires in 30d"),
            (KeyState::Active, Some("2026-11-22T09:00:00Z"), "expires in 25h"),
            (KeyState::Active, Some("2026-11-21T08:05:00Z"), "expires in 5m"),
            (KeyState::Expired, Some("2026-11-21T07:00:00Z"), "expired"),
            (KeyState::Revoked, Some("2026-12-21T09:00:00Z"), "revoked"),
        ] {
            let line = line(&key(state, expires), now, Style::plain(100));
            assert!(line.contains(said) && line.contains("2026-11-21 08:31"), "{said}: {line}");
        }
    }

    #[test]
    fn a_name_cannot_write_to_the_terminal() {
        let now = Timestamp::UNIX_EPOCH;
        let evil = Key { name: "a\u{1b}[2J".to_owned(), ..key(KeyState::Active, None) };
        assert!(!line(&evil, now, Style::plain(100)).contains('\u{1b}'));
    }
}
