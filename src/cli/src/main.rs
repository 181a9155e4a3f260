//! The `frcnn` command: compiles a trained Fast R-CNN, looks into the result, and runs it on images.
//!
//! Exit codes: 0 all went well, 1 the command or some of its inputs failed, 2 it was called wrongly.
#![forbid(unsafe_code)]

#[cfg(feature = "compile")]
mod auto;
mod bench;
#[cfg(feature = "compile")]
mod calibrate;
#[cfg(feature = "compile")]
mod cascade;
#[cfg(feature = "compile")]
mod compare;
#[cfg(feature = "compile")]
mod compile;
mod console;
mod cost;
#[cfg(feature = "compile")]
mod data;
#[cfg(feature = "compile")]
mod described;
mod detect;
mod error;
#[cfg(feature = "compile")]
mod eval;
mod files;
mod inputs;
mod inspect;
#[cfg(feature = "compile")]
mod new;
mod outputs;
#[cfg(feature = "compile")]
mod parse;
mod products;
mod proposals;
#[cfg(feature = "compile")]
mod runs;
#[cfg(feature = "compile")]
mod sweep;
mod tables;
mod tune;
mod units;

use std::process::ExitCode;

use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};

use error::Error;
use frcnn_core::is_unprintable;

/// Faster R-CNN and Fast R-CNN on a CPU: compile a trained network, look into it, detect objects in images.
#[derive(Debug, Parser)]
#[command(version, arg_required_else_help = true, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Bench(bench::Args),
    #[cfg(feature = "compile")]
    Compare(compare::Args),
    #[cfg(feature = "compile")]
    Compile(Box<compile::Args>),
    Detect(detect::Args),
    #[cfg(feature = "compile")]
    Eval(Box<eval::Args>),
    Inspect(inspect::Args),
    #[cfg(feature = "compile")]
    New(new::Args),
    Proposals(proposals::Args),
    #[cfg(feature = "compile")]
    Sweep(sweep::Args),
    Tune(tune::Args),
}

/// The command line as it is parsed: any option's value may be a negative number, so that the option itself says what it takes.
fn command() -> clap::Command {
    fn with_negative_numbers(command: clap::Command) -> clap::Command {
        let takes_value = |arg: &clap::Arg| !arg.is_positional() && arg.get_action().takes_values();
        command
            .mut_args(|arg| if takes_value(&arg) { arg.allow_negative_numbers(true) } else { arg })
            .mut_subcommands(with_negative_numbers)
    }
    with_negative_numbers(Cli::command())
}

fn main() -> ExitCode {
    #[cfg(unix)]
    frcnn_files::clean_up_on_signals();
    let parsed = command().try_get_matches().and_then(|matches| Cli::from_arg_matches(&matches));
    let cli = parsed.unwrap_or_else(|error| {
        // Coloured by clap, unless an argument could colour as well.
        let text = error.render().to_string();
        if text.chars().any(|c| c != '\n' && is_unprintable(c)) {
            console::note(&text);
            std::process::exit(error.exit_code());
        }
        error.exit()
    });
    let outcome = match cli.command {
        Command::Bench(args) => bench::run(&args),
        #[cfg(feature = "compile")]
        Command::Compare(args) => compare::run(&args),
        #[cfg(feature = "compile")]
        Command::Compile(args) => compile::run(&args),
        Command::Detect(args) => detect::run(&args),
        #[cfg(feature = "compile")]
        Command::Eval(args) => eval::run(&args),
        Command::Inspect(args) => inspect::run(&args),
        #[cfg(feature = "compile")]
        Command::New(args) => new::run(&args),
        Command::Proposals(args) => proposals::run(&args),
        #[cfg(feature = "compile")]
        Command::Sweep(args) => sweep::run(&args),
        Command::Tune(args) => tune::run(&args),
    };
    match outcome {
        // Whoever closed the pipe has read all that they wanted.
        Ok(()) | Err(Error::Closed) => ExitCode::SUCCESS,
        Err(Error::Reported) => ExitCode::FAILURE,
        Err(error) => {
            console::error(&error);
            if matches!(error, Error::Usage(_)) { ExitCode::from(2) } else { ExitCode::FAILURE }
        }
    }
}

#[cfg(test)]
mod tests {
    /// All commands, with the names of those above them.
    fn all(command: &clap::Command) -> Vec<clap::Command> {
        let mut all = vec![command.clone()];
        all.extend(command.get_subcommands().flat_map(self::all));
        all
    }

    #[test]
    fn arguments_do_not_contradict_each_other() {
        super::command().debug_assert();
    }

    /// Lines are left to clap, which knows how wide a terminal is: a line that ends elsewhere would be broken twice.
    #[test]
    fn no_line_of_help_ends_within_a_sentence() {
        for command in all(&super::command()) {
            let Some(text) = command.get_after_help() else { continue };
            let text = text.to_string();
            let indent = |line: &str| line.len() - line.trim_start().len();
            let lines: Vec<&str> = text.lines().collect();
            for pair in lines.windows(2) {
                let [line, next] = pair else { continue };
                let is_example = line.starts_with("  frcnn ") || line.starts_with("  ffmpeg ");
                let ends = line.is_empty() || line.ends_with(['.', ':']) || is_example;
                let goes_on = !next.is_empty() && indent(next) == indent(line);
                assert!(ends || !goes_on, "{}: {line:?} goes on as {next:?}", command.get_name());
            }
        }
    }

    /// Every line of help is as full as its width allows, and no fuller, where a longer one was broken.
    #[test]
    fn help_is_wrapped_once_at_any_width() {
        let mut command = super::command();
        command.build();
        for command in all(&command) {
            let help = |width: usize| command.clone().term_width(width).render_long_help().to_string();
            let whole = help(0);
            for width in [80, 100, 120] {
                let wrapped = help(width);
                let mut lines = wrapped.lines();
                for line in whole.lines() {
                    let mut words = line.split_whitespace().peekable();
                    loop {
                        let part = lines.next().unwrap_or_else(|| panic!("{line:?} is not in {wrapped}"));
                        part.split_whitespace()
                            .for_each(|word| assert_eq!(Some(word), words.next(), "{part:?} of {line:?}"));
                        let length = part.chars().count();
                        let is_one_word = part.split_whitespace().count() == 1;
                        assert!(length <= width || is_one_word, "{width}: {part:?}");
                        let Some(next) = words.peek() else { break };
                        assert!(
                            length + 1 + next.chars().count() > width,
                            "{width}: {next:?} fits behind {part:?}"
                        );
                    }
                }
                assert_eq!(lines.next(), None, "{width}");
            }
        }
    }
}
