use super::super::bulk::tests::part;
use super::super::transport::{Reply, Request, SendError};
use super::*;

/// Answers every request with the same.
#[derive(Debug, Clone)]
struct Always(u16, &'static str);

impl Transport for Always {
    async fn send(&self, _: Request) -> Result<Reply, SendError> {
        Ok(Reply { status: self.0, body: self.1.into(), retry_after: None })
    }
}

fn delivery(dir: &std::path::Path, answer: Always, texts: &[&str]) -> Delivery<Always> {
    let options = ExporterOptions::new("test/ledger", dir);
    let dead = Arc::new(DeadLetters::open(&dir.join("letters")).unwrap());
    let shared = Arc::new(Shared::new(answer, options, dead, [1; 16]));
    let texts: Vec<String> = texts.iter().map(ToString::to_string).collect();
    let bulk = shared.window.add(0, 10, &shared.status);
    Delivery::new(shared, part(&texts), false, Some(bulk))
}

#[tokio::test]
async fn a_part_that_is_lost_never_counts_as_done_with() {
    let dir = tempfile::tempdir().unwrap();
    let mut delivery = delivery(dir.path(), Always(200, "{}"), &["a\n", "b\n"]);
    // What is left of a job when the thread that compresses it panics.
    std::mem::take(&mut delivery.jobs[0].part);
    let shared = delivery.shared.clone();
    delivery.run().await;
    assert_eq!(shared.window.lowest(), Some(0), "the cursor stays before it");
    assert!(shared.broken.load(Ordering::Relaxed), "and that is told");
}

#[tokio::test]
async fn a_refused_parameter_that_was_not_sent_is_waited_for_as_a_refusal() {
    let dir = tempfile::tempdir().unwrap();
    let refusal = r#"{"error":{"type":"illegal_argument_exception",
        "reason":"request [/_bulk] contains unrecognized parameter: [require_data_stream]"}}"#;
    let mut delivery = delivery(dir.path(), Always(400, refusal), &["a\n"]);
    let mut job = delivery.jobs.pop_front().unwrap();
    let with = delivery.send(&mut job, true).await.ok();
    assert_eq!(with, Some(Answer::UnknownParameter));
    let without = delivery.send(&mut job, false).await.ok();
    assert!(matches!(without, Some(Answer::Later(Problem::Refused, _))), "{without:?}");
}
