//! The command line: one file per command.

mod arguments;
mod check;
mod ctl;
mod daemon;
mod exec;
mod exit;
#[cfg(test)]
mod interface_tests;
mod out;
mod price;
mod probe;
mod shown;
mod table;
mod token;

use crate::config::{Faults, Reference, Source};
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
            let printed = error.print().and_then(|()| std::io::stdout().flush());
            let code = if error.use_stderr() { Exit::Usage } else { Exit::Done };
            return out::ended(printed.map_err(Into::into), code);
        }
    };
    let code = obey(&arguments);
    crate::log::flush();
    code
}

fn obey(arguments: &Arguments) -> ExitCode {
    let is_daemon = matches!(arguments.command, None | Some(Command::Run | Command::Internal { .. }));
    if is_daemon {
        crate::os::inherited::clean_up();
        // Fails only for signals that cannot be handled.
        let _ = crate::os::inherited::outlive_file_limit();
    }
    let source = || arguments.source();
    match arguments.command {
        None | Some(Command::Run) => daemon::run(arguments.configuration()),
        Some(Command::Internal { role: Role::Master, .. }) => daemon::master(source()),
        Some(Command::Check) => check::run(source()),
        Some(Command::Price(ref price)) => price::run(price, source()),
        Some(Command::Probe(ref probe)) => probe::run(probe, source()),
        Some(Command::Token(ref token)) => token::run(token, source()),
        Some(Command::Ctl(ref ctl)) => ctl::run(ctl, source()),
        Some(Command::Completions { shell }) => completions(shell),
        Some(Command::Reference { form }) => reference(form),
        Some(Command::Internal { role: Role::Worker, .. }) => crate::worker::run(),
        Some(Command::Internal { role: Role::Feeder, .. }) => crate::feeder::run_process(),
        Some(Command::Internal { role: Role::Trial, .. }) => trial(source()),
        Some(Command::Internal { role: Role::Exec, ref words }) => exec::run(words),
    }
}

/// Says what this program could take over from a running daemon.
fn trial(source: Result<Source, Faults>) -> ExitCode {
    match source.and_then(|source| crate::master::try_this(&source)) {
        Ok(text) => out::end(&text, Exit::Done),
        Err(faults) => check::refuse(&faults),
    }
}

/// Prints completions, which the package ships.
fn completions(shell: clap_complete::Shell) -> ExitCode {
    let mut text = Vec::new();
    clap_complete::generate(shell, &mut Arguments::command(), "btc-cluster", &mut text);
    out::end(&String::from_utf8_lossy(&text), Exit::Done)
}

/// The package ships the manual page, the tree the others.
fn reference(form: Form) -> ExitCode {
    let reference = match form {
        Form::File => Reference::File,
        Form::Markdown => Reference::Markdown,
        Form::Manual => Reference::Manual,
    };
    out::end(&reference.text(), Exit::Done)
}
