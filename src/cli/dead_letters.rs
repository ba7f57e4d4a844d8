//! `dead-letters`: entries that the cluster did not take, why, and sending them again.

use super::args::{DeadLettersArgs, DeadLettersCommand, ReplayArgs};
use super::client::Source;
use super::display::clean;
use super::exit::{CommandError, Exit};
use super::search::unchanged;
use crate::api::{Letter, LettersAnswer, ReplayAnswer, ReplayRequest};
use std::io::Write;

/// Dead letters that are listed, and sent again, by one call: the most that the server takes.
const CALL: u32 = 1000;

/// Lists, shows or sends again.
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
            let entry = source.get(&["api", "v1", "entries", &letter.id], &[]).await?;
            unchanged(&entry, out)?;
        }
        DeadLettersCommand::Replay(replay) => return send_again(replay, source, out).await,
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

async fn send_again(
    args: &ReplayArgs,
    source: &Source,
    out: &mut impl Write,
) -> Result<Exit, CommandError> {
    let mut done = ReplayAnswer::default();
    let mut rest = args.sequences.as_slice();
    let mut from = 0;
    loop {
        let sequences: Vec<u64> = if args.all {
            let page = read(&page(source, from, CALL).await?)?;
            from = page.next.unwrap_or(u64::MAX);
            page.dead_letters.iter().map(|letter| letter.sequence).collect()
        } else {
            let (now, later) = rest.split_at(rest.len().min(CALL as usize));
            rest = later;
            now.to_vec()
        };
        if sequences.is_empty() {
            break;
        }
        let last = sequences.len() < CALL as usize;
        let path = ["api", "v1", "dead-letters", "replay"];
        let answer = source.post(&path, &ReplayRequest { sequences }).await?;
        let answer: ReplayAnswer = serde_json::from_slice(&answer).map_err(CommandError::Answer)?;
        done.delivered = done.delivered.saturating_add(answer.delivered);
        done.refused = done.refused.saturating_add(answer.refused);
        done.unknown = done.unknown.saturating_add(answer.unknown);
        if last {
            break;
        }
    }
    let ReplayAnswer { delivered, refused, unknown } = done;
    writeln!(out, "{delivered} delivered, {refused} refused again, {unknown} unknown")?;
    out.flush()?;
    Ok(if refused > 0 || unknown > 0 { Exit::Failed } else { Exit::Fine })
}
