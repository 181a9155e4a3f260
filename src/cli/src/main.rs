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

/// Fast R-CNN on a CPU: compile a trained network, look into it, detect objects in images.
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
    #[test]
    fn arguments_do_not_contradict_each_other() {
        super::command().debug_assert();
    }
}
