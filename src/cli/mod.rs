//! The command line: one file per command.

mod arguments;
mod check;
mod ctl;
mod daemon;
mod exec;
mod exit;
#[cfg(test)]
mod interface_tests;
mod price;
mod probe;
mod table;

use crate::config::Reference;
use arguments::{Arguments, Command, Form, Role};
use clap::{CommandFactory, Parser};
use exit::Exit;
use std::io::Write;
use std::process::ExitCode;

/// Runs the command of the command line.
#[must_use]
pub fn run() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => {
            let _ = error.print();
            return ExitCode::from(if error.use_stderr() { Exit::Usage } else { Exit::Done });
        }
    };
    let code = obey(&arguments);
    crate::log::flush();
    code
}

fn obey(arguments: &Arguments) -> ExitCode {
    let source = || arguments.source();
    match arguments.command {
        None | Some(Command::Run) => daemon::run(source()),
        Some(Command::Check) => check::run(source()),
        Some(Command::Price(ref price)) => price::run(price, source()),
        Some(Command::Probe(ref probe)) => probe::run(probe, source()),
        Some(Command::Ctl(ref ctl)) => ctl::run(ctl, source()),
        Some(Command::Completions { shell }) => completions(shell),
        Some(Command::Reference { form }) => reference(form),
        Some(Command::Internal { role: Role::Worker, .. }) => crate::worker::run(),
        Some(Command::Internal { role: Role::Feeder, .. }) => crate::feeder::run_process(),
        Some(Command::Internal { role: Role::Exec, ref words }) => exec::run(words),
    }
}

/// Prints completions, which the package ships.
fn completions(shell: clap_complete::Shell) -> ExitCode {
    let mut text = Vec::new();
    clap_complete::generate(shell, &mut Arguments::command(), "btc-cluster", &mut text);
    let _ = std::io::stdout().write_all(&text);
    ExitCode::from(Exit::Done)
}

/// The package ships the manual page, the tree the others.
fn reference(form: Form) -> ExitCode {
    let reference = match form {
        Form::File => Reference::File,
        Form::Markdown => Reference::Markdown,
        Form::Manual => Reference::Manual,
    };
    let _ = std::io::stdout().write_all(reference.text().as_bytes());
    ExitCode::from(Exit::Done)
}
