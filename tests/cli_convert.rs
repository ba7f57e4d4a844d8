//! `spanledger convert`: what somebody who adds a family sees, and how it ends.

use clap::Parser as _;
use spanledger::cli::{self, Cli, Command, Exit, Style};
use std::io::Write as _;
use std::path::Path;

/// A file of `tests/cli_convert`.
fn file(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cli_convert").join(name);
    path.to_str().unwrap().to_owned()
}

/// How the command ends with these arguments and that input, and what it writes.
fn convert(arguments: &[&str], input: &[u8]) -> (Exit, String) {
    let line = ["spanledger", "convert"].iter().chain(arguments);
    let Command::Convert(args) = Cli::try_parse_from(line).unwrap().command else { panic!() };
    let mut out = Vec::new();
    let (style, mut input) = (Style::plain(120), input);
    let exit = cli::end(cli::convert(&args, style, &mut input, &mut out));
    (exit, String::from_utf8(out).unwrap())
}

/// The text of the error with which the command ends.
fn refused(arguments: &[&str], input: &[u8]) -> String {
    let line = ["spanledger", "convert"].iter().chain(arguments);
    let Command::Convert(args) = Cli::try_parse_from(line).unwrap().command else { panic!() };
    let mut input = input;
    let error = cli::convert(&args, Style::plain(120), &mut input, &mut Vec::new()).unwrap_err();
    let text = cli::error_line(&error);
    assert_eq!(cli::end(Err(error)), Exit::Usage, "{text}");
    text
}

#[test]
fn an_unknown_request_shows_what_nothing_claims() {
    let (exit, shown) = convert(&["--explain", &file("request.json")], b"");
    assert_eq!(exit, Exit::Fine);
    insta::assert_snapshot!("unknown", shown);
}

#[test]
fn one_mapping_file_says_what_the_same_request_means_and_which_line_said_so() {
    let mapping = file("shop.yaml");
    let (exit, shown) = convert(&["--explain", "--mapping", &mapping, &file("request.json")], b"");
    assert_eq!(exit, Exit::Fine);
    insta::assert_snapshot!("mapped", shown);
}

#[test]
fn json_is_one_entry_a_line_as_it_would_be_stored_and_secrets_are_out() {
    let request = std::fs::read(file("request.json")).unwrap();
    let (exit, lines) = convert(&["--json", "--mapping", &file("shop.yaml")], &request);
    assert_eq!(exit, Exit::Fine);
    let lines: Vec<_> = lines.lines().collect();
    assert_eq!(lines.len(), 1);
    let entry: serde_json::Value = serde_json::from_str(lines[0]).unwrap();
    assert_eq!(entry["audit"]["mapping"], "shop");
    assert_eq!(entry["gen_ai"]["tool"]["name"], "issue_refund");
    assert_eq!(entry["event"]["outcome"], "success");
    assert_eq!(entry["attributes"]["shop.mood"], "calm", "what nothing claims is kept");
    assert!(!lines[0].contains("AKIAIOSFODNN7EXAMPLE"), "protected like everything: {}", lines[0]);
}

#[test]
fn a_compressed_request_on_standard_input_is_read() {
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(&std::fs::read(file("request.json")).unwrap()).unwrap();
    let (exit, lines) = convert(&["--json", "-"], &gzip.finish().unwrap());
    assert_eq!((exit, lines.lines().count()), (Exit::Fine, 1));
}

#[test]
fn a_mistake_in_a_mapping_is_told_with_its_line_and_ends_with_2() {
    let folder = tempfile::tempdir().unwrap();
    let wrong = folder.path().join("wrong.yaml");
    let text =
        std::fs::read_to_string(file("shop.yaml")).unwrap().replace("to: user.id", "to: user.di");
    std::fs::write(&wrong, text).unwrap();
    let wrong = wrong.to_str().unwrap();
    let told = r#"wrong.yaml:14: unknown field "user.di", did you mean "user.id"?"#;
    assert!(refused(&["--check", wrong], b"").contains(told));
    assert!(refused(&["--mapping", wrong], b"{}").contains(told));
    let (exit, said) = convert(&["--check", &file("shop.yaml")], b"");
    assert_eq!(exit, Exit::Fine);
    assert!(said.ends_with("shop.yaml: the mapping is right\n"), "{said}");
}

#[test]
fn what_is_no_request_is_told_with_what_to_give() {
    assert!(refused(&[], b"").contains("standard input"));
    assert!(refused(&["nowhere.bin"], b"").contains("nowhere.bin"));
    assert!(refused(&[], b"hello").contains("/v1/traces"));
    assert!(refused(&["--logs"], b"{\"resourceLogs\":3}").contains("no OTLP request"));
    assert!(refused(&["--mapping", "nowhere.yaml"], b"{}").contains("nowhere.yaml"));
}

#[test]
fn a_record_that_would_be_refused_is_told_and_ends_with_1() {
    let request = std::fs::read_to_string(file("request.json")).unwrap();
    let request = request.replace("00f067aa0ba902b7", "0000000000000000");
    let (exit, lines) = convert(&["--json", "--traces"], request.as_bytes());
    assert_eq!((exit, lines.as_str()), (Exit::Failed, ""));
}

#[test]
fn every_captured_request_is_explained_and_every_filled_field_has_its_rule() {
    /// Fields that follow from others, or from the record itself.
    const FOLLOW: &[&str] = &[
        "event.action",
        "event.outcome",
        "audit.actor.id",
        "audit.actor.type",
        "gen_ai.usage.repeated",
        "error.message",
        "audit.request_type",
        "audit.redactions",
    ];
    let payloads = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/payloads/convert");
    let mut folders = vec![payloads];
    let mut read = 0;
    while let Some(folder) = folders.pop() {
        for found in std::fs::read_dir(folder).unwrap() {
            let path = found.unwrap().path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            if path.extension().is_some_and(|extension| extension == "md") {
                continue;
            }
            let (exit, shown) = convert(&["--explain", path.to_str().unwrap()], b"");
            assert_eq!(exit, Exit::Fine, "{}", path.display());
            read += 1;
            // An event that is an entry of its own has what its span has, and no rules are shown.
            let mut event = false;
            for line in shown.lines() {
                event = if line.starts_with(' ') { event } else { line.contains("an event of") };
                let field = line.split_whitespace().next().unwrap_or_default();
                let follows = line.ends_with("  follows");
                assert!(!follows || event || FOLLOW.contains(&field), "{}: {line}", path.display());
            }
        }
    }
    assert!(read > 40, "the payloads are there");
}
