//! `dead-letters`: entries that the cluster did not take, why, sending them again, giving them up.

use super::args::{DeadLettersArgs, DeadLettersCommand, DropArgs, ReplayArgs, WhichLetters};
use super::client::{Source, SourceError};
use super::display::clean;
use super::exit::{CommandError, Exit};
use super::search::unchanged;
use crate::api::{
    DropAnswer, DropRequest, Letter, LettersAnswer, MAX_LETTERS, ReplayAnswer, ReplayRequest,
};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::io::Write;

/// Lists, shows, sends again or gives up.
///
/// # Errors
/// [`CommandError`].
pub async fn dead_letters(
    args: &DeadLettersArgs,
    source: &Source,
    out: &mut impl Write,
) -> Result<Exit, CommandError> {
    match &args.command {
        DeadLettersCommand::List(list) => {
            let bytes = page(source, list.from, list.limit).await?;
            if list.json {
                return unchanged(&bytes, out);
            }
            write_list(&read(&bytes)?, out)?;
        }
        DeadLettersCommand::Show(show) => {
            let found = read(&page(source, show.sequence, 1).await?)?.dead_letters;
            let Some(letter) = found.first().filter(|found| found.sequence == show.sequence) else {
                return Err(CommandError::NoLetter { sequence: show.sequence });
            };
            write_letter(letter, out)?;
            let of_tenant = [("tenant", letter.tenant.as_str())];
            match source.get(&["api", "v1", "entries", &letter.id], &of_tenant).await {
                Ok(entry) => unchanged(&entry, out).map(|_| ())?,
                // Who runs the export does not read what it carries.
                Err(SourceError::Refused { problem, .. }) if problem.status == 403 => {
                    writeln!(
                        out,
                        "entry          for an auditor of this tenant: `spanledger search id:{}`",
                        clean(&letter.id)
                    )?;
                }
                Err(error) => return Err(error.into()),
            }
        }
        DeadLettersCommand::Replay(replay) => return send_again(replay, source, out).await,
        DeadLettersCommand::Drop(drop) => return give_up(drop, source, out).await,
    }
    out.flush()?;
    Ok(Exit::Fine)
}

async fn page(source: &Source, from: u64, limit: u32) -> Result<Vec<u8>, CommandError> {
    let (from, limit) = (from.to_string(), limit.to_string());
    let query = [("from", from.as_str()), ("limit", limit.as_str())];
    Ok(source.get(&["api", "v1", "dead-letters"], &query).await?)
}

fn read(bytes: &[u8]) -> Result<LettersAnswer, CommandError> {
    serde_json::from_slice(bytes).map_err(CommandError::Answer)
}

fn write_list(answer: &LettersAnswer, out: &mut impl Write) -> std::io::Result<()> {
    if answer.open == 0 {
        return writeln!(out, "no dead letters: everything was delivered or will be");
    }
    for letter in &answer.dead_letters {
        writeln!(
            out,
            "{:>12}  {}  {}  {} x{}  {}",
            letter.sequence,
            letter.last_attempt.get(..19).unwrap_or_default(),
            letter.status,
            clean(&letter.error_type),
            letter.attempts,
            clean(&letter.reason),
        )?;
    }
    writeln!(out, "{} of {} shown", answer.dead_letters.len(), answer.open)?;
    match answer.next {
        Some(next) => writeln!(out, "more: spanledger dead-letters list --from {next}"),
        None => Ok(()),
    }
}

fn write_letter(letter: &Letter, out: &mut impl Write) -> std::io::Result<()> {
    writeln!(out, "sequence       {}", letter.sequence)?;
    writeln!(out, "id             {}", clean(&letter.id))?;
    writeln!(out, "tenant         {}", clean(&letter.tenant))?;
    writeln!(out, "data stream    {}", clean(&letter.data_stream))?;
    writeln!(out, "refused        {} {}", letter.status, clean(&letter.error_type))?;
    writeln!(out, "reason         {}", clean(&letter.reason))?;
    writeln!(out, "first, last    {}, {}", letter.first_attempt, letter.last_attempt)?;
    writeln!(out, "attempts       {}", letter.attempts)
}

/// The sequences that were named, a call's worth at a time.
struct Calls<'a> {
    which: &'a WhichLetters,
    named: std::slice::Chunks<'a, u64>,
    /// Where the next page of all letters starts; `None` behind the last.
    from: Option<u64>,
}

impl<'a> Calls<'a> {
    fn new(which: &'a WhichLetters) -> Self {
        Self { which, named: which.sequences.chunks(MAX_LETTERS as usize), from: Some(0) }
    }

    async fn next(&mut self, source: &Source) -> Result<Option<Vec<u64>>, CommandError> {
        if !self.which.all {
            return Ok(self.named.next().map(<[u64]>::to_vec));
        }
        let Some(from) = self.from else { return Ok(None) };
        let page = read(&page(source, from, MAX_LETTERS).await?)?;
        self.from = page.next;
        let sequences: Vec<u64> = page.dead_letters.iter().map(|letter| letter.sequence).collect();
        Ok((!sequences.is_empty()).then_some(sequences))
    }
}

async fn post<A: DeserializeOwned>(
    source: &Source,
    what: &str,
    request: &impl Serialize,
) -> Result<A, CommandError> {
    let answer = source.post(&["api", "v1", "dead-letters", what], request).await?;
    serde_json::from_slice(&answer).map_err(CommandError::Answer)
}

async fn send_again(
    args: &ReplayArgs,
    source: &Source,
    out: &mut impl Write,
) -> Result<Exit, CommandError> {
    let mut done = ReplayAnswer::default();
    let mut calls = Calls::new(&args.which);
    while let Some(sequences) = calls.next(source).await? {
        let answer: ReplayAnswer = post(source, "replay", &ReplayRequest { sequences }).await?;
        done.delivered = done.delivered.saturating_add(answer.delivered);
        done.refused = done.refused.saturating_add(answer.refused);
        done.unknown = done.unknown.saturating_add(answer.unknown);
        done.left = done.left.saturating_add(answer.left);
        // The cluster is slow or not there: the next call would wait for it as long.
        if answer.left > 0 {
            break;
        }
    }
    let ReplayAnswer { delivered, refused, unknown, left } = done;
    writeln!(out, "{delivered} delivered, {refused} refused again, {unknown} unknown")?;
    if left > 0 {
        writeln!(
            out,
            "{left} and what follows were not reached: /readyz says what the export waits for; \
             then replay again"
        )?;
    }
    out.flush()?;
    Ok(if refused > 0 || unknown > 0 || left > 0 { Exit::Failed } else { Exit::Fine })
}

async fn give_up(
    args: &DropArgs,
    source: &Source,
    out: &mut impl Write,
) -> Result<Exit, CommandError> {
    let mut done = DropAnswer::default();
    let mut calls = Calls::new(&args.which);
    while let Some(sequences) = calls.next(source).await? {
        let reason = args.reason.clone();
        let answer: DropAnswer = post(source, "drop", &DropRequest { sequences, reason }).await?;
        done.dropped = done.dropped.saturating_add(answer.dropped);
        done.unknown = done.unknown.saturating_add(answer.unknown);
    }
    let DropAnswer { dropped, unknown } = done;
    writeln!(out, "{dropped} dropped: in the ledger only, {unknown} unknown")?;
    out.flush()?;
    Ok(if unknown > 0 { Exit::Failed } else { Exit::Fine })
}
