//! The `frcnn-train` command: trains a Fast R-CNN with libtorch, on CUDA or on a CPU, and writes the ONNX file that
//! `frcnn compile` takes.
//!
//! Exit codes: 0 all went well, 1 the command failed, 2 it was called wrongly, 130 training was interrupted and can be
//! resumed.

mod arch;
mod commands;
mod config;
mod console;
mod data;
mod detect;
mod device;
mod error;
mod files;
mod init;
mod network;
mod predecessors;
mod recipe;
mod rpn;
mod run_dir;
mod synth;
mod tensors;
mod train;

use std::process::ExitCode;

use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};

use commands::{eval, export, fit, reference, svm};
use error::Error;
use frcnn_core::is_unprintable;

/// Fast R-CNN from a data set to ONNX: train, evaluate, export.
#[derive(Debug, Parser)]
#[command(name = "frcnn-train", version, arg_required_else_help = true, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Command,
    /// Take photos that are cut short or damaged as far as they go, with a warning, instead of refusing them
    #[arg(long, global = true)]
    lenient: bool,
}

#[derive(Debug, Subcommand)]
enum Command {
    Synth(commands::synth::Args),
    Fit(Box<fit::Args>),
    Eval(eval::Args),
    Export(export::Args),
    Reference(reference::Args),
    Svm(svm::Args),
}

fn main() -> ExitCode {
    device::load_cuda();
    device::keep_freed_memory();
    let matches = Cli::command().try_get_matches().unwrap_or_else(|error| exit(&error));
    let cli = Cli::from_arg_matches(&matches).unwrap_or_else(|error| exit(&error));
    if cli.lenient {
        frcnn_images::command::be_lenient();
    }
    // Training listens itself, to write a checkpoint.
    if !matches!(cli.command, Command::Fit(_)) {
        frcnn_files::clean_up_on_signals();
    }
    let outcome = match (&cli.command, matches.subcommand()) {
        (Command::Fit(args), Some((_, matches))) => fit::run(args, matches),
        (Command::Fit(_), None) => Ok(()),
        (Command::Synth(args), _) => commands::synth::run(args),
        (Command::Eval(args), _) => eval::run(args),
        (Command::Export(args), _) => export::run(args),
        (Command::Reference(args), _) => reference::run(args),
        (Command::Svm(args), _) => svm::run(args),
    };
    match outcome {
        // Whoever closed the pipe has read all that they wanted.
        Ok(()) | Err(Error::Closed) => ExitCode::SUCCESS,
        Err(Error::Interrupted) => ExitCode::from(130),
        Err(error) => {
            console::error(&error);
            if matches!(error, Error::Usage(_)) { ExitCode::from(2) } else { ExitCode::FAILURE }
        }
    }
}

/// Says what clap says. It colours what it says, unless an argument could colour as well.
fn exit(error: &clap::Error) -> ! {
    let text = error.render().to_string();
    if text.chars().any(|c| c != '\n' && is_unprintable(c)) {
        console::note(text.trim_end());
        std::process::exit(error.exit_code());
    }
    error.exit()
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    #[test]
    fn arguments_do_not_contradict_each_other() {
        super::Cli::command().debug_assert();
    }
}
