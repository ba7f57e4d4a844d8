//! What `--help` says, as text.

use clap::CommandFactory as _;
use spanledger::cli::Cli;

fn help(command: &str) -> String {
    let mut cli = Cli::command().term_width(100);
    cli.build();
    let found = if command.is_empty() { Some(&mut cli) } else { cli.find_subcommand_mut(command) };
    found.unwrap().render_long_help().to_string()
}

#[test]
fn the_help_of_the_program_says_where_to_start() {
    insta::assert_snapshot!(help(""));
}

#[test]
fn the_help_of_each_command_has_examples() {
    for command in [
        "serve",
        "demo",
        "search",
        "trace",
        "tail",
        "verify",
        "evidence",
        "proof",
        "setup",
        "repair",
        "hold",
        "confirm-clock",
        "dead-letters",
        "keys",
        "erase",
        "convert",
    ] {
        insta::assert_snapshot!(command, help(command));
    }
}

#[test]
fn a_wrong_flag_ends_with_code_2() {
    use clap::Parser as _;
    for line in [
        vec!["spanledger", "search"],
        vec!["spanledger", "trace", "x", "--limit", "0"],
        vec!["spanledger", "trace", "x", "--limit", "5"],
        vec!["spanledger", "dead-letters", "replay"],
        vec!["spanledger", "verify", "--expect", "12"],
        vec!["spanledger", "verify", "--bundle", "b.zip", "--expect", "1:00"],
        vec!["spanledger", "verify", "--report", "r.html"],
        vec!["spanledger", "verify", "--proof", "p.json", "--bundle", "b.zip"],
        vec!["spanledger", "proof"],
        vec!["spanledger", "proof", "4x"],
        vec!["spanledger", "proof", "4", "--old", "1"],
        vec!["spanledger", "proof", "--new", "1"],
        vec!["spanledger", "serve", "--listen-api", "4380"],
    ] {
        assert_eq!(Cli::try_parse_from(&line).unwrap_err().exit_code(), 2, "{line:?}");
    }
}
