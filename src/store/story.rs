//! What all stores share when they tell a story: where it starts, its order, its pages.

use super::{Cursor, CursorError, MAX_PAGE, Order, StoreError};
use crate::correlate::{Group, Id, JoinRules, Member, Members, Namespace, close, story_order};

/// Namespaces whose ids name one thing, so that what carries them belongs together.
pub(crate) const PRECISE: &[Namespace] = &[
    Namespace::Trace,
    Namespace::Workflow,
    Namespace::Run,
    Namespace::Job,
    Namespace::Decision,
    Namespace::Approval,
    Namespace::Entry,
    Namespace::Span,
    Namespace::Record,
    Namespace::ToolCall,
];

/// Namespaces whose ids are shared by many stories: asked only when no precise one knows the id.
const SHARED: &[Namespace] = &[
    Namespace::Conversation,
    Namespace::Thread,
    Namespace::Session,
    Namespace::Step,
    Namespace::User,
    Namespace::Actor,
];

/// The group of an id of one of these kinds; of whatever kind when none is given.
pub(crate) fn group_of<M: Members>(
    id: &str,
    namespaces: &[Namespace],
    members: &mut M,
    rules: &JoinRules,
) -> Result<Group, M::Error> {
    let rounds: &[&[Namespace]] =
        if namespaces.is_empty() { &[PRECISE, SHARED] } else { &[namespaces] };
    for namespaces in rounds {
        let start: Vec<Id<'_>> =
            namespaces.iter().map(|namespace| Id::new(*namespace, id)).collect();
        let group = close(&start, members, rules)?;
        if !group.members.is_empty() || group.truncated {
            return Ok(group);
        }
    }
    Ok(Group::default())
}

/// A page of members in the order that was asked for, and where the next one starts.
pub(crate) fn page_of<'m>(
    members: &'m mut [Member],
    order: Order,
    cursor: Option<&Cursor>,
    limit: usize,
) -> Result<(&'m [Member], Option<Cursor>), StoreError> {
    match order {
        Order::Story => story_order(members),
        Order::Ledger => members.sort_unstable_by_key(|m| m.sequence),
        Order::Newest => members.sort_unstable_by_key(|m| std::cmp::Reverse(m.sequence)),
    }
    let start = match (order, cursor) {
        (_, None) => 0,
        (Order::Newest, Some(Cursor::Below(sequence))) => {
            members.partition_point(|m| m.sequence >= *sequence)
        }
        (Order::Ledger, Some(Cursor::Above(sequence))) => {
            members.partition_point(|m| m.sequence <= *sequence)
        }
        (Order::Story, Some(Cursor::After { event_ns, id })) => {
            let last = members.iter().position(|m| m.entry == *id);
            // An entry that was pruned since cannot be found: what happened later follows.
            let later = || members.partition_point(|m| m.event_ns <= *event_ns);
            last.map_or_else(later, |at| at.saturating_add(1))
        }
        _ => return Err(CursorError::OtherOrder.into()),
    };
    let end = start.saturating_add(limit.clamp(1, MAX_PAGE)).min(members.len());
    let page = members.get(start..end).unwrap_or_default();
    let more = end < members.len();
    let next = page.last().filter(|_| more).map(|last| cursor_after(order, last));
    Ok((page, next))
}

fn cursor_after(order: Order, last: &Member) -> Cursor {
    match order {
        Order::Newest => Cursor::Below(last.sequence),
        Order::Ledger => Cursor::Above(last.sequence),
        Order::Story => Cursor::After { event_ns: last.event_ns, id: last.entry },
    }
}
