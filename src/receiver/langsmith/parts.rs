//! Parts of a form, or members of JSON, put together to one object a run.

use super::Runs;
use super::multipart::{Part, parts};
use crate::receiver::decision_logs::value::elements;
use crate::receiver::json::Reader;
use crate::receiver::otlp::DecodeError;
use std::collections::HashMap;

/// What happened to a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Event {
    /// It started; when both were sent together, it also ended.
    Post,
    /// There is something new of it, its end most of the time.
    Patch,
    /// Somebody judged it.
    Feedback,
}

/// One object as it was sent.
#[derive(Debug)]
pub(super) struct Sent<'a> {
    pub(super) event: Event,
    /// The id of the run as path or part say it; empty when only the object does.
    pub(super) id: &'a str,
    /// The object itself; empty when only parts of it were sent.
    pub(super) object: &'a [u8],
    /// Members that were sent beside it, and their JSON.
    pub(super) members: Vec<(&'a str, &'a [u8])>,
    /// Files that belong to the run.
    pub(super) attachments: Vec<Part<'a>>,
}

impl Sent<'_> {
    /// Whether there is an object, or at least members of one.
    pub(super) fn is_object(&self) -> bool {
        let members = !self.members.is_empty() || !self.attachments.is_empty();
        self.object.first() == Some(&b'{') || (self.object.is_empty() && members)
    }

    /// Bytes of all of it that becomes an entry: of a file only its name and hash do.
    pub(super) fn bytes(&self) -> usize {
        let of_members =
            self.members.iter().map(|(name, json)| name.len().saturating_add(json.len()));
        let of_files = self.attachments.iter().map(|it| it.name.len().saturating_add(256));
        of_members.chain(of_files).fold(self.object.len(), usize::saturating_add)
    }

    /// Elements of all of it.
    pub(super) fn elements(&self) -> usize {
        let of_members = self.members.iter().map(|(_, json)| elements(json));
        let of_files = self.attachments.iter().map(|_| 8);
        of_members.chain(of_files).fold(elements(self.object), usize::saturating_add)
    }
}

/// Every object of a request, in the order in which the first of each was sent.
pub(super) fn sent<'a>(runs: &'a Runs, request: &'a [u8]) -> Result<Vec<Sent<'a>>, DecodeError> {
    match runs {
        Runs::Multipart(boundary) => form(request, boundary),
        Runs::Batch => batch(request),
        Runs::Post => objects(request, Event::Post, ""),
        Runs::Patch(id) => objects(request, Event::Patch, id),
    }
}

fn form<'a>(request: &'a [u8], boundary: &str) -> Result<Vec<Sent<'a>>, DecodeError> {
    let mut all: Vec<Sent<'a>> = Vec::new();
    let mut known: HashMap<(Event, &'a str), usize> = HashMap::new();
    let mut files = Vec::new();
    for part in parts(request, boundary)? {
        let mut names = part.name.splitn(3, '.');
        let (event, id, member) = (names.next(), names.next().unwrap_or_default(), names.next());
        let event = match event {
            Some("post") => Event::Post,
            Some("patch") => Event::Patch,
            Some("feedback") => Event::Feedback,
            Some("attachment") => {
                files.push((id, Part { name: member.unwrap_or_default(), ..part }));
                continue;
            }
            _ => {
                let what = "part that is no post, patch, feedback or attachment of a run";
                return Err(DecodeError { offset: 0, what });
            }
        };
        let at = *known.entry((event, id)).or_insert_with(|| {
            all.push(Sent::new(event, id, &[]));
            all.len().saturating_sub(1)
        });
        let Some(sent) = all.get_mut(at) else { continue };
        match member {
            Some(member) => sent.members.push((member, part.content)),
            None if sent.object.is_empty() => sent.object = part.content.trim_ascii(),
            // The same run twice in one form: the second is a record of its own.
            None => {
                known.insert((event, id), all.len());
                all.push(Sent::new(event, id, part.content.trim_ascii()));
            }
        }
    }
    for (id, file) in files {
        let of_run = known.get(&(Event::Post, id)).or_else(|| known.get(&(Event::Patch, id)));
        let at = of_run.copied().unwrap_or_else(|| {
            all.push(Sent::new(Event::Patch, id, &[]));
            known.insert((Event::Patch, id), all.len().saturating_sub(1));
            all.len().saturating_sub(1)
        });
        if let Some(sent) = all.get_mut(at) {
            sent.attachments.push(file);
        }
    }
    Ok(all)
}

impl<'a> Sent<'a> {
    fn new(event: Event, id: &'a str, object: &'a [u8]) -> Self {
        Self { event, id, object, members: Vec::new(), attachments: Vec::new() }
    }
}

fn batch(request: &[u8]) -> Result<Vec<Sent<'_>>, DecodeError> {
    let mut all = Vec::new();
    let mut reader = Reader::new(request);
    let mut open = reader.map()?;
    while let Some(key) = reader.member(&mut open)? {
        let event = match key.as_str() {
            "post" => Event::Post,
            "patch" => Event::Patch,
            _ => {
                reader.skip()?;
                continue;
            }
        };
        if reader.null()? {
            continue;
        }
        let mut list = reader.list()?;
        while reader.item(&mut list)? {
            all.push(Sent::new(event, "", passed(&mut reader)?));
        }
    }
    reader.end()?;
    Ok(all)
}

/// One object, or several behind one another.
fn objects<'a>(request: &'a [u8], event: Event, id: &'a str) -> Result<Vec<Sent<'a>>, DecodeError> {
    let mut all = Vec::new();
    let mut reader = Reader::new(request);
    loop {
        all.push(Sent::new(event, id, passed(&mut reader)?));
        if reader.peek().is_none() {
            return Ok(all);
        }
    }
}

fn passed<'a>(reader: &mut Reader<'a>) -> Result<&'a [u8], DecodeError> {
    let start = reader.position();
    reader.skip()?;
    Ok(reader.since(start))
}
